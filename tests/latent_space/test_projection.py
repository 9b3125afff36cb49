"""`wgan project`: the latents whose images come nearest to given images."""

import builtins
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.checkpoints import trained_checkpoint
from tests.runtime import models
from wgan.errors import DataError, MissingExtra, ModelFileError, UsageError
from wgan.images import to_images, to_pil, to_pixels
from wgan.latent_space import ProjectConfig, project
from wgan.latent_space.config import IMAGE_LIMIT
from wgan.latent_space.distance import distance, penalty, to_levels
from wgan.latent_space.models import open_model
from wgan.latent_space.projection import Projection
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator, SampleConfig
from wgan.stop import Stopped, install_stop_handler

UNSEEN = 123_456
"""A seed that is none of those that the search starts from."""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "tiny.pt"
    trained_checkpoint().save(path)
    return path


@pytest.fixture
def own_image(generator: Generator, tmp_path: Path) -> Path:
    to_pil(generator.sample([UNSEEN])[0]).save(tmp_path / "own.png")
    return tmp_path / "own.png"


def projected(model: Path, *images: Path, **options: Any) -> Projection:
    settings = {"output": images[0].with_name("found.npy"), "evaluations": 1500, **options}
    return project(ProjectConfig(images=images, model=str(model), **settings))


def nearest_of_64(model: Path, target: Path) -> float:
    generator = Generator(model)
    images = generator.images(latents_from_seeds(range(64), generator.latent_dim))
    wanted = to_images(np.asarray(Image.open(target))[None])
    return to_levels(distance(images, wanted).min())


def test_an_image_of_the_generator_itself_is_found(model_file: Path, own_image: Path) -> None:
    found = projected(model_file, own_image)
    assert found.distances[0] < nearest_of_64(model_file, own_image) / 20
    assert not found.resized


def test_an_image_of_many_bands_is_found_and_shown_as_far_as_a_png_can(tmp_path: Path) -> None:
    model = tmp_path / "bands.onnx"
    model.write_bytes(models.generator(5).SerializeToString())
    np.save(tmp_path / "own.npy", Generator(model).sample([UNSEEN])[0])
    found = projected(model, tmp_path / "own.npy")
    assert found.pixels.shape[-1] == 5
    with Image.open(tmp_path / "found.png") as sheet:
        assert sheet.mode == "RGB"


def test_the_latents_draw_what_was_found(model_file: Path, own_image: Path, tmp_path: Path) -> None:
    found = projected(model_file, own_image, evaluations=100)
    latents = SampleConfig(latents=tmp_path / "found.npy").source(4).latents([0])
    assert latents.dtype == np.float32
    np.testing.assert_array_equal(Generator(model_file).pixels(latents), found.pixels)


def test_the_sheet_has_targets_above_projections(model_file: Path, own_image: Path) -> None:
    found = projected(model_file, own_image, own_image, evaluations=100)
    sheet = np.asarray(Image.open(found.preview))
    assert sheet.shape == (2 * 64, 2 * 64, 3)  # enlarged eightfold
    np.testing.assert_array_equal(sheet[:64:8, :64:8], np.asarray(Image.open(own_image)))
    np.testing.assert_array_equal(sheet[64::8, :64:8], found.pixels[0])


def test_equal_seeds_give_equal_latents_whatever_else_is_projected(
    model_file: Path, generator: Generator, own_image: Path, tmp_path: Path
) -> None:
    to_pil(generator.sample([99_999])[0]).save(tmp_path / "other.png")
    options: dict[str, Any] = {"evaluations": 200, "restarts": 2}
    alone = projected(model_file, own_image, **options)
    again = projected(model_file, tmp_path / "other.png", own_image, batch_size=7, **options)
    np.testing.assert_array_equal(alone.latents[0], again.latents[1])
    other_seed = projected(model_file, own_image, seed=1, **options)
    assert not np.array_equal(alone.latents, other_seed.latents)


def test_images_of_other_sizes_and_colours_are_prepared_as_training_data(
    model_file: Path, tmp_path: Path
) -> None:
    Image.new("L", (40, 20), 77).save(tmp_path / "grey.png")
    found = projected(model_file, tmp_path / "grey.png", evaluations=10)
    (target,) = found.resized
    assert target.size == (40, 20)
    np.testing.assert_array_equal(target.pixels, np.full((8, 8, 3), 77))


