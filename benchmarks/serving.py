"""Throughput of `wgan serve`, the bare runtime, and MLServer and LitServe if installed.

    python -m benchmarks.serving [--model FILE] [--seconds 20] [--rounds 3] [--threads N]
        [--mlserver-python PYTHON] [--litserve-python PYTHON] [--overload-seconds 60]

All use the same file, clients and machine: 64 clients, each with its own connection, request one
image after the other. The interpreters of MLServer and LitServe are those of environments with
`mlserver` or `litserve`, and onnxruntime. In each round all take turns, so that other load on the
machine affects all; the table has the median round of each.
"""

import argparse
import asyncio
import contextlib
import functools
import json
import os
import platform
import random
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import onnxruntime

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.load import Load, closed_loop
from wgan import __version__
from wgan.host import usable_cores
from wgan.runtime import Generator

CLIENTS = 64
MAX_BATCH = 64
RIVAL_WAIT = 0.01  # seconds that MLServer and LitServe wait for a batch to fill
RIVALS = Path(__file__).with_name("rivals")

Maker = Callable[[], bytes]

_PIDS: dict[int, int] = {}
"""Port -> process of our own servers."""


def main() -> None:
    """Measure and print."""
    options = _parse()
    threads = options.threads or usable_cores()
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or _make_model(Path(folder))
        _print_machine(model, threads)
        generator = Generator(model, "cpu", threads)
        bare = functools.partial(_bare_rate, generator)
        servers = _servers(options, model, threads, Path(folder))
        loads: dict[str, list[Load]] = {name: [] for name in servers}
        rates = []
        for _ in range(options.rounds):
            rates.append(bare(options.seconds / 2))
            for name, (start, makers) in servers.items():
                with start() as port:
                    loads[name].append(asyncio.run(closed_loop(port, makers, options.seconds)))
            rates.append(bare(options.seconds / 2))
        _print_table(rates, loads)
        _print_lone(generator, model, threads)
        if options.overload_seconds:
            _print_overload(model, threads, options.overload_seconds)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--model", type=Path, help="an ONNX export; by default 64x64, width 64")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--mlserver-python", type=Path)
    parser.add_argument("--litserve-python", type=Path)
    parser.add_argument("--overload-seconds", type=float, default=60.0)
    return parser.parse_args()


def _make_model(folder: Path) -> Path:
    """Export a 64x64 generator of width 64, trained for one step: only speed matters."""
    model = folder / "generator.onnx"
    for arguments in (
        ("train", "--size", "64", "--width", "64", "--steps", "1", "--batch-size", "2"),
        ("export", "--format", "onnx", "--output", str(model)),
    ):
        subprocess.run(
            [sys.executable, "-m", "wgan", *arguments],
            cwd=folder,
            env=_environment(),
            check=True,
            capture_output=True,
        )
    return model


def _print_machine(model: Path, threads: int) -> None:
    size = model.stat().st_size / 2**20
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {threads} threads;"
        f" Python {platform.python_version()}, onnxruntime {onnxruntime.__version__},"
        f" wgan {__version__}; {model.name}, {size:.1f} MB; load average {os.getloadavg()[0]:.1f}"
    )


def _bare_rate(generator: Generator, seconds: float) -> float:
    """Images per second of `Generator.sample` at batch 64."""
    started, drawn = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        generator.sample(range(drawn, drawn + MAX_BATCH), MAX_BATCH)
        drawn += MAX_BATCH
    return drawn / (time.perf_counter() - started)


# The servers and their requests.

Start = Callable[[], contextlib.AbstractContextManager[int]]


