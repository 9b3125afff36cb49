"""Servers that several tests ask; a test that changes or overloads one starts its own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Headless Chromium; in CI it must be there."""
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: .ci/run installs Debian's package chromium")
        pytest.skip("no Chromium: on Debian, apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()
