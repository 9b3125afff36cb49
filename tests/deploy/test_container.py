"""The image of deploy/Containerfile in a real container, as locked down as in Kubernetes.

WGAN_CONTAINER_IMAGE names an image that was built from it. podman runs it, or another engine with
the same command line that WGAN_CONTAINER_ENGINE names.
"""

import contextlib
import io
import json
import os
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.processes import wait_until
from wgan.runtime import Generator
from wgan.runtime.builtin import builtin_model

KEY = "a key for the tests of the container"

LOCKED_DOWN = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
    *("--publish", "127.0.0.1::8000"),
)


def run_engine(*arguments: object) -> subprocess.CompletedProcess[str]:
    name = os.environ.get("WGAN_CONTAINER_ENGINE", "podman")
    words = [name, *map(str, arguments)]
    return subprocess.run(words, capture_output=True, text=True, check=True, timeout=120)


def engine(*arguments: object) -> str:
    """Run a command of the container engine and return what it printed."""
    return run_engine(*arguments).stdout


@pytest.fixture(scope="module")
def image() -> str:
    name = os.environ.get("WGAN_CONTAINER_IMAGE")
    if name is None:
        pytest.skip("WGAN_CONTAINER_IMAGE does not name an image built from deploy/Containerfile")
    return name


@contextlib.contextmanager
def running(image: str, folder: Path) -> Iterator[str]:
    """The name of a container whose server is ready; it mounts the model and a file of keys."""
    folder.chmod(0o755)  # the server is not root
    (folder / "keys").write_text(KEY)
    shutil.copy(builtin_model(), folder)
    mounts = (
        *("--volume", f"{folder}/generator.onnx:/models/generator.onnx:ro"),
        *("--volume", f"{folder}/keys:/keys/keys:ro"),
    )
    served = ("--api-key-file=/keys/keys", "--drain-seconds=30", "/models/generator.onnx")
    name = engine("run", "--detach", *LOCKED_DOWN, *mounts, image, *served).strip()
    try:
        wait_until(lambda: "ready at" in run_engine("logs", name).stderr)
        yield name
    finally:
        engine("rm", "--force", name)


@pytest.fixture(scope="module")
def container(image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(image, tmp_path_factory.mktemp("container")) as name:
        yield name


@pytest.fixture(scope="module")
def address(container: str) -> str:
    return "http://" + engine("port", container, "8000/tcp").strip()


def test_the_image_has_no_pytorch_and_no_root(image: str) -> None:
    look = "import os, importlib.util as u; print(os.getuid(), u.find_spec('torch'))"
    said = engine("run", "--rm", "--entrypoint", "python", image, "-c", look)
    assert said.split() == ["10001", "None"]


def test_its_images_are_those_of_the_library(address: str) -> None:
    request = urllib.request.Request(
        f"{address}/v1/models/generator/images/42.png", headers={"X-API-Key": KEY}
    )
    answered = np.asarray(Image.open(io.BytesIO(urllib.request.urlopen(request).read())))
    with Generator(builtin_model()) as generator:
        expected = generator.sample([42])[0]
    np.testing.assert_array_equal(answered, expected.squeeze())


def test_it_asks_for_the_key(address: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(f"{address}/v1/models/generator/images/42.png")


def test_its_health_check_passes(image: str, container: str) -> None:
    (described,) = json.loads(engine("image", "inspect", image))
    check = (described.get("Healthcheck") or described["Config"]["Healthcheck"])["Test"]
    assert check[0] == "CMD"
    engine("exec", container, *check[1:])


def test_it_stops_when_asked(image: str, tmp_path: Path) -> None:
    with running(image, tmp_path) as name:
        engine("stop", "--time", "30", name)
        (described,) = json.loads(engine("container", "inspect", name))
        assert described["State"]["ExitCode"] == 0
