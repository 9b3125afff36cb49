"""Files of other projects in the runtime: weights beside them, and random numbers inside."""

import json
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from tests.export.foreign.networks import foreign as network
from tests.export.foreign.networks import random
from tests.processes import RunWgan
from tests.runtime import models
from wgan.errors import ModelFileError, UsageError
from wgan.export import ExportConfig
from wgan.latents import latents_from_seeds
from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.reading import read_complete
from wgan.runtime import ForeignOptions, Generator
from wgan.runtime.config import BenchConfig, SampleConfig, VerifyConfig
from wgan.runtime.verification import verify
from wgan.server import ServeConfig


def foreign() -> onnx.ModelProto:
    model = models.generator()
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    return model


def test_weights_in_a_file_beside_the_model_are_read(tmp_path: Path) -> None:
    with Generator(foreign().SerializeToString()) as generator:
        expected = generator.sample(2)
    path = tmp_path / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    with Generator(path) as generator:
        assert (generator.sample(2) == expected).all()
    with pytest.raises(ModelFileError, match=r"onnx.save\(onnx.load"):
        Generator(path.read_bytes())
    with Generator(path) as generator, Generator(generator.content()) as whole:
        assert (whole.sample(2) == expected).all()


def test_weights_that_end_too_early_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    (tmp_path / "f.data").write_bytes((tmp_path / "f.data").read_bytes()[:50])
    with pytest.raises(ModelFileError, match=r"lie beyond the end of 'f.data', which has 50"):
        read_complete(path)


