import io
import pickle
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from tests.processes import run
from tests.runtime import models
from wgan.errors import DeviceError, ModelFileError, UsageError
from wgan.images import to_pixels
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator


def reference_images(drawn: np.ndarray, channels: int = 3) -> np.ndarray:
    """The model of tests/runtime/models.py in numpy, by the definition of the convolution."""
    weights = models.weights(channels)
    maps = np.maximum(drawn @ weights["w1"] + weights["b1"], 0).reshape(-1, 6, 4, 4)
    padded = np.zeros((len(drawn), channels, 10, 10))  # 2 * 4 + 2 pixels, a border of 1 cut off
    for row in range(4):
        for column in range(4):
            patch = np.einsum("ni,ioyx->noyx", maps[:, :, row, column], weights["w2"])
            padded[:, :, 2 * row : 2 * row + 4, 2 * column : 2 * column + 4] += patch
    return np.tanh(padded[:, :, 1:-1, 1:-1])


@pytest.fixture(scope="module")
def generator() -> Generator:
    return Generator(models.generator().SerializeToString())


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("n", [1, 2, 7])
def test_images_and_pixels_are_those_of_the_graph(channels: int, n: int) -> None:
    drawn = latents_from_seeds(range(n), models.LATENT_DIM)
    with Generator(models.generator(channels).SerializeToString()) as generator:
        images, pixels = generator.run(drawn)
    assert images.dtype == np.float32
    assert pixels.dtype == np.uint8
    assert np.abs(images - reference_images(drawn, channels)).max() < 1e-6
    np.testing.assert_array_equal(pixels, to_pixels(images))


def test_a_generator_has_the_attributes_of_its_file(generator: Generator) -> None:
    assert generator.manifest == models.manifest()
    assert generator.provider == "CPUExecutionProvider"
    assert generator.latent_dim == models.LATENT_DIM
    assert generator.image_shape == (8, 8, 3)


@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 64])
def test_an_image_depends_only_on_its_seed(generator: Generator, batch_size: int | None) -> None:
    together = generator.sample(range(10), batch_size).astype(int)
    alone = np.concatenate([generator.sample([seed]) for seed in range(10)])
    assert np.abs(together - alone).max() <= 1
    reordered = generator.sample([7, 0, 7], batch_size)
    assert np.abs(together[[7, 0, 7]] - reordered).max() <= 1


def test_a_stream_gives_the_sample_in_batches(generator: Generator) -> None:
    batches = list(generator.stream(range(10), 4))
    assert [len(batch) for batch in batches] == [4, 4, 2]
    np.testing.assert_array_equal(np.concatenate(batches), generator.sample(range(10), 4))


def test_a_model_is_read_from_a_path_or_from_bytes(tmp_path: Path, generator: Generator) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.generator().SerializeToString())
    for model in (path, str(path)):
        np.testing.assert_array_equal(Generator(model).sample([5]), generator.sample([5]))


def test_threads_may_share_a_generator(generator: Generator) -> None:
    alone = [generator.sample([seed]) for seed in range(32)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: generator.sample([seed]), range(32)))
    np.testing.assert_array_equal(alone, together)


def test_no_optimisation_gives_the_same_images(generator: Generator) -> None:
    plain = Generator(models.generator().SerializeToString(), optimization="none")
    drawn = latents_from_seeds(range(8), models.LATENT_DIM)
    assert np.abs(plain.images(drawn) - generator.images(drawn)).max() < 1e-6


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda g: g.sample([]), "no seeds"),
        (lambda g: g.sample(0), "no seeds"),
        (lambda g: g.sample(2**40), "seed 1099511627775 is not allowed"),
        (lambda g: g.stream(5, truncation=np.nan), "--truncation nan is not allowed"),
        (lambda g: g.interpolate([1, 2], 0), "--frames 0 is not allowed"),
        (lambda g: g.interpolate([], 8), "no seeds"),
        (lambda g: g.sample([2**32]), "seed 4294967296 is not allowed"),
        (lambda g: g.sample([-1]), "seed -1 is not allowed"),
        (lambda g: g.sample(-1), "-1 images are not allowed: .* at least 1"),
        (lambda g: g.sample(10**30), "seed 9{30} is not allowed"),
        (lambda g: g.sample(2.5), "seeds 2.5 are not allowed: give a number of images"),
        (lambda g: g.sample("0-3"), "seeds '?0-3'? are not allowed: .* list or range"),
        (lambda g: g.sample([1.5]), r"seeds \[1.5\] are not allowed"),
        (lambda g: g.sample([True]), r"seeds \[True\] are not allowed"),
        (lambda g: g.sample(np.ones(2)), "are not allowed: give a number of images"),
        (lambda g: g.sample(True), "seeds True are not allowed"),
        (lambda g: g.sample(None), "seeds None are not allowed"),
        (lambda g: g.interpolate("1,2"), "seeds '?1,2'? are not allowed"),
        (lambda g: g.sample([1], 0), "--batch-size 0 is not allowed"),
        (lambda g: g.images(np.zeros((2, 5), np.float32)), r"\[2, 5\] are not allowed.*\[n, 4\]"),
        (lambda g: g.images(np.zeros((0, 4), np.float32)), "at least 1"),
    ],
)
def test_a_wrong_argument_is_refused_with_what_is_allowed(
    generator: Generator, call: Callable[[Generator], object], sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        call(generator)


def test_a_missing_device_is_an_error() -> None:
    model = models.generator().SerializeToString()
    with pytest.raises(UsageError, match="device 'gpu' is not allowed: choose from auto, cpu"):
        Generator(model, device="gpu")
    with pytest.raises(DeviceError, match="device 'cuda' needs the CUDAExecutionProvider"):
        Generator(model, device="cuda")


def rename_output(model: onnx.ModelProto) -> None:
    model.graph.output[0].name = "scaled"


def lie_about_the_size(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = models.manifest(height=16).to_json()


def lie_about_the_latents(model: onnx.ModelProto) -> None:
    model.metadata_props[0].value = models.manifest(latent_dim=5).to_json()


def use_an_unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[4].op_type = "Tnah"


def use_another_library(model: onnx.ModelProto) -> None:
    model.graph.node[4].domain = "elsewhere"


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (rename_output, "it has a manifest, but not the input latents and the outputs images and"),
        (lie_about_the_size, "its manifest says height 16, its graph 8"),
        (lie_about_the_latents, "its manifest says latent_dim 5, its graph 4"),
        (use_an_unknown_operator, "ONNX Runtime cannot open it"),
        (use_another_library, "ONNX Runtime cannot open it"),
    ],
)
def test_a_graph_that_is_not_a_generator_is_refused(
    spoil: Callable[[onnx.ModelProto], None], sentence: str
) -> None:
    model = models.generator()
    spoil(model)
    with pytest.raises(ModelFileError, match=f"the model cannot be used: .*{sentence}"):
        Generator(model.SerializeToString())


