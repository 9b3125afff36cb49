"""`wgan directions`: the directions of a planted generator come out."""

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

from tests.checkpoints import SMALL, trained_checkpoint
from tests.runtime import models
from wgan.errors import UsageError
from wgan.latent_space import DirectionsConfig, find_directions
from wgan.latent_space.principal_directions import of_images, of_layer
from wgan.runtime import Generator
from wgan.runtime.latent_sources import load_directions

LATENT_DIM = 6
STRENGTHS = np.array([5, 3, 2, 1, 0.5, 0.2], np.float32)


def orthogonal(rows: int, columns: int, seed: int) -> np.ndarray:
    drawn = np.random.RandomState(seed).standard_normal((rows, columns))
    return np.linalg.qr(drawn)[0].astype(np.float32)


PLANTED = orthogonal(LATENT_DIM, LATENT_DIM, 0).T
"""Row j is the direction of the j-th strength."""


def planted(layer: str, tmp_path: Path) -> Path:
    """A generator of grey 8x8 images whose first layer is known; `layer` is an operator."""
    weight = PLANTED.T @ np.diag(STRENGTHS) @ orthogonal(64, LATENT_DIM, 1).T  # (latent_dim, 64)
    constants = {"w": weight, "scale": np.array(0.02, np.float32)}
    shape = np.array([-1, 1, 8, 8], np.int64)
    nodes = []
    if layer == "Gemm":
        constants["w"] = np.ascontiguousarray(weight.T)
        constants["b"] = np.ones(64, np.float32)
        nodes.append(helper.make_node("Gemm", ["latents", "w", "b"], ["first"], transB=1))
    elif layer == "MatMul":  # after a scale, as pixel norm has it, and in half precision
        constants["w"] = weight.astype(np.float16)
        nodes += [
            helper.make_node("Mul", ["latents", "scale"], ["scaled"]),
            helper.make_node("Cast", ["w"], ["weight"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["scaled", "weight"], ["first"]),
        ]
    else:
        constants["w"] = weight.reshape(LATENT_DIM, 1, 8, 8)
        constants["square"] = np.array([-1, LATENT_DIM, 1, 1], np.int64)
        nodes += [
            helper.make_node("Reshape", ["latents", "square"], ["spatial"]),
            helper.make_node("ConvTranspose", ["spatial", "w"], ["first"]),
        ]
    nodes += [
        helper.make_node("Mul", ["first", "scale"], ["small"]),
        helper.make_node("Reshape", ["small", "shape"], ["maps"]),
        helper.make_node("Tanh", ["maps"], ["images"]),
    ]
    made = models.make_model(
        nodes,
        {**constants, "shape": shape},
        [("latents", TensorProto.FLOAT, ["batch", LATENT_DIM])],
        [("images", TensorProto.FLOAT, ["batch", 1, 8, 8])],
    )
    path = tmp_path / "planted.onnx"
    path.write_bytes(made.SerializeToString())
    return path


def found(model: Path, out: Path, **options: Any) -> np.ndarray:
    options = {"count": 3, **options}
    find_directions(DirectionsConfig(model=str(model), out=out, **options))
    directions: np.ndarray = np.load(out)
    return directions


@pytest.mark.parametrize("layer", ["Gemm", "MatMul", "ConvTranspose"])
def test_the_directions_of_a_known_first_layer_come_out(layer: str, tmp_path: Path) -> None:
    directions = found(planted(layer, tmp_path), tmp_path / "d.npy", count=LATENT_DIM)
    assert directions.dtype == np.float32
    assert directions.shape == (LATENT_DIM, LATENT_DIM)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(np.abs(directions @ PLANTED.T), np.eye(LATENT_DIM), atol=2e-2)
    largest = np.abs(directions).argmax(1)
    assert (directions[np.arange(LATENT_DIM), largest] > 0).all()  # the sign is no accident


def test_the_principal_components_of_images_are_the_same_for_a_linear_generator(
    tmp_path: Path,
) -> None:
    model = planted("Gemm", tmp_path)
    directions = found(model, tmp_path / "d.npy", method="pca", samples=600)
    assert (np.abs(np.diag(directions @ PLANTED[:3].T)) > 0.95).all()
    again = found(model, tmp_path / "e.npy", method="pca", samples=600)
    np.testing.assert_array_equal(directions, again)


def test_shares_are_those_of_the_variance(tmp_path: Path) -> None:
    config = DirectionsConfig(
        model=str(planted("Gemm", tmp_path)), out=tmp_path / "d.npy", count=LATENT_DIM
    )
    expected = STRENGTHS**2 / (STRENGTHS**2).sum()
    np.testing.assert_allclose(find_directions(config).shares, expected, rtol=1e-4)


def test_a_checkpoint_has_the_directions_of_its_export(tmp_path: Path) -> None:
    checkpoint = trained_checkpoint()
    checkpoint.save(tmp_path / "tiny.pt")
    weights = checkpoint.average
    # The first layer of the network, and the batch norm behind it.
    scale = weights["layers.1.weight"] / (weights["layers.1.running_var"] + 1e-5).sqrt()
    matrix = (weights["layers.0.weight"] * scale[:, None, None]).flatten(1).double().numpy()
    expected, _ = of_layer(matrix)
    directions = found(tmp_path / "tiny.pt", tmp_path / "d.npy", device="cpu")
    assert directions.shape == (3, SMALL.latent_dim)
    np.testing.assert_allclose(np.abs((directions * expected[:3]).sum(1)), 1, atol=1e-4)


def test_the_preview_has_the_plain_image_in_the_middle_of_each_row(
    model_file: Path, tmp_path: Path
) -> None:
    found(model_file, tmp_path / "d.npy", seed=5)
    sheet = np.asarray(Image.open(tmp_path / "d.png"))[::8, ::8]  # enlarged eightfold
    assert sheet.shape == (3 * 8, 7 * 8, 3)
    plain = Generator(model_file).sample([5])[0]
    for row in range(3):
        np.testing.assert_array_equal(sheet[row * 8 : row * 8 + 8, 24:32], plain)


def test_equal_models_give_equal_files_that_sample_takes(model_file: Path, tmp_path: Path) -> None:
    for name in ("a.npy", "b.npy"):
        found(model_file, tmp_path / name)
    assert (tmp_path / "a.npy").read_bytes() == (tmp_path / "b.npy").read_bytes()
    assert len(load_directions(tmp_path / "a.npy", 4)) == 3


def test_a_model_without_a_first_layer_is_told_of_the_other_method(tmp_path: Path) -> None:
    shape = np.array([-1, 1, 4, 4], np.int64)
    made = models.make_model(
        [
            helper.make_node("Tanh", ["latents"], ["small"]),
            helper.make_node("Reshape", ["small", "shape"], ["images"]),
        ],
        {"shape": shape},
        [("latents", TensorProto.FLOAT, ["batch", 16])],
        [("images", TensorProto.FLOAT, ["batch", 1, 4, 4])],
    )
    (tmp_path / "flat.onnx").write_bytes(made.SerializeToString())
    with pytest.raises(UsageError, match="use --method pca"):
        found(tmp_path / "flat.onnx", tmp_path / "d.npy")
    found(tmp_path / "flat.onnx", tmp_path / "d.npy", method="pca", samples=20)


def test_a_small_latent_space_has_as_many_directions_as_numbers(
    model_file: Path, tmp_path: Path
) -> None:
    config = DirectionsConfig(model=str(model_file), out=tmp_path / "d.npy", seed=2**32 - 1)
    assert find_directions(config).directions.shape == (4, 4)


def test_a_program_for_pytorch_is_refused_by_what_it_is(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "generator.ts", "w") as archive:
        archive.writestr("generator/constants.pkl", b"")  # by which torch.jit's files are known
    with pytest.raises(UsageError, match="is an archive for PyTorch: give the run"):
        find_directions(DirectionsConfig(model=str(tmp_path / "generator.ts")))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"count": 5}, "-n 5 is not allowed: there are 4 directions"),
        ({"count": 4, "method": "pca", "samples": 3}, "there are 2 directions"),
        ({"seed": 2**32}, "seed 4294967296 is not allowed"),
        ({"seed": 2**32 - 1, "method": "pca"}, "seed 4294968294 is not allowed"),
        ({"out": Path("d.png")}, "must end in .npy"),
    ],
)
def test_options_that_are_not_allowed_are_refused(
    model_file: Path, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        find_directions(
            DirectionsConfig(model=str(model_file), **{"out": tmp_path / "d.npy", **options})
        )


def test_images_that_never_change_have_finite_directions() -> None:
    directions, variances = of_images(np.zeros((5, 3), np.float32), np.ones((5, 12), np.float32))
    assert np.isfinite(directions).all()
    assert (variances == 0).all()
