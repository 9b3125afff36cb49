"""`wgan.export.export`, the library's function for all that `wgan export` does."""

from pathlib import Path

import pytest

from tests.checkpoints import trained_checkpoint
from wgan.errors import CheckpointError, OutputError, ParityError, UsageError
from wgan.export import ExportConfig, ExportedFile, export, output_paths
from wgan.runs import Run, latest_export


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of 4 steps in the current folder, which is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    run = Run(Path("runs") / "first")
    run.make()
    trained_checkpoint().save(run.checkpoint(4))
    run.config.write_text("{}")
    return run


def test_each_format_is_exported_and_the_onnx_file_becomes_the_latest(run: Run) -> None:
    reported: list[ExportedFile] = []

    files = export(ExportConfig(source=run.path, formats=("onnx", "pt2")), reported.append)

    assert [file.path for file in files] == [
        run.path / "generator.onnx",
        run.path / "generator.pt2",
    ]
    assert all(file.path.is_file() and file.manifest.step == 4 for file in files)
    assert reported == files
    assert latest_export() == run.path / "generator.onnx"


def test_the_options_reach_the_file(run: Run) -> None:
    config = ExportConfig(source=run.checkpoint(4), precision="fp16", output="small.onnx")

    (file,) = export(config)

    assert file.path == Path("small.onnx")
    assert (file.manifest.precision, file.manifest.target) == ("fp16", "portable")


def test_files_before_a_refused_one_are_complete(run: Run) -> None:
    config = ExportConfig(source=run.path, formats=("pt2", "onnx"), tolerance_images=0)
    reported: list[ExportedFile] = []

    with pytest.raises(ParityError):
        export(config, reported.append)

    assert not (run.path / "generator.onnx").exists()
    assert latest_export() is None
    assert all(file.path.is_file() for file in reported)


def test_the_next_export_removes_what_a_killed_one_left(run: Run) -> None:
    killed = run.path / ".generator.onnx.4711-1.partial"
    killed.write_bytes(b"half of a file")
    export(ExportConfig(source=run.path))
    assert not list(run.path.glob(".*.partial"))
    assert (run.path / "generator.onnx").is_file()


def test_a_missing_source_is_named(run: Run) -> None:
    with pytest.raises(CheckpointError, match="there is no run or checkpoint nowhere"):
        export(ExportConfig(source=Path("nowhere"), output="new/"))
    assert not Path("new").exists()


def test_an_output_folder_ends_in_a_slash_or_exists(run: Run) -> None:
    config = ExportConfig(formats=("onnx", "pt2", "triton"), output="new/")
    assert output_paths(config, run.checkpoint(4)) == {
        "onnx": Path("new/generator.onnx"),
        "pt2": Path("new/generator.pt2"),
        "triton": Path("new"),
    }
    assert Path("new").is_dir()
    config = ExportConfig(formats=("onnx", "triton", "web"), output="new/")
    assert output_paths(config, Path("run/checkpoints/step.pt"))["web"] == Path("new/web")
    config = ExportConfig(formats=("web",), output="new")
    assert output_paths(config, Path("run/checkpoints/step.pt")) == {"web": Path("new")}


def test_exports_go_into_the_run_by_default(run: Run) -> None:
    config = ExportConfig(formats=("onnx", "triton"), precision="int8")
    assert output_paths(config, run.checkpoint(4)) == {
        "onnx": run.path / "generator-int8.onnx",
        "triton": run.path / "triton",
    }
    assert output_paths(ExportConfig(), Path("b.pt")) == {"onnx": Path("generator.onnx")}


@pytest.mark.parametrize(
    ("formats", "output", "error", "message"),
    [
        (("onnx", "triton"), "x", UsageError, "one file for 2 formats"),
        (("triton",), "gone/x", OutputError, "a Triton repository is a folder"),
        (("onnx",), "gone/x.onnx", OutputError, "the folder gone does not exist"),
        (("onnx",), "/dev/null", OutputError, "/dev/null: it is a device"),
        (("onnx",), "x" * 300, OutputError, "File name too long"),
        (("onnx",), "x" * 300 + "/", OutputError, "File name too long"),
        (("onnx",), "a\0b/", OutputError, "null byte"),
        (("triton",), "a\0b/c", OutputError, "a Triton repository is a folder"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused(
    run: Run, formats: tuple[str, ...], output: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        output_paths(ExportConfig(formats=formats, output=output), run.checkpoint(4))
