"""`app.py` of a published folder, run by Gradio and used in a browser.

Gradio does not allow the Pillow that wgan is tested with, so it has an environment of its own:
WGAN_GRADIO_PYTHON is its interpreter, and .ci/run creates it.
"""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wgan.images import Pixels
from wgan.runtime import Generator

# Gradio takes long to start, and longer on a busy machine.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

RUNNING = re.compile(r"Running on local URL: +(http://127\.0\.0\.1:\d+)")
ADDRESSES = re.compile(r"AF_INET6?, .*?inet_(?:addr|pton)\((?:AF_INET6, )?\"([^\"]+)\"")
SIDE = 256  # of an enlarged image


@pytest.fixture(scope="module")
def gradio_python() -> str:
    """An interpreter that has what requirements.txt names."""
    python = os.environ.get("WGAN_GRADIO_PYTHON", sys.executable)
    probe = [python, "-c", "import gradio, onnxruntime"]
    found = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if not found and "WGAN_GRADIO_PYTHON" in os.environ:
        pytest.fail(f"WGAN_GRADIO_PYTHON={python} lacks gradio or onnxruntime")
    if not found:
        pytest.skip("gradio is not here: set WGAN_GRADIO_PYTHON")
    return python


STRACE = ("strace", "-f", "--seccomp-bpf", "-qq", "-e", "trace=connect")


def can_trace() -> bool:
    if shutil.which("strace") is None:
        return False
    return subprocess.run([*STRACE, "true"], capture_output=True, check=False).returncode == 0


