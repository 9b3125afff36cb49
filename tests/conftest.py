"""What tests of several rooms share."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, STARTED, Finished, RunWgan, run_wgan_command
from wgan.host import usable_cores
from wgan.runtime import Generator

if "PYTEST_XDIST_WORKER" in os.environ:
    # One thread per worker, and per command that it starts: OpenMP's threads wait for each other
    # in busy loops, which is many times slower when there are more of them than cores.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)  # there is none without xdist
def pytest_xdist_auto_num_workers() -> int:
    """One process more than there are cores, at most five, since many tests wait for others."""
    given = os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS")
    return int(given) if given else min(5, usable_cores() + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that have slow tests, so that no process ends with one alone."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
]

SHARED = ROOT.parent / "shared" / "data"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the tests, and the commands that they start, out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WGAN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def run_wgan(tmp_path: Path) -> RunWgan:
    """Run the command `wgan` in a process of its own, in `tmp_path` or another folder."""

    def run_in(*arguments: object, cwd: Path = tmp_path) -> Finished:
        return run_wgan_command(*arguments, cwd=cwd)

    return run_in


@pytest.fixture
def nothing_is_left_running() -> Iterator[None]:
    """Stop what a failed test has left of what it began by `start`, and so what that began."""
    yield
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            process.terminate()
            process.communicate(timeout=60)


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """The folder of a real data set, or a skip that says why."""

    def find(name: str) -> Path:
        path = SHARED / name
        if not path.exists():
            pytest.skip(f"the real data {name} is not beside this checkout, in shared/data")
        return path

    return find


@pytest.fixture(scope="session")
def model_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator of tests/runtime/models.py as a file: 8x8, colour."""
    from tests.runtime import models  # imports onnx, which few tests need

    path = tmp_path_factory.mktemp("model") / "generator.onnx"
    path.write_bytes(models.generator().SerializeToString())
    return path


@pytest.fixture(scope="session")
def generator(model_file: Path) -> Generator:
    return Generator(model_file)


@pytest.fixture(scope="session")
def conditional_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generator with classes of tests/runtime/models.py as a file: 8x8, colour."""
    from tests.runtime import models  # imports onnx, which few tests need

    path = tmp_path_factory.mktemp("model") / "conditional.onnx"
    path.write_bytes(models.conditional().SerializeToString())
    return path


@pytest.fixture(scope="session")
def conditional(conditional_file: Path) -> Generator:
    return Generator(conditional_file)


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
