"""Inception's weights: found, checked by hash, fetched from a local server, or asked for."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from wgan.errors import DataError
from wgan.evaluation.weights import NAME, find_weights, usual_place

CONTENT = b"not really weights"
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


class Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def url(tmp_path: Path) -> Iterator[str]:
    """A server on this machine that has the weights."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "w.pth").write_bytes(CONTENT)
    handler = partial(Silent, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/w.pth"
        server.shutdown()
        thread.join()


def test_the_usual_place_is_that_of_pytorchs_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/somewhere/torch")
    assert usual_place() == Path("/somewhere/torch/hub/checkpoints") / NAME


def test_weights_in_their_place_are_taken_without_any_network(tmp_path: Path) -> None:
    place = tmp_path / NAME
    place.write_bytes(CONTENT)
    nowhere = "http://127.0.0.1:9/never"
    found = find_weights(download=True, place=place, url=nowhere, sha256_prefix=PREFIX)
    assert found == place


def test_weights_are_fetched_once(tmp_path: Path, url: str) -> None:
    place = tmp_path / "hub" / "checkpoints" / NAME
    assert find_weights(download=True, place=place, url=url, sha256_prefix=PREFIX) == place
    assert place.read_bytes() == CONTENT
    (tmp_path / "served" / "w.pth").unlink()
    assert find_weights(download=True, place=place, url=url, sha256_prefix=PREFIX) == place


def test_a_download_of_something_else_leaves_no_file(tmp_path: Path, url: str) -> None:
    place = tmp_path / NAME
    with pytest.raises(DataError, match=r"could not be fetched.*invalid hash value"):
        find_weights(download=True, place=place, url=url, sha256_prefix="00000000")
    assert list(tmp_path.glob("*")) == [tmp_path / "served"]


def test_a_failed_download_says_what_to_fetch_and_where_to_put_it(tmp_path: Path) -> None:
    place = tmp_path / NAME
    with pytest.raises(DataError) as caught:
        find_weights(download=True, place=place, url="http://127.0.0.1:9/w.pth")
    assert f"put them at {place}" in str(caught.value)
    assert "http://127.0.0.1:9/w.pth" in str(caught.value)
    assert "--weights" in str(caught.value)


def test_missing_weights_are_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_weights(place=tmp_path / NAME)
    for part in (str(tmp_path / NAME), "--download", "https://", "--weights", "--features"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="there are no Inception weights"):
        find_weights(tmp_path / "mine.pth")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"truncated")
    with pytest.raises(DataError, match=r"its SHA-256 begins with \w{8}, not 6726825d"):
        find_weights(mine)