@contextlib.contextmanager
def running(python: str, folder: Path, home: Path, trace: Path | None = None) -> Iterator[str]:
    """Run `python app.py` as the card says, with nothing of this process's environment.

    Gives its URL. `trace` becomes a file with what it connects to.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    tracing = (*STRACE, "-o", str(trace)) if trace else ()
    process = subprocess.Popen(
        [*tracing, python, "app.py"],
        cwd=folder,
        env={
            "HOME": str(home),
            "PATH": "/usr/bin:/bin",
            "PYTHONUNBUFFERED": "1",
            "GRADIO_SERVER_PORT": str(port),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    lines: list[str] = []
    try:
        for line in process.stdout:
            lines.append(line)
            if found := RUNNING.search(line):
                break
        else:
            pytest.fail("the app ended:\n" + "".join(lines))
        reader = threading.Thread(target=lines.extend, args=(process.stdout,), daemon=True)
        reader.start()
        yield found[1]
    finally:
        os.killpg(process.pid, 15)
        process.wait(30)
        process.stdout.close()


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    """A page in a new profile; fails on script errors and on requests to other servers."""
    wrong: list[str] = []
    context = browser.new_context(viewport={"width": 1280, "height": 860})
    opened = context.new_page()
    opened.set_default_timeout(60_000)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on(
        "request",
        lambda asked: (
            None
            if asked.url.startswith(("http://127.0.0.1:", "data:", "blob:"))
            else wrong.append(asked.url)
        ),
    )
    yield opened
    context.close()
    assert wrong == []


IMAGES = """(images, scale) => images.filter(image => image.naturalWidth).map(image => {
    const canvas = document.createElement("canvas");
    canvas.width = image.naturalWidth;
    canvas.height = image.naturalHeight;
    const context = canvas.getContext("2d");
    context.drawImage(image, 0, 0);
    const {data, width, height} = context.getImageData(0, 0, canvas.width, canvas.height);
    const pixels = [];
    for (let y = 0; y < height; y += scale)
        for (let x = 0; x < width; x += scale)
            pixels.push(...data.subarray(4 * (y * width + x), 4 * (y * width + x) + 3));
    return pixels;
})"""


def shown(page: Any, selector: str, scale: int) -> np.ndarray:
    """The pixels of the loaded images of a selector, as they were before they were enlarged."""
    pixels = np.array(page.eval_on_selector_all(selector, IMAGES, scale), np.uint8)
    return pixels.reshape(-1, SIDE // scale, SIDE // scale, 3)


GALLERY = ".grid-container img"


def await_gallery(page: Any, expected: Pixels, scale: int) -> None:
    """Wait until the gallery shows these images; it keeps older ones until new ones have come."""
    deadline = time.monotonic() + 60
    while True:
        await_images(page, len(expected))
        found = shown(page, GALLERY, scale).astype(int)
        if found.shape == expected.shape and np.abs(found - expected).max() <= 1:
            return
        assert time.monotonic() < deadline, "the gallery has not changed"
        page.wait_for_timeout(100)


def await_images(page: Any, count: int) -> None:
    page.wait_for_function(
        """([selector, count]) => {
            const images = [...document.querySelectorAll(selector)];
            return images.length === count && images.every(image => image.naturalWidth);
        }""",
        arg=[GALLERY, count],
    )


def test_the_app_draws_the_images_of_the_seeds_and_connects_to_nothing_else(
    published: Path, gradio_python: str, page: Any, tmp_path: Path
) -> None:
    generator = Generator(published / "onnx" / "model.onnx")
    trace = tmp_path / "trace" if can_trace() else None
    with running(gradio_python, published, tmp_path, trace) as url:
        page.goto(url)
        await_gallery(page, generator.sample(16), SIDE // 32)
        page.get_by_label("First seed").fill("7")
        page.get_by_label("number input for Images").fill("3")
        page.get_by_role("button", name="Draw").click()
        await_gallery(page, generator.sample(range(7, 10)), SIDE // 32)
        page.get_by_role("tab", name="Between two seeds").click()
        middle = ".image-frame img"
        page.wait_for_selector(middle)
        page.wait_for_function(f"document.querySelector({middle!r}).naturalWidth > 0")
        expected = generator.interpolate([0, 1], frames=4)[1]  # a closed path: half of one way
        np.testing.assert_allclose(shown(page, middle, SIDE // 32)[0].astype(int), expected, atol=1)
    if trace is not None:
        reached = set(ADDRESSES.findall(trace.read_text()))
        assert reached  # the app looks whether it answers
        assert reached <= {"127.0.0.1", "::1", "0.0.0.0", "::"}


def test_the_app_of_a_generator_with_classes_draws_the_chosen_class(
    published_classes: Path, gradio_python: str, page: Any, tmp_path: Path
) -> None:
    generator = Generator(published_classes)
    with running(gradio_python, published_classes, tmp_path) as url:
        page.goto(url)
        await_gallery(page, generator.sample(16), SIDE // 8)
        page.get_by_label("number input for Images").fill("2")
        page.get_by_label("Class").click()
        page.get_by_role("option", name="dog", exact=True).click()
        page.get_by_role("button", name="Draw").click()
        await_gallery(page, generator.sample(2, labels="dog"), SIDE // 8)
        page.get_by_role("tab", name="Between two seeds").click()
        page.get_by_label("To seed").fill("")  # an empty field is seed 0, as the other one
        middle = ".image-frame img"
        page.wait_for_function(f"document.querySelector({middle!r})?.naturalWidth > 0")
        for name in ("cat", "dog"):
            page.get_by_label("Class").click()
            page.get_by_role("option", name=name, exact=True).click()
            expected = generator.sample(1, labels=name)[0].astype(int)
            await_pixels(page, middle, expected, SIDE // 8)


def await_pixels(page: Any, selector: str, expected: np.ndarray, scale: int) -> None:
    """Wait until an image shows these pixels."""
    deadline = time.monotonic() + 60
    found = shown(page, selector, scale)
    while not len(found) or np.abs(found[0].astype(int) - expected).max() > 1:
        assert time.monotonic() < deadline, "the image has not changed"
        page.wait_for_timeout(100)
        found = shown(page, selector, scale)
