"""Fixtures of the server tests. A test that changes or overloads its server starts its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.server.servers import Server, serving


@pytest.fixture(scope="session")
def server(model_file: Path) -> Iterator[Server]:
    """A server of `model_file`, over HTTP and gRPC."""
    with serving(model_file, "--grpc-port", 0) as running:
        yield running
