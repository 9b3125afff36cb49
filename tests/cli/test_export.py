from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from tests.processes import RunWgan
from wgan.runs import Run


@pytest.fixture(scope="module")
def checkpoint_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("checkpoint") / "checkpoint.pt"
    trained_checkpoint().save(path)
    return path.read_bytes()


@pytest.fixture
def run(tmp_path: Path, checkpoint_bytes: bytes) -> Run:
    """A run of 4 steps, the latest of the folder `tmp_path`."""
    run = Run(tmp_path / "runs" / "first")
    run.make()
    run.checkpoint(4).write_bytes(checkpoint_bytes)
    run.config.write_text("{}")
    (tmp_path / "runs" / "latest").write_text("first\n")
    (tmp_path / "netG.pth").write_bytes(b"weights")
    return run


@pytest.mark.parametrize("arguments", [[], ["runs/latest"]])
def test_export_without_arguments_takes_the_latest_run(
    run_wgan: RunWgan, run: Run, arguments: list[str]
) -> None:
    done = run_wgan("export", *arguments)
    assert done.returncode == 0, done.stderr
    assert "step 4" in done.stdout
    assert (run.path / "generator.onnx").is_file()
    assert (run.path.parent / "latest-export").read_text() == "first/generator.onnx\n"


def test_several_formats_are_written_beside_each_other(run_wgan: RunWgan, run: Run) -> None:
    done = run_wgan("export", run.path, "--format", "onnx", "--format", "torchscript")
    assert done.returncode == 0, done.stderr
    assert (run.path / "generator.onnx").is_file()
    assert (run.path / "generator.ts").is_file()


def test_a_checkpoint_can_be_named_and_the_output_too(
    run_wgan: RunWgan, run: Run, tmp_path: Path
) -> None:
    done = run_wgan("export", run.checkpoint(4), "-o", "mine.ts", "--format", "torchscript")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.ts").is_file()


@pytest.mark.parametrize(
    ("arguments", "status", "sentence"),
    [
        (["nowhere"], 1, "there is no run or checkpoint nowhere"),
        (["runs/first", "-o", "gone/x.onnx"], 1, "the folder gone does not exist"),
        (["runs/first", "--format", "gif"], 2, "'gif' is not one of"),
        (
            ["runs/first", "--format", "onnx", "--format", "torchscript", "-o", "x.onnx"],
            2,
            "one file for 2 formats",
        ),
        (
            ["runs/first", "-o", "runs/first/checkpoints/step-00000004.pt"],
            2,
            "step-00000004.pt would replace the checkpoint",
        ),
        (["runs/first", "-o", "runs/first/config.json"], 2, "would replace a file of the run"),
        (["runs/first", "-o", "runs/latest"], 2, "would replace the pointer"),
        (
            ["--module", "torch.nn:Identity", "--weights", "netG.pth:g", "-o", "netG.pth"],
            2,
            "netG.pth would replace the weights netG.pth",
        ),
        (["runs"], 1, "runs is not a run folder"),
        (["runs/first/config.json"], 1, "checkpoint runs/first/config.json is damaged"),
    ],
)
def test_bad_input_is_one_sentence(
    run_wgan: RunWgan, run: Run, arguments: list[str], status: int, sentence: str
) -> None:
    done = run_wgan("export", *arguments)
    assert done.returncode == status
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("file_format", ["litert", "web"])
def test_an_exported_file_is_not_taken_for_a_checkpoint(
    run_wgan: RunWgan, model_file: Path, file_format: str
) -> None:
    done = run_wgan("export", model_file, "--format", file_format)
    assert done.returncode == 1
    assert "is an exported file, and other formats are made from a run" in done.stderr


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_exported(
    run_wgan: RunWgan, run: Run
) -> None:
    run.checkpoint(9).write_bytes(run.checkpoint(4).read_bytes()[:-100])
    done = run_wgan("export", run.path)
    assert done.returncode == 0, done.stderr
    assert "step-00000009.pt is damaged" in done.stderr
    assert "step 4" in done.stdout
    named = run_wgan("export", run.checkpoint(9))
    assert named.returncode == 1
    assert "step-00000009.pt is damaged" in named.stderr


def test_a_run_without_a_checkpoint_is_told_to_train(run_wgan: RunWgan, run: Run) -> None:
    run.checkpoint(4).unlink()
    done = run_wgan("export")
    assert done.returncode == 1
    assert "has no checkpoint yet" in done.stderr
    assert "wgan train --run" in done.stderr


def test_a_folder_without_runs_is_told_to_train(run_wgan: RunWgan, tmp_path: Path) -> None:
    done = run_wgan("export")
    assert done.returncode == 1
    assert "wgan train" in done.stderr
    assert not list(tmp_path.iterdir())