def test_the_prior_keeps_latents_plausible(
    model_file: Path, generator: Generator, tmp_path: Path
) -> None:
    far = 3 * np.sign(latents_from_seeds([UNSEEN], 4))
    to_pil(generator.pixels(far)[0]).save(tmp_path / "far.png")

    def length(prior: float) -> float:
        found = projected(model_file, tmp_path / "far.png", prior=prior)
        return float(np.sqrt((found.latents**2).mean()))

    assert length(0.0) > 1.5
    assert length(100.0) < 1.1


def test_a_checkpoint_is_searched_by_gradients(checkpoint: Path, tmp_path: Path) -> None:
    model = open_model(ProjectConfig(images=(Path("x"),), model=str(checkpoint)))
    pixels = to_pixels(model.images(latents_from_seeds([UNSEEN], model.latent_dim)))
    to_pil(pixels[0]).save(tmp_path / "own.png")
    options: dict[str, Any] = {"steps": 150, "device": "cpu", "evaluations": 150}
    found = projected(checkpoint, tmp_path / "own.png", **options)
    assert found.distances[0] < found.start_distances[0] / 5
    again = projected(checkpoint, tmp_path / "own.png", **options)
    np.testing.assert_array_equal(found.latents, again.latents)
    without = projected(checkpoint, tmp_path / "own.png", method="evolution", **options)
    assert without.distances[0] > found.distances[0]


def test_the_distance_is_a_mean_over_resolutions_of_squared_errors() -> None:
    random = np.random.RandomState(0)
    a, b = random.uniform(-1, 1, (2, 3, 2, 16, 16)).astype(np.float32)
    errors = []
    for side in (16, 8, 4):
        halves = (
            each.reshape(3, 2, side, 16 // side, side, 16 // side).mean((3, 5)) for each in (a, b)
        )
        errors.append(((next(halves) - next(halves)) ** 2).mean((1, 2, 3)))
    np.testing.assert_allclose(distance(a, b), np.mean(errors, axis=0), rtol=1e-5)
    in_torch = distance(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(in_torch.numpy(), distance(a, b), rtol=1e-5)
    odd = np.ones((1, 1, 15, 15), np.float32)
    assert to_levels(distance(odd, -odd)[0]) == 255


def test_the_penalty_begins_beyond_the_shell_of_latents() -> None:
    unit = np.ones((1, 8), np.float32)
    assert penalty(0.9 * unit)[0] == 0
    assert abs(penalty(2 * unit)[0] - 1) < 1e-6
    assert abs(float(penalty(torch.from_numpy(3 * unit))[0]) - 4) < 1e-6


def test_a_projection_without_cmaes_names_the_extra(
    model_file: Path, own_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without_cmaes(name: str, *args: Any, **options: Any) -> Any:
        if name == "cmaes":
            raise ModuleNotFoundError("No module named 'cmaes'", name="cmaes")
        return real(name, *args, **options)

    monkeypatch.setattr(builtins, "__import__", without_cmaes)
    with pytest.raises(MissingExtra, match=r"cmaes, .* pip install 'wgan\[project\]'"):
        projected(model_file, own_image)
    assert not own_image.with_name("found.npy").exists()


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("gone.png", "there is no image .*gone.png"),
        ("text.png", "text.png cannot be used: it is not an image"),
        ("folder", "folder cannot be read: .* no regular file"),
        ("cut.png", "cut.png cannot be used"),
    ],
)
def test_hostile_images_end_in_a_sentence(
    model_file: Path, own_image: Path, name: str, sentence: str
) -> None:
    own_image.with_name("text.png").write_text("hello")
    own_image.with_name("folder").mkdir()
    own_image.with_name("cut.png").write_bytes(own_image.read_bytes()[:-40])
    with pytest.raises(DataError, match=sentence):
        projected(model_file, own_image, own_image.with_name(name))
    assert not own_image.with_name("found.npy").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images": ()}, "no image was given"),
        ({"images": (Path("x"),) * (IMAGE_LIMIT + 1)}, "at most 64"),
        ({"output": Path("out.png")}, "must end in .npy"),
        ({"seed": -1}, "seed -1 is not allowed"),
        ({"prior": -1.0}, "--prior -1 is not allowed"),
    ],
)
def test_options_that_are_not_allowed_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        ProjectConfig(**{"images": (Path("x"),), **options})


