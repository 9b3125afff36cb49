import hashlib
import os
from pathlib import Path

import pytest

from wgan.errors import ModelFileError
from wgan.runtime import Generator
from wgan.runtime.model_source import scan_source


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
