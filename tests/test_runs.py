import shutil
from pathlib import Path

import pytest

from wgan import runs
from wgan.errors import CheckpointError, ModelFileError, RunError, UsageError
from wgan.runs import Run, which_checkpoint
from wgan.runtime.model_source import find_model


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def make_run(path: str) -> Run:
    run = Run(Path(path))
    run.make()
    run.config.write_text("{}")
    return run


def test_an_empty_folder_has_no_latest_run() -> None:
    with pytest.raises(RunError, match="wgan train"):
        runs.latest_run()


def test_the_run_trained_last_is_the_latest_in_any_folder() -> None:
    runs.remember_run(make_run("runs/one"))
    runs.remember_run(make_run("elsewhere/two"))
    assert runs.latest_run() == Run(Path("elsewhere/two"))


def test_a_missing_latest_run_is_named() -> None:
    runs.remember_run(make_run("runs/one"))
    shutil.rmtree("runs/one")
    with pytest.raises(RunError, match="runs/one is not a run folder"):
        runs.latest_run()


def test_the_newest_checkpoint_has_the_highest_step() -> None:
    run = make_run("runs/one")
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        run.newest_checkpoint()
    for step in (9, 100000000, 10, 99999999):
        run.checkpoint(step).touch()
    (run.checkpoint(1).parent / "step-7-of-mine.pt").touch()
    assert run.newest_checkpoint() == run.checkpoint(100000000)
    steps = [run.step_of(path) for path in run.checkpoints()]
    assert steps == [9, 10, 99999999, 100000000]


def test_a_checkpoint_is_chosen_only_where_there_is_a_run(tmp_path: Path) -> None:
    file = tmp_path / "generator.onnx"
    file.touch()
    assert which_checkpoint(None, [file]) == "latest"
    assert which_checkpoint("best", []) == "best"
    assert which_checkpoint("best", [file, tmp_path]) == "best"
    with pytest.raises(UsageError, match=r"--checkpoint best .*generator\.onnx is a file"):
        which_checkpoint("best", [file])


def test_the_latest_export_moves_with_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_run("runs/one").path / "generator.onnx"
    path.touch()
    runs.remember_export(path)
    shutil.move(tmp_path / "runs", tmp_path / "other" / "runs")
    monkeypatch.chdir(tmp_path / "other")
    assert runs.latest_export() == path


def test_a_pointer_is_followed_where_it_is_named() -> None:
    run = make_run("runs/one")
    runs.remember_run(run)
    export = run.path / "generator.onnx"
    export.touch()
    runs.remember_export(export)
    assert runs.follow_pointer(Path("runs/latest")) == run.path
    assert find_model(Path("runs/latest")) == export
    assert find_model(Path("runs/latest-export")) == export
    assert which_checkpoint("best", [Path("runs/latest")]) == "best"
    Path("latest").write_text("runs/one\n")  # another's file
    assert runs.follow_pointer(Path("latest")) == Path("latest")


def test_without_an_export_there_is_no_latest() -> None:
    assert runs.latest_export() is None


def test_a_missing_latest_export_is_named() -> None:
    runs.remember_export(Path("gone.onnx"))
    with pytest.raises(ModelFileError, match=r"the latest export, gone\.onnx, is missing"):
        runs.latest_export()
