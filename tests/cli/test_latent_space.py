"""`wgan project` and `wgan directions`, and what `wgan sample` makes of their files."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import RunWgan
from tests.runtime import models


@pytest.fixture(autouse=True)
def _files(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(models.generator().SerializeToString())
    Image.new("L", (30, 20), 90).save(tmp_path / "grey.png")


def test_an_image_becomes_latents_that_are_moved_along_a_direction(
    run_wgan: RunWgan, tmp_path: Path
) -> None:
    model = ("--model", "model.onnx")
    done = run_wgan("project", "grey.png", *model, "--evaluations", 50, "-o", "z.npy")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("grey.png: distance ")
    assert done.stderr.splitlines() == [
        "1 image resized to 8x8, as training data is: grey.png has 30x20 pixels",
        "wrote 1 latent to z.npy and the images to z.png",
    ]
    done = run_wgan("directions", *model, "-n", 2)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["0", "1"]
    assert done.stderr == (
        "wrote 2 directions to directions.npy and the first ones to directions.png\n"
    )
    strip = ("--direction", "directions.npy:1", "--strength", "-2..2", "--frames", 3)
    done = run_wgan("sample", "--latents", "z.npy", *strip, *model, "strip.png")
    assert done.returncode == 0, done.stderr
    with Image.open(tmp_path / "strip.png") as drawn:
        assert drawn.size == (3 * 8, 8)


def test_distances_are_printed_as_json(run_wgan: RunWgan, tmp_path: Path) -> None:
    done = run_wgan("project", "grey.png", "--model", "model.onnx", "--evaluations", 9, "--json")
    content = json.loads(done.stdout)
    assert (content["latents"], content["preview"]) == ("projection.npy", "projection.png")
    (row,) = content["images"]
    assert row["image"] == "grey.png"
    assert 0 < row["distance"] <= row["nearest_random"] < 255
    assert np.load(tmp_path / "projection.npy").shape == (1, 4)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (("project",), 2, "Missing argument 'IMAGE...'"),
        (("project", "gone.png"), 1, "there is no image gone.png"),
        (("project", "model.onnx"), 1, "the image model.onnx cannot be used"),
        (("project", "grey.png", "-o", "no/z.npy"), 1, "the folder no does not exist"),
        (("project", "grey.png", "--device", "cuda"), 1, "device 'cuda' needs"),
        (("directions", "out.png"), 2, "must end in .npy"),
        (("directions", "--method", "sefe"), 2, "Did you mean sefa?"),
        (("directions", "-n", "9"), 2, "there are 4 directions"),
        (("sample", "--direction", "gone.npy:0"), 2, "there is no file of directions gone.npy"),
        (("sample", "--direction", "d:0", "--strength", "3"), 2, "from -100 to 100, as in -3..3"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_leaves_nothing(
    run_wgan: RunWgan, tmp_path: Path, arguments: tuple[str, ...], status: int, sentence: str
) -> None:
    done = run_wgan(*arguments, "--model", "model.onnx")
    assert done.returncode == status, done.stderr
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["grey.png", "model.onnx"]
