"""A small model that several tests draw from."""

from pathlib import Path

import pytest

from tests.runtime import models
from wgan.runtime import Generator


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator of tests/runtime/models.py as a file: 8x8, colour."""
    path = tmp_path_factory.mktemp("model") / "generator.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


@pytest.fixture(scope="session")
def generator(model_file: Path) -> Generator:
    return Generator(model_file)
