from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import RunWgan
from tests.runtime import models
from wgan.images import grid
from wgan.runs import remember_export
from wgan.runtime import Generator


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


def read(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def test_a_grid_holds_the_first_seeds(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    done = run_wgan("sample", "-n", 5, "--model", model, "out.png")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    np.testing.assert_array_equal(
        read(tmp_path / "out.png"), grid(Generator(model).sample(range(5)))
    )


def test_the_latest_export_is_drawn_from(
    run_wgan: RunWgan, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    remember_export(Path("model.onnx"))
    done = run_wgan("sample", "-v")
    assert (done.returncode, done.stderr) == (0, "running on CPUExecutionProvider\n")
    assert read(tmp_path / "samples.png").shape == (8 * 8, 8 * 8, 3)


def test_a_grid_may_have_any_shape(run_wgan: RunWgan, model: Path, tmp_path: Path) -> None:
    assert run_wgan("sample", "-n", 6, "--grid", "2x4", "--model", model, "o.png").returncode == 0
    assert read(tmp_path / "o.png").shape == (2 * 8, 4 * 8, 3)


def test_a_folder_holds_a_file_for_each_seed(
    run_wgan: RunWgan, model: Path, tmp_path: Path
) -> None:
    done = run_wgan("sample", "--seeds", "3,10-11", "--batch-size", 2, "--model", model, "out/")
    assert done.returncode == 0, done.stderr
    names = sorted(path.name for path in (tmp_path / "out").glob("*.png"))
    assert names == ["00000003.png", "00000010.png", "00000011.png"]
    pixels = Generator(model).sample([3, 10, 11], 2)
    for name, picture in zip(names, pixels, strict=True):
        np.testing.assert_array_equal(read(tmp_path / "out" / name), picture)


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["-n", "0"], 2, "-n 0 is not allowed"),
        (["-n", "3", "--seeds", "1"], 2, "-n and --seeds exclude each other"),
        (["--seeds", "1-"], 2, "seeds '1-' cannot be read"),
        (["--grid", "8"], 2, "grid '8' cannot be read"),
        (["-n", "5", "--grid", "2x2"], 2, "a grid of 2x2 has no room for 5 pictures"),
        (["--batch-size", "0"], 2, "batch size 0 is not allowed"),
        (["--threads", "0"], 2, "threads 0 is not allowed"),
        (["--device", "tpu"], 2, "device 'tpu' is not allowed"),
        (["--device", "cuda"], 1, "device 'cuda' needs the CUDAExecutionProvider"),
        (["missing/out.png"], 1, "the folder missing does not exist"),
        (["missing/out/"], 1, "the folder missing does not exist"),
        (["out.bmp"], 2, "the output 'out.bmp' is not allowed"),
    ],
)
def test_bad_input_ends_in_a_sentence_and_leaves_nothing(
    run_wgan: RunWgan, model: Path, tmp_path: Path, arguments: list[str], status: int, sentence: str
) -> None:
    done = run_wgan("sample", "--model", model, *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (None, "there is no model file bad.onnx"),
        (b"", "bad.onnx cannot be used: it is empty"),
        (b"PNG", "not an ONNX file"),
        (models.generator().SerializeToString()[:-400], "damaged or not an ONNX file"),
    ],
)
def test_a_bad_model_ends_in_a_sentence(
    run_wgan: RunWgan, tmp_path: Path, content: bytes | None, sentence: str
) -> None:
    if content is not None:
        (tmp_path / "bad.onnx").write_bytes(content)
    done = run_wgan("sample", "--model", "bad.onnx", "out.png")
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out.png").exists()


def test_a_folder_without_an_export_is_told_what_to_run(run_wgan: RunWgan) -> None:
    done = run_wgan("sample")
    assert done.returncode == 1
    assert "wgan export --format onnx" in done.stderr
