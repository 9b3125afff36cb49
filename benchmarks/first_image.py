"""Time from the start of a process to its first image, in the places where a generator can draw.

    python -m benchmarks.first_image [--rounds 5] [--write docs/deploying.md]

Each round starts every place once, as a new process, with the installed generator: wall time until
the first image has arrived. Places whose environment variable is not set are left out:
`WGAN_PLUGINS_PYTHON` names an interpreter with wgan's extras cpu and openvino,
`WGAN_OPENVINO_PYTHON` one with onnxruntime-openvino, `WGAN_GRADIO_PYTHON` one with gradio and
onnxruntime, `WGAN_LITERT_PYTHON` one with wgan's extras export and litert, which converts a new
network of the installed one's size, `WGAN_TRANSFORMERS_JS` a folder with transformers.js in its
node_modules, as .ci/run makes them. `WGAN_CONTAINER_IMAGE` names an image that was built from
deploy/Containerfile, which podman runs. The web page is in `benchmarks.browser`.
"""

import argparse
import contextlib
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
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

RUNNING = re.compile(r"Running on local URL: +(http://127\.0\.0\.1:\d+)")

GRPC = re.compile(r"gRPC at (\S+)")

SCRIPT = f"from wgan import Generator; Generator({str(MODEL)!r}).sample(1)"

CONVERT = """
import sys
from pathlib import Path
from wgan.export.formats.litert import to_litert
from wgan.training.config import TrainConfig
from wgan.training.networks import build, folded
config = TrainConfig(
    size=32, width=20, channels=1, latent_dim=64, conditional=True, classes=tuple("0123456789")
)
generator = folded(build(config)[0]).eval().requires_grad_(False)
Path(sys.argv[1]).write_bytes(to_litert(generator, 64, 10))
"""

INTERPRET = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter
draw = Interpreter(sys.argv[1]).get_signature_runner("serving_default")
latents = np.random.RandomState(0).standard_normal((1, 64)).astype(np.float32)
assert draw(latents=latents, labels=np.zeros(1, np.int32))["images"].shape == (1, 1, 32, 32)
"""


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
    if image := os.environ.get("WGAN_CONTAINER_IMAGE"):
        found["a container, over HTTP"] = partial(first_in_a_container, image)
    openvino = {
        "WGAN_PLUGINS_PYTHON": "`wgan sample --device openvino`, the plugin",
        "WGAN_OPENVINO_PYTHON": "`wgan sample --device openvino`, built in",
    }
    for variable, name in openvino.items():
        if python := os.environ.get(variable):
            found[name] = partial(command, python, *sample, MODEL, "--device", "openvino")
    if python := os.environ.get("WGAN_GRADIO_PYTHON"):
        found["the Gradio app of a published folder"] = partial(first_in_gradio, python, published)
    if python := os.environ.get("WGAN_LITERT_PYTHON"):
        file = folder / "generator.tflite"
        run(python, "-c", CONVERT, file)
        found["LiteRT's interpreter, in Python"] = partial(run, python, "-c", INTERPRET, file)
    if modules := os.environ.get("WGAN_TRANSFORMERS_JS"):
        script = javascript_in(folder, published, Path(modules))
        found["transformers.js, of a published folder"] = partial(run, "node", script)
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


def free_port() -> int:
    """Return a port that nothing listens on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def first_in_gradio(python: str, published: Path) -> None:
    """Start the app and wait for its first image, by the two requests of Gradio's client."""
    port = free_port()
    environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "PYTHONUNBUFFERED": "1"}
    with starting([python, published / "app.py"], RUNNING, env=environment) as address:
        request = urllib.request.Request(
            f"{address}/gradio_api/call/draw",
            json.dumps({"data": [0, 1, 1, "by seed"]}).encode(),
            {"Content-Type": "application/json"},
        )
        event = json.load(urllib.request.urlopen(request))["event_id"]
        answer = urllib.request.urlopen(f"{request.full_url}/{event}").read().decode()
        assert "event: complete" in answer, answer
        (data,) = json.loads(answer.split("data: ", 1)[1].splitlines()[0])
        assert urllib.request.urlopen(data[0]["image"]["url"]).read().startswith(b"\x89PNG")


def javascript_in(folder: Path, published: Path, modules: Path) -> Path:
    """Write the model card's script for transformers.js, which opens the folder itself."""
    card = (published / "README.md").read_text(encoding="utf-8")
    code = card.split("```js\n")[1].split("```")[0]
    found = re.search(r'from_pretrained\("(.*?)"', code)
    assert found
    models = folder / "models"
    (models / found[1]).parent.mkdir(parents=True)
    (models / found[1]).symlink_to(published, target_is_directory=True)
    (folder / "node_modules").symlink_to(modules / "node_modules", target_is_directory=True)
    local = f'env.allowRemoteModels = false;\nenv.localModelPath = "{models}/";\n'
    script = folder / "draw.mjs"
    script.write_text(f'import {{ env }} from "@huggingface/transformers";\n{local}{code}')
    return script


def first_in_a_container(image: str) -> None:
    """Start a container and wait for a PNG of its server."""
    port = free_port()
    mount = f"{MODEL}:/models/generator.onnx:ro"
    words = ("podman", "run", "--rm", "-p", f"127.0.0.1:{port}:8000", "-v", mount, image)
    with starting(words, HTTP):
        first_png(f"http://127.0.0.1:{port}")


@contextlib.contextmanager
def serving(address: re.Pattern[str], *arguments: object) -> Iterator[str]:
    """Start a server; once it is ready yield the address that it has printed."""
    words = (sys.executable, "-m", "wgan", "serve", MODEL, "--port", 0, *arguments)
    with starting(words, address, after=HTTP) as found:
        yield found


@contextlib.contextmanager
def starting(
    words: Sequence[object],
    address: re.Pattern[str],
    after: re.Pattern[str] | None = None,
    env: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Start a program; yield the address that it prints, once it has printed `after` too."""
    process = subprocess.Popen(
        [str(word) for word in words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=env,
    )
    assert process.stdout is not None
    try:
        log = ""
        while not (after or address).search(log) and (line := process.stdout.readline()):
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
        first_png(address.rstrip("/"))


def first_png(address: str) -> None:
    """Get the image of seed 0 from a server."""
    url = f"{address}/v1/models/generator/images/0.png"
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
