"""A run with classes from end to end: train, export, verify, sample, eval, project, serve."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from tests.evaluation.networks import network, save
from tests.processes import Finished, run_wgan_command
from tests.server.servers import serving
from wgan.images import grid
from wgan.runtime import Generator

CLASSES = ("blue", "green", "red")
TINY = ("--width", 4, "--latent-dim", 4, "--batch-size", 6, "--device", "cpu", "--size", 32)
RUN = Path("runs") / "data-32-tuned"


def run(folder: Path, *arguments: object) -> Finished:
    done = run_wgan_command(*arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images in three classes, a conditional run of them, and its exports."""
    folder = tmp_path_factory.mktemp("conditional")
    random = np.random.RandomState(0)
    for label, name in enumerate(CLASSES):
        (folder / "data" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.randint(0, 90, (32, 32, 3))
            pixels[..., 2 - label] += 150
            path = folder / "data" / name / f"{number}.png"
            Image.fromarray(pixels.astype(np.uint8)).save(path)
    run(folder, "train", "data", "--conditional", *TINY, "--steps", 20)
    run(folder, "export", "--format", "onnx", "--format", "torchscript", "--format", "triton")
    save(network(TensorProto.UINT8, ("n", 32, 32, 3)), folder / "features.onnx")
    return folder


def test_the_export_has_the_classes_of_the_data(folder: Path) -> None:
    with Generator(folder / RUN / "generator.onnx") as generator:
        assert generator.classes == CLASSES
        one, other = generator.sample([5, 5], labels=["blue", "red"])
        assert (one != other).any()
    config = (folder / RUN / "triton" / "generator" / "config.pbtxt").read_text()
    assert 'name: "labels" data_type: TYPE_INT64' in config


def test_previews_and_samples_show_the_same_images(folder: Path) -> None:
    preview = np.asarray(Image.open(folder / RUN / "previews" / "step-00000020.png"))
    sampled = grid(Generator(folder / RUN / "generator.onnx").sample(64))
    assert preview.shape == sampled.shape
    assert np.abs(preview.astype(int) - sampled).max() <= 1


def test_int8_is_exported_and_verified(folder: Path) -> None:
    run(folder, "export", "--precision", "int8")
    for name in ("generator.onnx", "generator-int8.onnx"):
        done = run(folder, "verify", RUN / name)
        assert "golden images: 4 images" in done.stdout
        assert "FAILED" not in done.stdout


def test_a_grid_of_all_classes_is_drawn(folder: Path) -> None:
    run(folder, "sample", "--model", RUN / "generator.onnx", "--by-class", "-n", 4, "out.png")
    with Image.open(folder / "out.png") as drawn:
        assert drawn.size == (4 * 32, 3 * 32)


def test_each_class_is_evaluated(folder: Path) -> None:
    options = ("--features", "features.onnx", "-n", 36, "--metrics", "fid,kid", "--trust")
    files = (RUN, RUN / "generator.onnx", RUN / "generator.ts")
    given = ("--data", "data", *options, "--per-class")
    content = json.loads(run(folder, "eval", *files, *given, "--json").stdout)
    for result in content["results"]:
        assert tuple(result["classes"]) == CLASSES
        assert result["classes"]["red"]["fid"] == pytest.approx(
            content["results"][0]["classes"]["red"]["fid"], rel=0.05
        )
    table = run(folder, "eval", RUN, *options, "--per-class").stdout
    assert [line.split()[0] for line in table.splitlines()[-3:]] == list(CLASSES)


def test_images_without_a_class_are_left_out_of_training_and_evaluation(folder: Path) -> None:
    pixels = np.random.RandomState(0).randint(0, 256, (40, 32, 32, 3)).astype(np.uint8)
    names = np.array(["dark", "light"] * 20)
    names[:5] = ""
    np.savez(folder / "some.npz", images=pixels, labels=names)
    train = ("train", "some.npz", "--conditional", *TINY, "--run", "some", "--steps")
    first = run(folder, *train, 2)
    assert "5 images without a class" in first.stdout
    assert "classes   2: dark 17, light 18" in first.stdout
    run(folder, *train, 3)
    options = ("--features", "features.onnx", "-n", 36, "--data-n", 36, "--per-class", "--json")
    evaluated = run(folder, "eval", "some", *options)
    assert "was trained on" not in evaluated.stderr  # the hash is that of the training
    content = json.loads(evaluated.stdout)
    assert content["data_images"] == 35
    assert list(content["results"][0]["classes"]) == ["dark", "light"]


def test_one_class_is_looked_into(folder: Path) -> None:
    image = folder / "data" / "red" / "0.png"
    options = ("--model", RUN, "--method", "gradients", "--steps", 3)
    refused = run_wgan_command("project", image, *options, cwd=folder)
    assert refused.returncode == 2
    assert "give --label, as in --label blue" in refused.stderr
    run(folder, "project", image, *options, "--label", "red")
    run(folder, "directions", "--model", RUN / "generator.onnx", "--label", "red", "-n", 2)
    of_run = ("directions", "--model", RUN, "--label", 2, "-n", 2, "other.npy")
    run(folder, *of_run)
    found, other = np.load(folder / "directions.npy"), np.load(folder / "other.npy")
    assert np.abs(found - other).max() < 1e-3


def test_it_is_served(folder: Path) -> None:
    with serving(folder / RUN / "generator.onnx") as server:
        model = server.get("/v1/models/generator").json()
        assert tuple(model["classes"]) == CLASSES
        assert server.get("/v1/models/generator/images/1.png?label=red").status == 200
