"""Servers that several tests ask; a test that changes or overloads one starts its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.runtime import models
from tests.runtime.server.servers import Server, serving
from wgan.runtime import Generator


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small generator of 8x8 pictures, from 4 latents."""
    path = tmp_path_factory.mktemp("models") / "generator.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


@pytest.fixture(scope="session")
def generator(model_file: Path) -> Generator:
    """The same model without a server."""
    return Generator(model_file)


@pytest.fixture(scope="session")
def server(model_file: Path) -> Iterator[Server]:
    """A server of that model."""
    with serving(model_file) as running:
        yield running
