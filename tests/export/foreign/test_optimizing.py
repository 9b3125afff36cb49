"""`wgan optimize`: files from elsewhere become fast ones that give the same images."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper

from tests.export.foreign.networks import LATENT_DIM, Constants, foreign, random
from tests.processes import ROOT, RunWgan
from wgan.errors import ExportError, ModelFileError, ParityError, UsageError, WganError
from wgan.export import OptimizeConfig, optimize
from wgan.export.optimizing import load_foreign
from wgan.latents import latents_from_seeds
from wgan.runtime import ForeignOptions, Generator

CASES = ROOT.parent / "shared" / "cases" / "generators"

make_node = helper.make_node


def written(model: ModelProto, tmp_path: Path) -> Path:
    path = tmp_path / "theirs.onnx"
    onnx.save(model, path)
    return path


def optimized(path: Path, **options: Any) -> Path:
    output = path.with_name("mine.onnx")
    optimize(OptimizeConfig(file=path, output=output, **options))
    return output


def their_images(path: Path, latents: Any) -> Any:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {"z": latents})[0]


def operators(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(("precision", "decibels"), [("fp32", 80), ("fp16", 55), ("int8", 40)])
def test_the_new_file_gives_the_images_of_the_old_one(
    tmp_path: Path, precision: str, decibels: float
) -> None:
    path = written(foreign(), tmp_path)
    mine = optimized(path, precision=precision)
    latents = latents_from_seeds(range(9), LATENT_DIM)
    with Generator(mine) as generator:
        difference = generator.images(latents) - their_images(path, latents)
    assert 10 * np.log10(4 / np.square(difference).mean()) > decibels


IN_FP16: dict[str, list[onnx.NodeProto]] = {
    "ones": [make_node("ConstantOfShape", ["sizes"], ["term"],
                       value=helper.make_tensor("value", TensorProto.FLOAT, [1], [0.3]))],
    "zeros": [make_node("ConstantOfShape", ["sizes"], ["term"])],
    "range": [make_node("Mul", ["features", "zero"], ["zeros"]),
              make_node("ReduceMax", ["zeros"], ["none"], keepdims=0),
              make_node("Add", ["none", "one"], ["stop"]),
              make_node("Range", ["zero", "stop", "step"], ["steps"]),
              make_node("ReduceMean", ["steps"], ["term"], keepdims=0)],
    "eye": [make_node("Slice", ["features", "first", "last", "axes"], ["small_map"]),
            make_node("Reshape", ["small_map", "square"], ["matrix"]),
            make_node("EyeLike", ["matrix"], ["eye"], dtype=TensorProto.FLOAT),
            make_node("ReduceMean", ["eye"], ["term"], keepdims=0)],
    "celu": [make_node("Celu", ["features"], ["term"])],
}  # fmt: skip
"""Operators whose type is in an attribute, or that have no float16 -> the nodes that make `term`
of `features` and its `sizes`."""


@pytest.mark.parametrize("operator", IN_FP16)
def test_fp16_takes_operators_that_make_numbers_themselves(tmp_path: Path, operator: str) -> None:
    nodes = [
        make_node("Shape", ["features"], ["sizes"]),
        *IN_FP16[operator],
        make_node("Add", ["features", "term"], ["sum"]),
        make_node("Conv", ["sum", "w3"], ["mixed"], pads=[1, 1, 1, 1]),
        make_node("Tanh", ["mixed"], ["image"]),
    ]
    constants: Constants = {
        "w3": random(3, 3, 3, 3, seed=7) / 4, "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32), "step": np.array(0.25, np.float32),
        "first": np.array([0, 0]), "last": np.array([1, 1]), "axes": np.array([0, 1]),
        "square": np.array([8, 8]),
    }  # fmt: skip
    path = written(foreign(nodes, constants=constants), tmp_path)
    mine = optimized(path, precision="fp16")
    latents = latents_from_seeds(range(9), LATENT_DIM)
    with Generator(mine) as generator:
        difference = generator.images(latents) - their_images(path, latents)
    assert 10 * np.log10(4 / np.square(difference).mean()) > 55


def test_the_receipt_names_the_reference_and_invents_nothing(tmp_path: Path) -> None:
    path = written(foreign(), tmp_path)
    manifest = optimize(OptimizeConfig(file=path, output=tmp_path / "mine.onnx"))
    assert manifest.receipt.reference.startswith("ONNX Runtime without optimisations")
    assert len(manifest.receipt.reference_sha256) == 64
    assert manifest.receipt.float64_images is None
    assert (manifest.source, manifest.step) == ("onnx", None)
    assert manifest.config == {"file": "theirs.onnx"}
    with Generator(tmp_path / "mine.onnx") as generator:
        assert generator.manifest == manifest


def test_batch_norm_is_folded_and_the_upsampling_lowered(tmp_path: Path) -> None:
    found = operators(optimized(written(foreign(), tmp_path)))
    assert not {"BatchNormalization", "Resize", "ConvTranspose"} & set(found)
    assert found.count("Conv") == 5


def test_what_does_not_depend_on_the_latents_is_computed_once(tmp_path: Path) -> None:
    """Spectral norm: a weight divided by its largest singular value, in the graph."""
    model = foreign()
    first = next(node for node in model.graph.node if "w1" in node.input)
    first.input[1] = "w1_normal"
    nodes = [
        make_node("ReduceL2", ["w1"], ["norm"]),
        make_node("Div", ["w1", "norm"], ["w1_normal"]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert "ReduceL2" not in operators(optimized(written(model, tmp_path)))


LAST: dict[str, tuple[list[onnx.NodeProto], tuple[float, float]]] = {
    "tanh": ([make_node("Tanh", ["features"], ["image"])], (-1, 1)),
    "sigmoid": ([make_node("Sigmoid", ["features"], ["image"])], (0, 1)),
    "clip": ([make_node("Clip", ["features", "zero", "two"], ["image"])], (0, 2)),
    "tanh to 0 and 1": (
        [
            make_node("Tanh", ["features"], ["t"]),
            make_node("Mul", ["t", "half"], ["h"]),
            make_node("Add", ["half", "h"], ["image"]),
        ],
        (0, 1),
    ),
    "cast": (
        [
            make_node("Tanh", ["features"], ["t"]),
            make_node("Cast", ["t"], ["half_t"], to=TensorProto.FLOAT16),
            make_node("Cast", ["half_t"], ["image"], to=TensorProto.FLOAT),
        ],
        (-1, 1),
    ),
}

NUMBERS = {
    "zero": np.array(0, np.float32),
    "half": np.array(0.5, np.float32),
    "two": np.array(2, np.float32),
}


def test_a_level_beside_those_of_pixels_is_clipped_if_the_range_is_given(tmp_path: Path) -> None:
    last = [
        make_node("Mul", ["features", "many"], ["saturated"]),
        make_node("Tanh", ["saturated"], ["t"]),
        make_node("Mul", ["t", "half_levels"], ["h"]),
        make_node("Add", ["h", "half_levels"], ["levels"]),
        make_node("Cast", ["levels"], ["image"], to=TensorProto.INT32),
    ]
    constants = {"many": np.array(1000, np.float32), "half_levels": np.array(128, np.float32)}
    model = foreign(last, constants=constants)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    path = written(model, tmp_path)
    with pytest.raises(UsageError, match=r"from 0 to 256: .* Give  --value-range=0,255"):
        optimized(path)
    latents = latents_from_seeds(range(4), LATENT_DIM)
    assert their_images(path, latents).max() == 256
    mine = optimized(path, value_range=(0, 255))
    for file, options in ((mine, None), (path, ForeignOptions(value_range=(0, 255)))):
        with Generator(file, foreign=options) as generator:
            images, pixels = generator.images(latents), generator.sample(4)
        assert (images.min(), images.max()) == (-1, 1)
        assert (pixels.min(), pixels.max()) == (0, 255)


def test_levels_far_outside_are_clipped_if_the_graph_tells_no_range(tmp_path: Path) -> None:
    last = [
        make_node("Mul", ["features", "many"], ["scaled"]),
        make_node("Cast", ["scaled"], ["image"], to=TensorProto.INT32),
    ]
    model = foreign(last, constants={"many": np.array(1000, np.float32)})
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    path = written(model, tmp_path)
    latents = latents_from_seeds(range(4), LATENT_DIM)
    assert their_images(path, latents).max() > 300
    with Generator(optimized(path, value_range=(0, 255))) as generator:
        assert np.abs(generator.images(latents)).max() == 1


@pytest.mark.parametrize("name", [name for name in LAST if "cast" not in name])
def test_the_range_is_told_by_the_last_operators(tmp_path: Path, name: str) -> None:
    last, (low, high) = LAST[name]
    path = written(foreign(last, constants=NUMBERS), tmp_path)
    latents = latents_from_seeds(range(4), LATENT_DIM)
    with Generator(optimized(path)) as generator:
        images = generator.images(latents)
    expected = (their_images(path, latents) - low) * (2 / (high - low)) - 1
    assert np.abs(images - expected).max() < 1e-5


def test_a_range_that_cannot_be_told_must_be_given(tmp_path: Path) -> None:
    path = written(foreign([make_node("Identity", ["features"], ["image"])]), tmp_path)
    with pytest.raises(UsageError, match=r"output image is unknown: .* --value-range=-1,1"):
        optimized(path)
    optimized(path, value_range=(-4.0, 4.0))


@pytest.mark.parametrize(
    ("latents", "before"),
    [
        (("n", LATENT_DIM, 1, 1), [make_node("Flatten", ["z"], ["flat"])]),
        (("n", 2, 3), [make_node("Flatten", ["z"], ["flat"])]),
        ((LATENT_DIM, "n"), [make_node("Transpose", ["z"], ["flat"], perm=[1, 0])]),
        ((4, LATENT_DIM), []),
    ],
)
def test_latents_of_any_shape_become_rows(
    tmp_path: Path, latents: tuple[Any, ...], before: list[onnx.NodeProto]
) -> None:
    fixed = latents[0] if latents == (4, LATENT_DIM) else "n"
    model = foreign(latents=latents, before=before, output=(fixed, 3, 8, 8))
    if latents[0] == LATENT_DIM:  # the batch is the second axis: it is not 6
        model = foreign(latents=("n", LATENT_DIM), before=before)
        model.graph.input[0].CopyFrom(
            helper.make_tensor_value_info("z", TensorProto.FLOAT, list(latents))
        )
    with Generator(optimized(written(model, tmp_path))) as generator:
        assert generator.latent_dim == LATENT_DIM
        assert generator.fixed_batch is None
        assert generator.sample(5).shape == (5, 8, 8, 3)


def labelled() -> ModelProto:
    """A generator with a class, a factor of truncation and a map of noise."""
    before = [
        make_node("Gather", ["table", "y"], ["embedded"]),
        make_node("Mul", ["z", "embedded"], ["joined"]),
        make_node("Mul", ["joined", "psi"], ["flat"]),
    ]
    last = [
        make_node("Add", ["features", "noise"], ["noisy"]),
        make_node("Tanh", ["noisy"], ["image"]),
    ]
    return foreign(
        last,
        before=before,
        more_inputs=[
            ("y", TensorProto.INT64, ["n"]),
            ("psi", TensorProto.FLOAT, []),
            ("noise", TensorProto.FLOAT, ["n", 1, 8, 8]),
        ],
        constants={"table": np.random.RandomState(9).rand(10, LATENT_DIM).astype(np.float32)},
    )


def test_further_inputs_are_fixed_by_options(tmp_path: Path) -> None:
    path = written(labelled(), tmp_path)
    with pytest.raises(UsageError, match=r"--class K .* --input psi=VALUE --input noise=VALUE"):
        optimized(path)
    mine = optimized(path, fixed_class=3, inputs=("psi=0.7", "noise=0.1"))
    latents = latents_from_seeds(range(3), LATENT_DIM)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    theirs = session.run(None, {
        "z": latents, "y": np.full(3, 3), "psi": np.array(0.7, np.float32),
        "noise": np.full((3, 1, 8, 8), 0.1, np.float32),
    })[0]  # fmt: skip
    with Generator(mine) as generator:
        assert np.abs(generator.images(latents) - theirs).max() < 1e-5


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("kind", ["index", "int32", "one-hot"])
def test_labels_stay_an_input(tmp_path: Path, kind: str, precision: str) -> None:
    table = np.random.RandomState(9).rand(4, LATENT_DIM).astype(np.float32)
    choose = make_node("MatMul" if kind == "one-hot" else "Gather", ["y", "table"], ["embedded"])
    if kind != "one-hot":
        choose.input[:] = ["table", "y"]
    types = {"index": TensorProto.INT64, "int32": TensorProto.INT32, "one-hot": TensorProto.FLOAT}
    shape = ["n", 4] if kind == "one-hot" else ["n"]
    model = foreign(
        before=[choose, make_node("Mul", ["z", "embedded"], ["flat"])],
        more_inputs=[("y", types[kind], shape)],
        constants={"table": table},
    )
    path = written(model, tmp_path)
    mine = optimized(path, label_input="y", precision=precision)
    latents, labels = latents_from_seeds(range(5), LATENT_DIM), np.array([3, 0, 1, 2, 3])
    given = np.eye(4)[labels] if kind == "one-hot" else labels
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    dtype = helper.tensor_dtype_to_np_dtype(types[kind])
    theirs = session.run(None, {"z": latents, "y": given.astype(dtype)})[0]
    with Generator(mine) as generator:
        assert generator.classes == ("0", "1", "2", "3")
        difference = np.abs(generator.images(latents, labels) - theirs)
    assert difference.max() < (1e-5 if precision == "fp32" else 0.3)


@pytest.mark.parametrize("channels", [2, 4, 16])
def test_images_of_other_channels_are_optimised(tmp_path: Path, channels: int) -> None:
    weights = {"w2": random(channels, 12, 3, 3, seed=2) / 4}
    path = written(foreign(output=("n", channels, 8, 8), constants=weights), tmp_path)
    latents = latents_from_seeds(range(4), LATENT_DIM)
    with Generator(optimized(path)) as generator:
        assert np.abs(generator.images(latents) - their_images(path, latents)).max() < 1e-5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ("sigma=1",)}, r"--input sigma: the file has no such input"),
        ({"inputs": ("psi",)}, r"write NAME=VALUE"),
        ({"inputs": ("psi=a", "noise=0"), "fixed_class": 1}, r"--input psi='a' does not fit"),
        (
            {"image_output": "mask"},
            r"--output-name mask: the file has no such output|fix the others",
        ),
        ({"latent_shape": (7,)}, r"--latent-shape 7 does not fit|fix the others"),
    ],
)
def test_options_that_do_not_fit_are_named(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        optimized(written(labelled(), tmp_path), **options)


def test_weights_in_a_file_beside_the_model_are_taken_in(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=0, location="f.data")
    mine = optimized(path)
    (tmp_path / "f.data").unlink()
    with Generator(mine) as generator:
        assert generator.sample(1).shape == (1, 8, 8, 3)


def test_the_checksum_covers_weights_in_a_file_beside_the_model(tmp_path: Path) -> None:
    """`wgan publish` takes files with the same checksum as exports of one generator."""
    path, data = tmp_path / "theirs.onnx", tmp_path / "f.data"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=0, location="f.data")
    first = load_foreign(path)[1]
    data.write_bytes(bytes(data.stat().st_size))
    assert load_foreign(path)[1] != first


def test_the_checksum_of_one_file_is_that_of_its_bytes(tmp_path: Path) -> None:
    path = written(foreign(), tmp_path)
    assert load_foreign(path)[1] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("location", ["../f.data", "/etc/hostname", "", "C:\\f.data", "missing"])
def test_weights_elsewhere_are_never_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=0, location="f.data")
    (folder / "f.data").rename(tmp_path / "f.data")
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"not a file in the model's own folder|not beside it"):
        optimized(path)


def test_a_link_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=0, location="f.data")
    (folder / "f.data").rename(tmp_path / "f.data")
    (folder / "f.data").symlink_to(tmp_path / "f.data")
    with pytest.raises(ModelFileError, match="not a file in the model's own folder"):
        optimized(path)


def noisy() -> ModelProto:
    return foreign([
        make_node("RandomNormalLike", ["features"], ["noise"]),
        make_node("Add", ["features", "noise"], ["noisy"]),
        make_node("Tanh", ["noisy"], ["image"]),
    ])  # fmt: skip


def with_dropout() -> ModelProto:
    last = [
        make_node("Dropout", ["features", "half", "true"], ["dropped"]),
        make_node("Tanh", ["dropped"], ["image"]),
    ]
    return foreign(last, constants={"half": np.array(0.5, np.float32), "true": np.array(True)})


def flat() -> ModelProto:
    last = [make_node("Flatten", ["features"], ["row"]), make_node("Tanh", ["row"], ["image"])]
    return foreign(last, output=("n", 192))


def in_training() -> ModelProto:
    model = foreign()
    (norm,) = (node for node in model.graph.node if node.op_type == "BatchNormalization")
    norm.attribute.append(helper.make_attribute("training_mode", 1))
    norm.output.extend(["mean_out", "var_out"])
    return model


def test_random_numbers_that_nothing_reads_are_left_out(tmp_path: Path) -> None:
    model = foreign()
    model.graph.node.append(make_node("RandomNormal", [], ["unread"], shape=[3]))
    assert "RandomNormal" not in operators(optimized(written(model, tmp_path)))


def quantised_as_it_runs() -> ModelProto:
    """The scale of its latents is that of a batch."""
    before = [
        make_node("DynamicQuantizeLinear", ["z"], ["levels", "scale", "zero_point"]),
        make_node("DequantizeLinear", ["levels", "scale", "zero_point"], ["flat"]),
    ]
    return foreign(before=before)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (quantised_as_it_runs(), "scale is that of the whole batch .*: take the file in float"),
        (noisy(), r"draws random numbers itself \(RandomNormalLike\)"),
        (in_training(), r"batch norm in training mode.* model.eval\(\)"),
        (with_dropout(), r"dropout in training mode.* model.eval\(\)"),
        (flat(), "no output that is clearly images"),
    ],
)
def test_what_breaks_the_promise_of_seeds_is_refused(
    tmp_path: Path, model: ModelProto, message: str
) -> None:
    with pytest.raises((ExportError, ModelFileError), match=message):
        optimized(written(model, tmp_path))


def test_a_file_that_depends_on_its_batch_is_refused(tmp_path: Path) -> None:
    model = foreign([
        make_node("ReduceMean", ["features", "zeroth"], ["mean"]),
        make_node("Sub", ["features", "mean"], ["centred"]),
        make_node("Tanh", ["centred"], ["image"]),
    ], constants={"zeroth": np.array([0])})  # fmt: skip
    with pytest.raises((ExportError, ParityError), match=r"depends on the other images"):
        optimized(written(model, tmp_path))


def test_the_file_itself_is_not_replaced(tmp_path: Path) -> None:
    path = written(foreign(), tmp_path)
    with pytest.raises(UsageError, match="would replace the file"):
        optimize(OptimizeConfig(file=path, output=path))


def test_the_command_says_what_it_wrote_and_verify_proves_it(
    run_wgan: RunWgan, tmp_path: Path
) -> None:
    written(foreign(), tmp_path)
    done = run_wgan("optimize", "theirs.onnx", "--precision", "int8")
    assert done.returncode == 0, done.stderr
    assert "theirs-wgan-int8.onnx: int8 for cpu; within" in done.stdout
    verified = run_wgan("verify", "theirs-wgan-int8.onnx")
    assert verified.returncode == 0, verified.stdout + verified.stderr
    assert "golden images" in verified.stdout


REFUSED = {
    "11": "does not say how long its latents are",
    "14": "for one image at a time",
    "25": "range of the model's output image is unknown",
    "33": "no output that is clearly images",
    "50": "--class K",
    "51": "--class K",
    "53": "--input truncation_psi=VALUE",
    "55": "--input noise=VALUE",
    "56": "draws random numbers itself",
    "57": "draws random numbers itself",
    "60": "cannot be run here",
    "61": "cannot be run here",
    "80": "batch norm in training mode",
}
"""Files of the shared folder that need an option, or cannot be what a seed promises."""


@pytest.mark.slow
def test_generators_of_other_exporters_are_optimised_or_refused_by_a_sentence(
    tmp_path: Path,
) -> None:
    if not CASES.is_dir():
        pytest.skip("the generators of other exporters are not beside this checkout")
    for path in sorted(CASES.glob("*.onnx")):
        number = path.name[:2]
        said = ""
        try:
            optimize(OptimizeConfig(file=path, output=tmp_path / "mine.onnx"))
        except WganError as exc:
            said = str(exc)
        assert bool(said) == (number in REFUSED), f"{path.name}: {said}"
        assert REFUSED.get(number, "") in said, path.name