def _servers(
    options: argparse.Namespace, model: Path, threads: int, folder: Path
) -> dict[str, tuple[Start, list[Maker]]]:
    seeds = random.Random(0)
    ours = functools.partial(_wgan, model, threads)
    servers: dict[str, tuple[Start, list[Maker]]] = {
        "wgan serve": (ours, [functools.partial(_wgan_request, seeds)] * CLIENTS)
    }
    if options.mlserver_python:
        start = functools.partial(_mlserver, options.mlserver_python, model, threads, folder)
        servers["MLServer"] = (start, [functools.partial(_mlserver_request, seeds)] * CLIENTS)
    if options.litserve_python:
        start = functools.partial(_litserve, options.litserve_python, model, threads)
        servers["LitServe"] = (start, [functools.partial(_litserve_request, seeds)] * CLIENTS)
    return servers


def _wgan_request(seeds: random.Random) -> bytes:
    header = (
        b'{"inputs":[{"name":"seeds","datatype":"UINT32","shape":[1],"parameters":'
        b'{"binary_data_size":4}}],"outputs":[{"name":"pixels","parameters":{"binary_data":true}}]}'
    )
    body = header + struct.pack("<I", seeds.getrandbits(32))
    return _post(
        "/v2/models/generator/infer", body, f"Inference-Header-Content-Length: {len(header)}\r\n"
    )


def _mlserver_request(seeds: random.Random) -> bytes:
    seed = [seeds.getrandbits(32)]
    entry = {"name": "seeds", "datatype": "INT64", "shape": [1, 1], "data": seed}
    return _post("/v2/models/generator/infer", json.dumps({"inputs": [entry]}).encode())


def _litserve_request(seeds: random.Random) -> bytes:
    return _post("/predict", json.dumps({"seed": seeds.getrandbits(32)}).encode())


def _post(path: str, body: bytes, more: str = "") -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n{more}\r\n"
    ).encode() + body


@contextlib.contextmanager
def _wgan(model: Path, threads: int, *more: str) -> Iterator[int]:
    port = _free_port()
    command = [sys.executable, "-m", "wgan", "serve", f"generator={model}", "--device", "cpu"]
    command += ["--port", str(port), "--threads", str(threads), *more]
    with _running(command, port, "/v2/health/ready") as process:
        _PIDS[port] = process.pid
        yield port


@contextlib.contextmanager
def _mlserver(python: Path, model: Path, threads: int, folder: Path) -> Iterator[int]:
    port = _free_port()
    settings: dict[str, object] = {
        "http_port": port,
        "grpc_port": _free_port(),
        "metrics_port": _free_port(),
    }
    settings |= {"host": "127.0.0.1", "debug": False}
    model_settings: dict[str, object] = {
        "name": "generator",
        "implementation": "mlserver_model.Images",
        "max_batch_size": MAX_BATCH,
        "max_batch_time": RIVAL_WAIT,
        "parameters": {"uri": str(model.resolve()), "extra": {"threads": threads}},
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "model-settings.json").write_text(json.dumps(model_settings))
    command = [str(python.with_name("mlserver")), "start", str(folder)]
    with _running(command, port, "/v2/models/generator/ready"):
        yield port


@contextlib.contextmanager
def _litserve(python: Path, model: Path, threads: int) -> Iterator[int]:
    port = _free_port()
    command = [str(python), str(RIVALS / "litserve_app.py"), str(model.resolve()), str(port)]
    command += [str(threads), str(MAX_BATCH), str(RIVAL_WAIT)]
    with _running(command, port, "/health"):
        yield port


@contextlib.contextmanager
def _running(command: list[str], port: int, path: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server during the block, in its own process group with all its children."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, env=_environment(), stdout=log, stderr=log, start_new_session=True
        )
        try:
            _await_ready(process, port, path, log)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


def _await_ready(process: subprocess.Popen[bytes], port: int, path: str, log: object) -> None:
    request = f"GET {path} HTTP/1.0\r\nHost: x\r\n\r\n".encode()
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 5) as connection,
        ):
            connection.sendall(request)
            if b" 200 " in connection.recv(100):
                return
        time.sleep(0.1)
    log.seek(0)  # type: ignore[attr-defined]
    raise SystemExit(log.read().decode()[-3000:])  # type: ignore[attr-defined]


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).resolve().parents[1]), str(RIVALS)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


