import hashlib
import os
from pathlib import Path

import pytest

from wgan.errors import ModelFileError, RunError
from wgan.model_file.reading import read_manifest
from wgan.runs import Run, remember_export, remember_run
from wgan.runtime import Generator, builtin
from wgan.runtime.model_source import find_model, scan_source, verify_checksum


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run without an export in the current folder, which is `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    run = Run(Path("runs") / "first")
    run.make()
    run.config.write_text("{}")
    return run


def test_the_latest_export_is_taken_and_without_runs_the_built_in_model(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ModelFileError, match="have no export yet: run  wgan export  first"):
        find_model(None)
    export = run.path / "generator.onnx"
    export.touch()
    remember_export(export)
    assert find_model(None) == export
    export.unlink()
    with pytest.raises(ModelFileError, match=r"the latest export, .* is missing"):
        find_model(None)
    assert not caplog.messages


def test_in_an_empty_folder_a_warning_says_that_the_built_in_model_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model(None) == find_model("builtin") == builtin.builtin_model()
    assert "using the built-in one" in caplog.text


def test_a_runs_folder_means_its_newest_export(run: Run) -> None:
    with pytest.raises(
        ModelFileError, match=r"has no ONNX export yet: run  wgan export runs/first"
    ):
        find_model(run.path)
    for number, name in enumerate(("b.onnx", "a.onnx", "c.ts", "d.txt"), 1):
        (run.path / name).touch()
        os.utime(run.path / name, (number, number))
    assert find_model(str(run.path)) == run.path / "a.onnx"
    assert find_model(run.path, only_onnx=False) == run.path / "c.ts"
    with pytest.raises(RunError, match="runs is not a run folder"):
        find_model(run.path.parent)


def test_a_folder_for_a_web_host_means_its_model(tmp_path: Path, model_file: Path) -> None:
    model = tmp_path / "generator.onnx"
    model.write_bytes(model_file.read_bytes())
    with pytest.raises(RunError, match="is not a run folder"):  # some folder with an ONNX file
        find_model(tmp_path)
    (tmp_path / "model.json").touch()
    assert find_model(tmp_path) == model


def test_a_core_ml_package_is_a_sentence(tmp_path: Path) -> None:
    package = tmp_path / "generator.mlpackage"
    package.mkdir()
    for folder in (package, tmp_path):
        with pytest.raises(ModelFileError, match=r"is a Core ML package.* manifest\.json"):
            find_model(folder)


def test_a_generator_in_python_finds_the_model_as_the_commands_do(
    run: Run, model_file: Path
) -> None:
    for name in (None, "runs/first", run.path, "runs"):  # the same sentences, too
        with pytest.raises((ModelFileError, RunError)) as command:
            find_model(name)
        with pytest.raises(command.type) as python:
            Generator(name)
        assert str(python.value) == str(command.value)
    export = run.path / "generator.onnx"
    export.write_bytes(model_file.read_bytes())
    remember_export(export)
    for name in (None, "runs/first", run.path):
        with Generator(name) as generator:
            assert f": {export}, latent_dim" in repr(generator)


@pytest.mark.parametrize("content", [b"", b"a\0b", b"x" * 10**5, b"\xff\xfe/z", b"\n../../.."])
def test_a_damaged_pointer_is_a_sentence(run: Run, content: bytes) -> None:
    (run.path.parent / "latest-export").write_bytes(content)
    with pytest.raises((ModelFileError, RunError)):
        find_model(None)


def test_a_name_that_is_not_utf8_is_remembered(run: Run) -> None:
    export = run.path / os.fsdecode(b"latin\xe9.onnx")
    export.touch()
    remember_export(export)
    assert find_model(None) == export


def test_a_pointer_that_cannot_be_written_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("runs").write_bytes(b"in the way")
    remember_export(Path("generator.onnx"))
    remember_run(Run(Path("elsewhere")))
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    assert "later commands need the path generator.onnx" in caplog.text


def test_the_hash_is_that_of_the_bytes_in_memory_or_in_a_file(model_file: Path) -> None:
    data = model_file.read_bytes()
    expected = hashlib.sha256(data).hexdigest()
    assert Generator(data).model_sha256 == expected
    assert Generator(model_file).model_sha256 == expected


def test_a_file_that_changed_after_the_scan_is_refused(model_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_file.read_bytes())
    source, _ = scan_source(path)
    source.check_unchanged()
    os.utime(path, ns=(0, 0))
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        source.check_unchanged()
    with pytest.raises(ModelFileError, match="changed while it was in use"):
        source.sha256()


def test_a_file_that_cannot_be_read_for_its_checksum_is_not_called_damaged(
    model_file: Path, tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(model_file.read_bytes())
    source, scanned = scan_source(path)
    path.unlink()
    with (
        pytest.raises(ModelFileError, match="there is no model file"),
        verify_checksum(source, read_manifest(scanned)),
    ):
        pass


def test_an_error_names_the_file_once(tmp_path: Path) -> None:
    path = tmp_path / "empty.onnx"
    path.touch()
    for model, name in ((path, str(path)), (b"", "the model")):
        with pytest.raises(ModelFileError) as raised:
            Generator(model)
        assert str(raised.value) == f"{name} cannot be used: it is empty"


def test_an_impossible_file_name_is_refused() -> None:
    with pytest.raises(ModelFileError, match="cannot be read"):
        Generator("a\0b")