@pytest.mark.parametrize("location", ["../f.data", "absolute", "link", "missing"])
def test_weights_outside_the_folder_are_not_read(tmp_path: Path, location: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    path = folder / "theirs.onnx"
    onnx.save(foreign(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    (folder / "f.data").rename(tmp_path / "f.data")
    (folder / "link").symlink_to(tmp_path / "f.data")
    model = onnx.load(path, load_external_data=False)
    named = str(tmp_path / "f.data") if location == "absolute" else location
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = named
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelFileError, match=r"own folder|not beside it"):
        Generator(path)


def test_a_file_that_draws_random_numbers_is_refused_unless_allowed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = foreign()
    tanh = next(entry for entry in model.graph.node if entry.op_type == "Tanh")
    noise = helper.make_node("RandomNormalLike", [tanh.input[0]], ["noise"])
    add = helper.make_node("Add", [tanh.input[0], "noise"], ["noisy"])
    nodes = list(model.graph.node)
    index = nodes.index(tanh)
    tanh.input[0] = "noisy"
    del model.graph.node[:]
    model.graph.node.extend([*nodes[:index], noise, add, *nodes[index:]])
    data = model.SerializeToString()
    with pytest.raises(ModelFileError, match=r"random numbers itself \(RandomNormalLike\)"):
        Generator(data)
    with caplog.at_level(logging.WARNING), Generator(data, allow_random=True) as generator:
        assert generator.sample(2).shape == (2, 8, 8, 3)
    assert "depends on more than its seed" in caplog.text


def test_a_file_with_dropout_in_training_mode_is_refused_unless_allowed(
    run_wgan: RunWgan, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = [
        helper.make_node("Dropout", ["features", "half", "true"], ["dropped"]),
        helper.make_node("Tanh", ["dropped"], ["image"]),
    ]
    constants = {"half": np.array(0.5, np.float32), "true": np.array(True)}
    path = tmp_path / "theirs.onnx"
    onnx.save(network(last, constants=constants), path)
    refusal = (
        r"it has dropout in training mode \(export it after  model.eval\(\)\), so that an image"
    )
    with pytest.raises(ModelFileError, match=refusal):
        Generator(path)
    with caplog.at_level(logging.WARNING), Generator(path, allow_random=True) as generator:
        assert generator.sample(2).shape == (2, 8, 8, 3)
    assert "depends on more than its seed" in caplog.text
    checks = {check.name: check for check in verify(VerifyConfig(file=path))}
    assert checks["operators"].passed is False
    assert "training mode" in run_wgan("info", path.name).stdout


def run(model: onnx.ModelProto, **inputs: Any) -> Any:
    """The first output of ONNX Runtime itself."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, inputs)[0]


LATENTS = latents_from_seeds(range(5), 6)

GATHER = [
    helper.make_node("Gather", ["table", "y"], ["embedded"]),
    helper.make_node("Mul", ["z", "embedded"], ["flat"]),
]

TABLE = {"table": np.random.RandomState(9).rand(4, 6).astype(np.float32)}


def labelled() -> onnx.ModelProto:
    """A generator that takes the index of a class, `y`."""
    return network(before=GATHER, more_inputs=[("y", TensorProto.INT64, ["n"])], constants=TABLE)


def one_hot() -> onnx.ModelProto:
    """A generator that takes a class as one-hot, `c`."""
    before = [
        helper.make_node("MatMul", ["c", "table"], ["embedded"]),
        helper.make_node("Mul", ["z", "embedded"], ["flat"]),
    ]
    return network(before=before, more_inputs=[("c", TensorProto.FLOAT, ["n", 4])], constants=TABLE)


def test_a_label_of_each_image_is_an_index(tmp_path: Path) -> None:
    model = labelled()
    expected = run(model, z=LATENTS, y=np.array([3, 0, 1, 2, 3]))
    options = ForeignOptions(label_input="y")  # the table says how many there are
    with Generator(model.SerializeToString(), foreign=options) as generator:
        assert generator.classes == ("0", "1", "2", "3")
        images = generator.images(LATENTS, np.array([3, 0, 1, 2, 3]))
        assert np.abs(images - expected).max() < 1e-6
        with pytest.raises(UsageError, match="label 4 is not a class"):
            generator.sample(2, labels=4)


def test_a_label_of_each_image_is_one_hot() -> None:
    model, labels = one_hot(), np.array([3, 0, 1, 2, 3])
    expected = run(model, z=LATENTS, c=np.eye(4, dtype=np.float32)[labels])
    with Generator(model.SerializeToString(), foreign=ForeignOptions(label_input="c")) as generator:
        assert np.abs(generator.images(LATENTS, labels) - expected).max() < 1e-6


@pytest.mark.parametrize("make", [labelled, one_hot])
def test_a_class_of_all_images(make: Any) -> None:
    data = make().SerializeToString()
    name = make().graph.input[1].name
    with Generator(data, foreign=ForeignOptions(label_input=name)) as generator:
        expected = generator.sample(4, labels=2)
    with Generator(data, foreign=ForeignOptions(fixed_class=2)) as generator:
        assert generator.classes == ()
        assert (generator.sample(4) == expected).all()


def noisy(height: int | str = 8, width: int | str = 8) -> onnx.ModelProto:
    """A generator that takes a factor and a map of noise."""
    last = [
        helper.make_node("Mul", ["noise", "strength"], ["scaled"]),
        helper.make_node("Add", ["features", "scaled"], ["noisy"]),
        helper.make_node("Tanh", ["noisy"], ["image"]),
    ]
    return network(
        last,
        more_inputs=[
            ("strength", TensorProto.FLOAT, []),
            ("noise", TensorProto.FLOAT, ["n", 1, height, width]),
        ],
    )


def test_further_inputs_have_the_values_that_are_given(tmp_path: Path) -> None:
    model, noise = noisy(), random(1, 8, 8)
    np.save(tmp_path / "noise.npy", noise)
    expected = run(
        model,
        z=LATENTS,
        strength=np.array(0.5, np.float32),
        noise=np.repeat(noise[None], 5, axis=0),
    )
    options = ForeignOptions(inputs=("strength=0.5", f"noise={tmp_path / 'noise.npy'}"))
    with Generator(model.SerializeToString(), foreign=options) as generator:
        assert np.abs(generator.images(LATENTS) - expected).max() < 1e-6
        again = pickle.loads(pickle.dumps(generator))
        assert (again.images(LATENTS) == generator.images(LATENTS)).all()


def test_a_file_says_how_large_an_input_of_free_size_is(tmp_path: Path) -> None:
    model, noise = noisy("h", "w").SerializeToString(), random(1, 1, 8, 8)
    np.save(tmp_path / "noise.npy", noise)
    given = ForeignOptions(inputs=("strength=1", f"noise={tmp_path / 'noise.npy'}"))
    with Generator(model, foreign=given) as generator:
        expected = run(noisy(), z=LATENTS, strength=np.array(1, np.float32),
                       noise=np.repeat(noise, 5, axis=0))  # fmt: skip
        assert np.abs(generator.images(LATENTS) - expected).max() < 1e-6
    with pytest.raises(UsageError, match=r"does not say how large .* is; give a \.npy file"):
        Generator(model, foreign=ForeignOptions(inputs=("strength=1", "noise=0")))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("strength=a", "--input strength='a' does not fit"),
        ("strength=1,2", "does not fit strength"),
        ("strength=missing.npy", "--input strength: there is no file 'missing.npy'"),
    ],
)
def test_a_value_that_does_not_fit_is_refused(value: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Generator(noisy().SerializeToString(), foreign=ForeignOptions(inputs=(value, "noise=0")))


def test_an_input_of_text_is_refused() -> None:
    model = foreign()
    model.graph.input.append(helper.make_tensor_value_info("prompt", TensorProto.STRING, ["n"]))
    with pytest.raises(ModelFileError, match=r"input prompt tensor\(string\) \[n\] takes text"):
        Generator(model.SerializeToString(), foreign=ForeignOptions(inputs=("prompt=cat",)))


@pytest.mark.parametrize("channels", [2, 4, 16])
def test_images_have_up_to_16_channels(channels: int) -> None:
    model = network(
        output=("n", channels, 8, 8), constants={"w2": random(channels, 12, 3, 3, seed=2) / 4}
    )
    with Generator(model.SerializeToString()) as generator:
        assert np.abs(generator.images(LATENTS) - run(model, z=LATENTS)).max() < 1e-6
        assert generator.sample(2).shape == (2, 8, 8, channels)


def test_flat_images_of_a_free_size() -> None:
    model = network(
        [
            helper.make_node("Flatten", ["features"], ["flat_features"]),
            helper.make_node("Sigmoid", ["flat_features"], ["image"]),
        ],
        output=("n", "m"),
    )
    with Generator(
        model.SerializeToString(), foreign=ForeignOptions(image_shape=(8, 8, 3))
    ) as generator:
        expected = run(model, z=LATENTS).reshape(-1, 3, 8, 8) * 2 - 1
        assert np.abs(generator.images(LATENTS) - expected).max() < 1e-6


def test_a_frozen_batch_of_labels_is_filled_up() -> None:
    model = network(
        latents=(2, 6),
        before=GATHER,
        more_inputs=[("y", TensorProto.INT64, [2])],
        output=(2, 3, 8, 8),
        constants=TABLE,
    )
    free = Generator(labelled().SerializeToString(), foreign=ForeignOptions(label_input="y"))
    with (
        Generator(model.SerializeToString(), foreign=ForeignOptions(label_input="y")) as generator,
        free,
    ):
        assert (generator.sample(5) == free.sample(5)).all()


def test_wgans_own_files_need_no_options() -> None:
    data = models.generator().SerializeToString()
    with pytest.raises(UsageError, match="--input is for files of other projects"):
        Generator(data, foreign=ForeignOptions(inputs=("z=1",)))


@pytest.mark.parametrize(
    "config", [SampleConfig, BenchConfig, VerifyConfig, ServeConfig, ExportConfig]
)
def test_each_config_with_these_options_checks_the_range(config: Any) -> None:
    with pytest.raises(UsageError, match="black is below white"):
        config(value_range=(1.0, 0.0))


def test_options_are_checked_and_travel_as_text() -> None:
    options = ForeignOptions(
        value_range=(0, 1), inputs=("psi=0.7",), label_input="y:3", image_shape=(8, 8, 3)
    )
    assert ForeignOptions.from_json(options.to_json()) == options
    assert options.foreign == options
    with pytest.raises(UsageError, match="black is below white"):
        ForeignOptions(value_range=(1.0, 0.0))
    with pytest.raises(UsageError, match="--class -1 is not allowed"):
        ForeignOptions(fixed_class=-1)


def checks_of(path: Path, **options: Any) -> dict[str, list[bool | None]]:
    found: dict[str, list[bool | None]] = {}
    for check in verify(VerifyConfig(file=path, **options)):
        found.setdefault(check.name, []).append(check.passed)
    return found


def saved(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "theirs.onnx"
    onnx.save(model, path)
    return path


def test_a_file_without_a_receipt_is_checked_as_far_as_it_goes(tmp_path: Path) -> None:
    found = checks_of(saved(network(), tmp_path))
    assert found["receipt"] == [None]
    assert set(found["finite images"] + found["batch invariance"] + found["determinism"]) == {True}
    assert found["structure"] == found["operators"] == [True]


def test_verify_needs_no_range(tmp_path: Path) -> None:
    path = saved(network([helper.make_node("Identity", ["features"], ["image"])]), tmp_path)
    assert checks_of(path)["range"] == [None]
    assert "range" not in checks_of(path, value_range=(-2.0, 2.0))
    assert set(checks_of(path)["determinism"]) == {True}


@pytest.mark.parametrize(
    ("last", "failing"),
    [
        (
            [
                helper.make_node("RandomNormalLike", ["features"], ["noise"]),
                helper.make_node("Add", ["features", "noise"], ["noisy"]),
                helper.make_node("Tanh", ["noisy"], ["image"]),
            ],
            ["operators", "batch invariance", "determinism"],
        ),
        (
            [
                helper.make_node("ReduceMean", ["features", "zeroth"], ["mean"]),
                helper.make_node("Sub", ["features", "mean"], ["centred"]),
                helper.make_node("Tanh", ["centred"], ["image"]),
            ],
            ["batch invariance"],
        ),
        (
            [
                helper.make_node("Div", ["features", "none"], ["infinite"]),
                helper.make_node("Identity", ["infinite"], ["image"]),
            ],
            ["images"],
        ),
    ],
)
def test_what_breaks_the_promise_of_seeds_fails(
    tmp_path: Path, last: list[onnx.NodeProto], failing: list[str]
) -> None:
    constants = {"zeroth": np.array([0]), "none": np.array(0, np.float32)}
    found = checks_of(saved(network(last, constants=constants), tmp_path), value_range=None)
    assert [name for name, passed in found.items() if False in passed] == failing


def test_the_commands_take_foreign_files(run_wgan: RunWgan, tmp_path: Path) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save(labelled(), path, save_as_external_data=True, size_threshold=0, location="f.data")
    done = run_wgan("info", "theirs.onnx")
    assert "--label-input y" in done.stdout
    assert "f.data" in done.stdout
    done = run_wgan("info", "--json", "--label-input", "y", "theirs.onnx")
    assert json.loads(done.stdout)["generator"]["classes"] == 4
    done = run_wgan("sample", "--model", "theirs.onnx", "--label-input", "y", "--label", "3")
    assert (done.returncode, done.stderr) == (0, "wrote 64 images to samples.png\n")
    done = run_wgan("sample", "--model", "theirs.onnx")
    assert done.returncode == 2
    assert "--class K" in done.stderr
    done = run_wgan("verify", "--json", "--label-input", "y", "theirs.onnx")
    answer = json.loads(done.stdout)
    assert (done.returncode, answer["passed"], answer["receipt"]) == (0, True, False)
    done = run_wgan("bench", "--class", "1", "--seconds", "0.01", "theirs.onnx")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "command",
    [
        ("info", "--device", "cpu"),
        ("verify",),
        ("sample", "--model"),
        ("bench",),
        ("serve",),
        ("eval", "--data", ".", "--features", "theirs.onnx"),
        ("optimize",),
    ],
)
def test_every_command_says_how_to_bring_missing_weights(
    run_wgan: RunWgan, tmp_path: Path, command: tuple[str, ...]
) -> None:
    path = tmp_path / "theirs.onnx"
    onnx.save(network(), path, save_as_external_data=True, size_threshold=100, location="f.data")
    (tmp_path / "f.data").unlink()
    done = run_wgan(*command, "theirs.onnx")
    assert done.returncode == 1
    assert "weights are in 'f.data', which is not beside it" in done.stderr
    assert "torch.onnx.export(..., external_data=False)" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_is_not_resumed_with_other_options(run_wgan: RunWgan, tmp_path: Path) -> None:
    onnx.save(labelled(), tmp_path / "theirs.onnx")
    command = ("sample", "--model", "theirs.onnx", "-n", 2, "out/", "--class")
    assert run_wgan(*command, 1).returncode == 0
    assert run_wgan(*command, 1).returncode == 0
    assert run_wgan(*command, 2).returncode != 0


def test_other_weights_are_another_model(tmp_path: Path) -> None:
    path, sums = tmp_path / "theirs.onnx", set()
    for seed in (1, 2):
        model = network(constants={"w1": random(12, 5, 3, 3, seed=seed)})
        onnx.save(model, path, save_as_external_data=True, size_threshold=100, location="f.data")
        with Generator(path) as generator:
            sums.add(generator.model_sha256)
    assert len(sums) == 2