# Results.


def _print_table(rates: list[float], loads: dict[str, list[Load]]) -> None:
    bare = statistics.median(rates)
    print(f"\n{CLIENTS} clients, one image each at a time; median of {len(rates) // 2} rounds\n")
    print("| | images/s | of the bare runtime | p50 ms | p99 ms | refused, lost |")
    print("| --- | --- | --- | --- | --- | --- |")
    spread = f"{min(rates):.1f}-{max(rates):.1f}"
    print(f"| `Generator.sample`, batch 64 | {bare:.1f} ({spread}) | 1 | | | |")
    for name, rounds in loads.items():
        rate = statistics.median(load.rate for load in rounds)
        spread = f"{min(load.rate for load in rounds):.1f}-{max(load.rate for load in rounds):.1f}"
        p50, p99 = (
            statistics.median(load.percentile(q) * 1000 for load in rounds) for q in (50, 99)
        )
        refused = sum(sum(load.statuses.values()) - len(load.latencies) for load in rounds)
        lost = sum(load.lost for load in rounds)
        print(
            f"| {name} | {rate:.1f} ({spread}) | {rate / bare:.2f} | {p50:.0f} | {p99:.0f}"
            f" | {refused}, {lost} |"
        )


def _print_lone(generator: Generator, model: Path, threads: int) -> None:
    """One client, alternating with the bare runtime, so that other load affects both."""
    seeds = random.Random(1)
    bare, served = [], []
    with _wgan(model, threads) as port:
        for _ in range(5):
            for _ in range(20):
                started = time.perf_counter()
                generator.sample([seeds.getrandbits(32)], 1)
                bare.append(time.perf_counter() - started)
            ask = [functools.partial(_wgan_request, seeds)]
            served += asyncio.run(closed_loop(port, ask, 2.0, warm_up=0.2)).latencies
    a, b = (statistics.median(times) * 1000 for times in (bare, served))
    print(f"\nA lone request: median {b:.2f} ms; the bare run {a:.2f} ms; {b - a:+.2f} ms")


def _print_overload(model: Path, threads: int, seconds: float) -> None:
    """Ten times the requests that the server can answer, then the usual clients again."""
    seeds = random.Random(2)
    ask = functools.partial(_wgan_request, seeds)
    with _wgan(model, threads, "--max-queue", "256") as port:
        before = asyncio.run(closed_loop(port, [ask] * CLIENTS, seconds / 4))
        memory = _Memory(_PIDS[port])
        # At any time half of the clients wait in the queue, and the other half are refused.
        clients, pace = 900, 450 / (10 * before.rate)
        load = asyncio.run(closed_loop(port, [ask] * clients, seconds, pace=pace))
        grown = memory.stop()
        after = asyncio.run(closed_loop(port, [ask] * CLIENTS, seconds / 4, warm_up=1.0))
    offered = sum(load.statuses.values()) / load.seconds
    print(
        f"\nOverload for {seconds:.0f} s: {offered:.0f} requests/s offered"
        f" ({offered / before.rate:.1f} times the {before.rate:.1f}/s that it can answer),"
        f" {load.rate:.1f}/s answered with p99 {load.percentile(99):.2f} s, the rest"
        f" {sorted(set(load.statuses) - {200})}, {load.lost} lost; memory grew by"
        f" {grown / 2**20:.0f} MiB; from 1 s after it on: {after.rate:.1f} images/s"
    )


class _Memory:
    """Samples a process's memory in a thread."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._first = self._largest = self._read()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _read(self) -> int:
        text = Path(f"/proc/{self._pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", text)
        assert found
        return int(found[1]) * 1024

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            self._largest = max(self._largest, self._read())

    def stop(self) -> int:
        """Stop, and return the largest growth in bytes."""
        self._over.set()
        self._thread.join()
        return self._largest - self._first


if __name__ == "__main__":
    main()
