import os
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.model_file.manifest import SIZE_LIMIT
from wgan.model_file.reading import describe, read_bytes, read_model


def write_archive(path: Path, text: str | bytes, name: str = "generator") -> Path:
    """Write an archive with the layout of a TorchScript file with an extra file."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}/data.pkl", b"weights")
        archive.writestr(f"{name}/constants.pkl", b"none")
        archive.writestr(f"{name}/extra/wgan.manifest", text)
    return path


def test_the_manifest_of_an_onnx_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "g.onnx"
    path.write_bytes(models.generator().SerializeToString())
    description = describe(path)
    assert (description.format, description.manifest) == ("onnx", models.manifest())


def test_the_manifest_of_an_archive_is_read(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt", models.manifest(opset=None).to_json())
    description = describe(path)
    assert (description.format, description.manifest) == (
        "torchscript",
        models.manifest(opset=None),
    )


def test_a_pt2_archive_is_distinguished_from_torchscript(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt2", models.manifest(opset=None).to_json())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("generator/archive_format", b"pt2")
    assert describe(path).format == "pt2"


def test_a_file_may_have_no_manifest(tmp_path: Path) -> None:
    plain = tmp_path / "g.onnx"
    plain.write_bytes(models.generator(metadata=[("author", "me")]).SerializeToString())
    assert describe(plain).manifest is None
    with zipfile.ZipFile(tmp_path / "g.pt", "w") as archive:
        archive.writestr("g/constants.pkl", b"none")
    assert describe(tmp_path / "g.pt").manifest is None


def test_a_checkpoint_is_not_taken_for_an_export(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "step.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"weights")
    with pytest.raises(ModelFileError, match=r"neither TorchScript nor pt2: .* wgan export "):
        describe(tmp_path / "step.pt")


def test_a_zip_bomb_is_not_unpacked(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt", b" " * (SIZE_LIMIT * 25))
    with pytest.raises(ModelFileError, match=f"at most {SIZE_LIMIT} are allowed"):
        describe(path)


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt", models.manifest().to_json())
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(ModelFileError, match="damaged archive"):
        describe(path)


def test_two_manifests_in_an_archive_are_refused(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt", models.manifest().to_json())
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("other/extra/wgan.manifest", models.manifest().to_json())
    with pytest.raises(ModelFileError, match="more than one manifest"):
        describe(path)


def test_an_archive_cannot_generate_images(tmp_path: Path) -> None:
    path = write_archive(tmp_path / "g.pt", models.manifest().to_json())
    with pytest.raises(ModelFileError, match="run  wgan export --format onnx"):
        read_model(path)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "it is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"GIF89a" * 10, "not an ONNX file"),
    ],
)
def test_a_file_that_is_not_a_model_is_refused_with_the_reason(
    tmp_path: Path, content: bytes, sentence: str
) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    for read in (describe, read_model):
        with pytest.raises(ModelFileError, match=f"model.onnx cannot be used: .*{sentence}"):
            read(path)


def test_a_path_that_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match="there is no model file"):
        read_model(tmp_path / "missing.onnx")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        read_model(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    with pytest.raises(ModelFileError, match="is not a regular file"):
        describe(tmp_path / "pipe.onnx")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc of Linux")
@pytest.mark.parametrize("read", [describe, read_model, read_bytes])
def test_a_file_that_opens_and_cannot_be_read_is_a_sentence(read: Callable[[Path], object]) -> None:
    with pytest.raises(ModelFileError, match="cannot be read: Input/output error"):
        read(Path("/proc/self/mem"))