def test_an_output_of_another_shape_than_declared_is_refused() -> None:
    model = models.generator()
    model.graph.initializer.append(
        onnx.numpy_helper.from_array(np.array([-1, 3, 16, 4], np.int64), "other")
    )
    model.graph.node[4].output[0] = "whole"
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            if name == "images":
                node.input[index] = "whole"
    model.graph.node.add(op_type="Reshape", input=["whole", "other"], output=["images"])
    model.graph.initializer[-1].data_type = TensorProto.INT64
    # The axes are declared free of each other, so that only the run shows the lie.
    with pytest.raises(ModelFileError):
        Generator(model.SerializeToString()).images(np.zeros((1, 4), np.float32))


def test_a_number_means_the_first_seeds(generator: Generator) -> None:
    np.testing.assert_array_equal(generator.sample(5), generator.sample(range(5)))
    for same in (np.int64(5), np.arange(5)):
        seeds: Any = same
        np.testing.assert_array_equal(generator.sample(seeds), generator.sample(5))


def test_truncation_scales_the_latents(generator: Generator) -> None:
    latents = latents_from_seeds(range(3), models.LATENT_DIM)
    expected = generator.pixels(latents * np.float32(0.5))
    np.testing.assert_array_equal(generator.sample(3, truncation=0.5), expected)


def test_an_interpolation_is_a_path_through_the_images_of_its_seeds(generator: Generator) -> None:
    assert len(generator.interpolate([5, 9], frames=None)) == len(generator.interpolate([5, 9]))
    frames = generator.interpolate([5, 9], frames=8)
    assert frames.shape == (8, 8, 8, 3)
    np.testing.assert_array_equal(frames[[0, 4]], generator.sample([5, 9]))
    halves = generator.interpolate([5, 9], 8, truncation=0.5)
    np.testing.assert_array_equal(halves[:1], generator.sample([5], truncation=0.5))


def test_latents_that_are_not_finite_blame_the_caller(generator: Generator) -> None:
    for value in (np.nan, np.inf):
        with pytest.raises(UsageError, match="the latents hold a value that is not finite"):
            generator.images(np.full((1, models.LATENT_DIM), value, np.float32))


def test_the_package_and_the_name_builtin_are_enough() -> None:
    import wgan

    with wgan.Generator("builtin") as generator:
        assert generator.sample(2).shape == (2, 32, 32, 1)
        assert repr(generator).startswith("<Generator of 32x32 grey images: builtin, latent_dim")


def test_a_closed_generator_says_that_it_is_closed() -> None:
    generator = Generator(models.generator().SerializeToString())
    assert "CPUExecutionProvider>" in repr(generator)
    generator.close()
    with pytest.raises(UsageError, match="the generator of the model is closed"):
        generator.sample(1)
    assert "closed>" in repr(generator)
    assert generator._repr_png_() is None


def test_a_notebook_shows_images_of_a_generator(generator: Generator) -> None:
    data = generator._repr_png_()
    assert data is not None
    with Image.open(io.BytesIO(data)) as image:
        assert (image.format, image.size) == ("PNG", (8 * 64, 2 * 64))


@pytest.mark.parametrize("kind", ["path", "bytes"])
def test_a_generator_is_pickled_by_its_path_or_its_bytes(
    kind: str, model_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(model_file.parent)
    model = model_file.read_bytes() if kind == "bytes" else model_file.name
    generator = Generator(model, "cpu", 1, optimization="none")
    data = pickle.dumps(generator)
    assert (len(data) < 1000) == (kind == "path")
    monkeypatch.chdir(tmp_path)
    copy = pickle.loads(data)
    np.testing.assert_array_equal(copy.sample(4), generator.sample(4))
    assert pickle.dumps(copy) == data


FORKED = """
import gc, os, sys
from wgan.runtime import Generator

with Generator(sys.argv[1], threads=4) as generator:
    before = generator.sample(16).tobytes()
    if os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    if sys.argv[2] == "draw":
        assert generator.sample(16).tobytes() == before
del generator
gc.collect()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="a fork")
@pytest.mark.parametrize("use", ["draw", "end"])
def test_a_forked_process_draws_the_same_images_and_ends(
    use: str, model_file: Path, tmp_path: Path
) -> None:
    done = run([sys.executable, "-c", FORKED, str(model_file), use], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
