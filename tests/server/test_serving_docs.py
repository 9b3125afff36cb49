"""The examples in docs/serving.md, run unchanged except for the port."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.processes import ROOT, run
from tests.server.grpc_calls import ADDRESS
from tests.server.servers import Server

TEXT = (ROOT / "docs" / "serving.md").read_text()


def examples(language: str) -> list[str]:
    found = re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)
    assert found
    return found


def to(server: Server, example: str) -> str:
    example = example.replace("127.0.0.1:8001", server.await_log(ADDRESS)[1])
    return example.replace("127.0.0.1:8000", f"127.0.0.1:{server.port}")


@pytest.mark.parametrize("example", examples("sh"))
def test_curl(server: Server, tmp_path: Path, example: str) -> None:
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    script = "set -e\n" + to(server, example).replace("curl -s", "curl -s --fail-with-body")
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    kinds = {".png": b"\x89PNG", ".zip": b"PK\x03\x04"}
    for path in tmp_path.iterdir():
        assert path.read_bytes().startswith(kinds[path.suffix])
    assert len(list(tmp_path.iterdir())) == len(re.findall(r" -o ", example))


@pytest.mark.parametrize("example", examples("python"))
def test_python(server: Server, tmp_path: Path, example: str) -> None:
    python = sys.executable
    if "tritonclient" in example:
        python = os.environ.get("WGAN_CLIENTS_PYTHON", python)
        probe = [python, "-c", "import tritonclient.http, tritonclient.grpc"]
        if subprocess.run(probe, capture_output=True, check=False).returncode:
            pytest.skip("tritonclient[http,grpc] is not here: set WGAN_CLIENTS_PYTHON")
    done = run([python, "-c", to(server, example)], tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "(64, 8, 8, 3) uint8\n"


@pytest.mark.parametrize("example", examples("js"))
def test_javascript(server: Server, browser: Any, example: str) -> None:
    page = browser.new_page()
    lines: list[str] = []
    page.on("console", lambda line: lines.append(line.text))
    page.goto(server.url)
    page.evaluate(f"async () => {{ {to(server, example)} }}")
    page.close()
    assert lines[-1] == "8 8"