def test_the_sheet_never_replaces_an_image(model_file: Path, own_image: Path) -> None:
    before = own_image.read_bytes()
    with pytest.raises(UsageError, match=r"own.png would replace the image"):
        projected(model_file, own_image, output=own_image.with_suffix(".npy"))
    assert own_image.read_bytes() == before


def test_the_latents_never_replace_the_value_of_an_input(
    model_file: Path, own_image: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "psi.npy", np.ones(1))
    for name in ("psi.npy", "../" + tmp_path.name + "/psi.npy"):
        with pytest.raises(UsageError, match=r"psi.npy would replace the value of --input"):
            projected(
                model_file,
                own_image,
                output=tmp_path / name,
                inputs=(f"psi={tmp_path / 'psi.npy'}",),
            )


def test_options_of_runs_are_refused_for_an_exported_file(
    model_file: Path, own_image: Path
) -> None:
    with pytest.raises(UsageError, match="--method gradients needs a run or a checkpoint"):
        projected(model_file, own_image, method="gradients")
    with pytest.raises(UsageError, match="--checkpoint is for a run"):
        projected(model_file, own_image, checkpoint="best")


def test_a_manifest_that_says_nonsense_of_the_images_is_refused(
    tmp_path: Path, own_image: Path
) -> None:
    from tests.runtime import models

    told = models.manifest(config={"crop": "wide"})
    (tmp_path / "odd.onnx").write_bytes(models.generator(told=told).SerializeToString())
    with pytest.raises(ModelFileError, match="its manifest says --crop 'wide' is not allowed"):
        projected(tmp_path / "odd.onnx", own_image)


def test_a_stop_keeps_the_nearest_latents_so_far(
    model_file: Path, own_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, runs = Generator.images, []

    def interrupted(self: Generator, latents: Any, labels: Any = None) -> Any:
        runs.append(len(latents))
        if len(runs) == 100:
            signal.raise_signal(signal.SIGINT)
        return real(self, latents, labels)

    monkeypatch.setattr(Generator, "images", interrupted)
    with (
        install_stop_handler(),
        pytest.raises(Stopped, match=r"the nearest latents so far are in .*found.npy") as stopped,
    ):
        projected(model_file, own_image, evaluations=10**9)
    assert stopped.value.exit_status == 130
    assert len(runs) <= 101
    latents = np.load(own_image.with_name("found.npy"))
    wanted = to_images(np.asarray(Image.open(own_image))[None])
    found = to_levels(distance(real(Generator(model_file), latents), wanted)[0])
    assert found < nearest_of_64(model_file, own_image)


def test_a_stop_before_anything_is_found_writes_nothing(model_file: Path, own_image: Path) -> None:
    with install_stop_handler():
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(Stopped, match="nothing was written"):
            projected(model_file, own_image)
    assert not own_image.with_name("found.npy").exists()


@pytest.mark.parametrize("fit", ["crop", "pad"])
def test_images_are_projected_as_rectangles_with_alpha(tmp_path: Path, fit: str) -> None:
    model = tmp_path / "sprites.pt"
    trained_checkpoint(size="16x24", channels=4, fit=fit).save(model)
    image = Image.new("RGBA", (48, 16), (200, 30, 30, 255))
    image.save(tmp_path / "sprite.png")
    found = projected(model, tmp_path / "sprite.png", steps=3, evaluations=64)
    (target,) = found.targets
    assert target.pixels.shape == found.pixels.shape[1:] == (16, 24, 4)
    assert (target.pixels[0] == 0).all() == (fit == "pad")
    assert target.pixels[8, 12].tolist() == [200, 30, 30, 255]
    with Image.open(found.preview) as sheet:
        assert sheet.mode == "RGBA"
