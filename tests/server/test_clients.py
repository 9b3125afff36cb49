"""Unmodified clients of the protocol: tritonclient and kserve.

kserve's pinned dependencies conflict with ours, so both are in their own environment;
WGAN_CLIENTS_PYTHON is its interpreter, and .ci/run creates it.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.processes import run
from tests.server.grpc_calls import ADDRESS
from tests.server.servers import Server
from wgan.runtime import Generator

CALLS = Path(__file__).with_name("client_calls.py")

GRPC_CALLS = Path(__file__).with_name("grpc_client_calls.py")


@pytest.fixture(scope="module")
def clients_python() -> str:
    """An interpreter that has both clients."""
    python = os.environ.get("WGAN_CLIENTS_PYTHON", sys.executable)
    probe = [python, "-c", "import tritonclient.http.aio, kserve"]
    found = subprocess.run(probe, capture_output=True, check=False).returncode == 0
    if not found and "WGAN_CLIENTS_PYTHON" in os.environ:
        pytest.fail(f"WGAN_CLIENTS_PYTHON={python} lacks tritonclient[http,grpc] or kserve")
    if not found:
        pytest.skip("tritonclient[http,grpc] and kserve are not here: set WGAN_CLIENTS_PYTHON")
    return python


def test_tritonclient_and_kserve_get_the_images_of_the_runtime(
    server: Server, generator: Generator, clients_python: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.npz"
    done = run([clients_python, str(CALLS), str(server.port), "generator", str(out)], tmp_path)
    assert done.returncode == 0, done.stderr
    check(out, generator, 12)


@pytest.mark.parametrize(("client", "count"), [("triton", 8), ("kserve", 5)])
def test_over_grpc_they_get_the_images_of_the_runtime(
    server: Server,
    generator: Generator,
    clients_python: str,
    tmp_path: Path,
    client: str,
    count: int,
) -> None:
    out = tmp_path / "out.npz"
    address = server.await_log(ADDRESS)[1]
    done = run([clients_python, str(GRPC_CALLS), client, address, str(out)], tmp_path)
    assert done.returncode == 0, done.stderr
    check(out, generator, count)


def check(out: Path, generator: Generator, count: int) -> None:
    """Compare the `count` responses in a file with the runtime's images."""
    expected = generator.sample([3, 1, 2**32 - 1])
    with np.load(out) as arrays:
        assert len(arrays.files) == count
        for name in arrays.files:
            if name.rpartition("_")[2] == "images":
                pixels = np.rint((arrays[name].transpose(0, 2, 3, 1) + 1) * 127.5)
                assert np.abs(pixels - expected).max() <= 1
            else:
                np.testing.assert_array_equal(arrays[name], expected, name)
