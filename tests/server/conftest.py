"""Fixtures of the server tests. A test that changes or overloads its server starts its own."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.server.servers import Server, serving


@pytest.fixture(scope="session")
def server(model_file: Path) -> Iterator[Server]:
    """A server of `model_file`, over HTTP and gRPC."""
    with serving(model_file, "--grpc-port", 0) as running:
        yield running


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Headless Chromium; required in CI.

    Of a module, since Playwright's event loop runs in this thread while the fixture lives, and
    asyncio.run() refuses to run beside it.
    """
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("CI has no Chromium: .ci/run installs Debian's package chromium")
        pytest.skip("no Chromium: on Debian, apt-get install chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as started:
        launched = started.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield launched
        launched.close()
