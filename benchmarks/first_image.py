"""Time from the start of a process to its first image, in the places where a generator can draw.

    python -m benchmarks.first_image [--rounds 5] [--write docs/deploying.md]

Each round starts every place once, as a new process, with the installed generator: wall time until
the image of one seed has arrived. `WGAN_OPENVINO_PYTHON` names an interpreter with
onnxruntime-openvino, without which OpenVINO is left out. The web page is in `benchmarks.browser`.
"""

import argparse
import contextlib
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import grpc

import wgan.runtime.builtin
from benchmarks.machine import describe_machine
from benchmarks.pages import printed, write_between
from wgan.server.grpc.protocol import INFERENCE, message, request_type

MODEL = Path(wgan.runtime.builtin.__file__).with_name("generator.onnx")

MARK = "<!-- benchmarks/first_image.py -->"

HTTP = re.compile(r"ready at (http://\S+)")

GRPC = re.compile(r"gRPC at (\S+)")

SCRIPT = f"from wgan import Generator; Generator({str(MODEL)!r}).sample(1)"


def main() -> None:
    """Measure, print, and write where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path, help="the page whose table is replaced")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lines = list(printed(table(places(Path(folder)), options.rounds)))
    if options.write is not None:
        write_between(options.write, MARK, lines)


def places(folder: Path) -> dict[str, Callable[[], object]]:
    """Everything that is measured, by its name in the table; `folder` takes what is written."""
    published = folder / "published"
    command(sys.executable, "publish", published, MODEL)
    out = folder / "out.png"
    sample = ("sample", "-n", 1, out, "--overwrite", "--model")
    found: dict[str, Callable[[], object]] = {
        "`wgan sample`": partial(command, sys.executable, *sample, MODEL),
        "a script with `wgan.Generator`": partial(run, sys.executable, "-c", SCRIPT),
        "`wgan serve`, over HTTP": first_over_http,
        "`wgan serve`, over gRPC": first_over_grpc,
        "`wgan sample` from a published folder": partial(
            command, sys.executable, *sample, published
        ),
    }
    if openvino := os.environ.get("WGAN_OPENVINO_PYTHON"):
        found["`wgan sample --device openvino`"] = partial(
            command, openvino, *sample, MODEL, "--device", "openvino"
        )
    return found


def table(found: dict[str, Callable[[], object]], rounds: int) -> Iterator[str]:
    """Yield the lines of the page."""
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, draw in found.items():
            start = time.perf_counter()
            draw()
            times[name].append(time.perf_counter() - start)
    yield f"    {describe_machine('onnxruntime')}; {rounds} rounds"
    yield f"    {MODEL.stat().st_size / 1e6:.1f} MB to copy, besides packages"
    yield ""
    yield "| place | first image, s, median | least to most |"
    yield "| --- | --- | --- |"
    for name, each in times.items():
        yield f"| {name} | {statistics.median(each):.2f} | {min(each):.2f} to {max(each):.2f} |"


def command(python: str, *arguments: object) -> None:
    """Run a command of wgan to its end."""
    run(python, "-m", "wgan", *arguments)


def run(*words: object) -> None:
    """Run a program to its end."""
    subprocess.run([str(word) for word in words], check=True, capture_output=True)


@contextlib.contextmanager
def serving(address: re.Pattern[str], *arguments: object) -> Iterator[str]:
    """Start a server; once it is ready yield the address that it has printed."""
    words = (sys.executable, "-m", "wgan", "serve", MODEL, "--port", 0, *arguments)
    process = subprocess.Popen(
        [str(word) for word in words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        log = ""
        while not HTTP.search(log) and (line := process.stderr.readline()):
            log += line
        found = address.search(log)
        assert found, log
        yield found[1]
    finally:
        process.terminate()
        process.communicate()


def first_over_http() -> None:
    """Wait for a PNG of a new server."""
    with serving(HTTP) as address:
        url = f"{address.rstrip('/')}/v1/models/generator/images/0.png"
        assert urllib.request.urlopen(url).read().startswith(b"\x89PNG")


def first_over_grpc() -> None:
    """Wait for the pixels of a new server's first call."""
    seeds = {
        "name": "seeds",
        "datatype": "INT64",
        "shape": [1],
        "contents": {"int64_contents": [0]},
    }
    request = request_type(INFERENCE, "ModelInfer")(model_name="generator", inputs=[seeds])
    with (
        serving(GRPC, "--grpc-port", 0) as address,
        grpc.insecure_channel(address) as channel,
    ):
        call = channel.unary_unary(f"/{INFERENCE}/ModelInfer")
        answer = call(request.SerializeToString(), wait_for_ready=True)
    assert message("inference.ModelInferResponse").FromString(answer)


if __name__ == "__main__":
    main()
