"""A real `wgan serve` in its own process, on a free port, and requests to it."""

import contextlib
import http.client
import json
import re
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.processes import environment, wgan_command

READY = re.compile(r"ready at http://[^:]+:(\d+)")
LISTENING = re.compile(r"listening at http://[^:]+:(\d+)")


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # lower case
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        """The message of an error response, its only content."""
        content = self.json()
        assert list(content) == ["error"], content
        return str(content["error"])


@dataclass
class Server:
    process: subprocess.Popen[str]
    log: list[str] = field(default_factory=list)
    port: int = 0
    _news: threading.Condition = field(default_factory=threading.Condition)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def collect_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._news:
                self.log.append(line.rstrip("\n"))
                self._news.notify_all()
        with self._news:
            self.log.append("(end)")
            self._news.notify_all()

    def await_log(self, pattern: str | re.Pattern[str], seconds: float = 60) -> re.Match[str]:
        """Wait for a log line; fails if the server exits without it."""

        def find() -> re.Match[str] | None:
            return next((found for line in self.log if (found := re.search(pattern, line))), None)

        with self._news:
            self._news.wait_for(lambda: find() or self.log[-1:] == ["(end)"], seconds)
            found = find()
        assert found, f"no line {pattern!r} in:\n" + "\n".join(self.log)
        return found

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 30,
    ) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers or {}))
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, names, response.read())

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        return self.request("GET", path, None, headers)

    def post(self, path: str, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        return self.request("POST", path, body, headers)

    def infer(self, content: Any, headers: Mapping[str, str] | None = None) -> Reply:
        return self.post("/v2/models/generator/infer", content, headers)

    def stop(self, seconds: float = 30) -> int:
        """Send SIGTERM and wait for the exit."""
        self.process.terminate()
        return self.process.wait(seconds)

    def metric(self, line: str) -> float:
        """Sum of the values of the lines of `/metrics` that start with `line`."""
        text = self.get("/metrics").body.decode()
        values = [row.rpartition(" ")[2] for row in text.splitlines() if row.startswith(line)]
        assert values, f"no {line} in:\n{text}"
        return sum(map(float, values))

    def await_metric(
        self, line: str, accept: Callable[[float], bool], seconds: float = 15
    ) -> float:
        """Poll a metric until its value is accepted."""
        deadline = time.monotonic() + seconds
        while not accept(value := self.metric(line)):
            assert time.monotonic() < deadline, f"{line} is {value}"
        return value


@contextlib.contextmanager
def serving(
    *arguments: object,
    cwd: Path | None = None,
    wait_for: re.Pattern[str] = READY,
    command: Callable[..., list[str]] = wgan_command,
    variables: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run `wgan serve --port 0 ARGUMENTS`, by default until it is ready.

    `variables` replace the environment.
    """
    with contextlib.ExitStack() as stack:
        folder = cwd or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        process = subprocess.Popen(
            command("serve", "--port", 0, *arguments),
            cwd=folder,
            env=environment() if variables is None else dict(variables),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,  # a process group of its own, as a shell and systemd make
        )
        server = Server(process)
        reader = threading.Thread(target=server.collect_log)
        reader.start()
        try:
            server.port = int(server.await_log(wait_for)[1])
            yield server
        finally:
            process.kill()
            process.wait()
            reader.join()
            assert process.stderr is not None
            process.stderr.close()


def seeds_request(*seeds: int, output: str = "pixels", **parameters: Any) -> dict[str, Any]:
    """An infer request for the images of `seeds`."""
    content: dict[str, Any] = {
        "inputs": [
            {"name": "seeds", "datatype": "INT64", "shape": [len(seeds)], "data": list(seeds)}
        ],
        "outputs": [{"name": output}],
    }
    return content | ({"parameters": parameters} if parameters else {})


def array_of(reply: Reply, output: str = "pixels") -> np.ndarray:
    """An output of a JSON infer response."""
    assert reply.status == 200, reply.body
    entry = next(entry for entry in reply.json()["outputs"] if entry["name"] == output)
    dtype = {"UINT8": np.uint8, "FP32": np.float32}[entry["datatype"]]
    return np.array(entry["data"], dtype).reshape(entry["shape"])


def resident(server: Server) -> int:
    """Resident memory of the server in bytes."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) * 1024
