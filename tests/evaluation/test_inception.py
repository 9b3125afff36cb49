"""The standard features with random weights, and the weights' file; no internet access."""

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from wgan.errors import DataError
from wgan.evaluation.distances import fid
from wgan.evaluation.inception import (
    WEIGHTS_NAME,
    InceptionFeatures,
    default_weights,
    find_weights,
)
from wgan.evaluation.statistics import feature_statistics
from wgan.images import Pixels

CPU = torch.device("cpu")
CONTENT = b"not really weights"
PREFIX = hashlib.sha256(CONTENT).hexdigest()[:8]


class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """The network with its random initial weights."""

    def load_state_dict(self, *args: object, **kwargs: object) -> None:
        pass


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("weights")
    torch.save({}, folder / "empty.pth")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Unloaded("inception-v3-compat", ["2048"], str(folder / "empty.pth"))
    torch.save(network.state_dict(), folder / "random.pth")
    return folder / "random.pth"


def pixels(n: int, channels: int = 3, seed: int = 0) -> Pixels:
    shape = (n, 32, 32, channels)
    return np.random.RandomState(seed).randint(0, 256, shape).astype(np.uint8)


@pytest.mark.slow
def test_fid_and_inception_score_equal_those_of_torch_fidelity(weights: Path) -> None:
    real, generated = pixels(24), (pixels(20, seed=1) // 2)

    class Dataset(torch.utils.data.Dataset[torch.Tensor]):
        def __init__(self, pixels: Pixels) -> None:
            self.pixels = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())

        def __len__(self) -> int:
            return len(self.pixels)

        def __getitem__(self, index: int) -> torch.Tensor:
            return self.pixels[index]

    theirs = calculate_metrics(
        input1=Dataset(generated),
        input2=Dataset(real),
        feature_extractor_weights_path=str(weights),
        cuda=False,
        fid=True,
        isc=True,
        isc_splits=10,
        samples_shuffle=False,
        save_cpu_ram=True,  # or else it starts workers
        cache=False,
        verbose=False,
    )
    features = InceptionFeatures(weights, CPU)
    ours_generated, ours_real = features(generated), features(real)
    assert ours_generated.vectors.shape == (20, 2048)
    ours = fid(ours_real.vectors, ours_generated.vectors)
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3, abs=1e-4)
    score = feature_statistics([generated[:13], generated[13:]], 20, features).score
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-5)


def test_grey_images_are_repeated_to_rgb(weights: Path) -> None:
    features = InceptionFeatures(weights, CPU)
    grey = pixels(2, channels=1)
    assert np.array_equal(features(grey).vectors, features(np.repeat(grey, 3, axis=3)).vectors)


def test_a_file_with_more_than_tensors_is_not_unpickled(tmp_path: Path) -> None:
    torch.save({"code": Path}, tmp_path / "code.pth")
    with pytest.raises(DataError, match="more than tensors"):
        InceptionFeatures(tmp_path / "code.pth", CPU)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth does not hold Inception's weights"):
        InceptionFeatures(tmp_path / "other.pth", CPU)


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


def test_the_default_path_is_that_of_torch_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/somewhere/torch")
    assert default_weights() == Path("/somewhere/torch/hub/checkpoints") / WEIGHTS_NAME


def test_weights_that_are_there_are_not_downloaded(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_NAME
    path.write_bytes(CONTENT)
    nowhere = "http://127.0.0.1:9/never"
    found = find_weights(download=True, default=path, url=nowhere, sha256_prefix=PREFIX)
    assert found == path


def test_weights_are_downloaded_once(tmp_path: Path, url: str) -> None:
    path = tmp_path / "hub" / "checkpoints" / WEIGHTS_NAME
    assert find_weights(download=True, default=path, url=url, sha256_prefix=PREFIX) == path
    assert path.read_bytes() == CONTENT
    (tmp_path / "served" / "w.pth").unlink()
    assert find_weights(download=True, default=path, url=url, sha256_prefix=PREFIX) == path


def test_a_download_of_something_else_leaves_no_file(tmp_path: Path, url: str) -> None:
    path = tmp_path / WEIGHTS_NAME
    with pytest.raises(DataError, match=r"cannot be downloaded.*invalid hash value"):
        find_weights(download=True, default=path, url=url, sha256_prefix="00000000")
    assert list(tmp_path.glob("*")) == [tmp_path / "served"]


def test_a_failed_download_says_what_to_download_and_where_to_put_it(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS_NAME
    with pytest.raises(DataError) as caught:
        find_weights(download=True, default=path, url="http://127.0.0.1:9/w.pth")
    assert f"put them at {path}" in str(caught.value)
    assert "http://127.0.0.1:9/w.pth" in str(caught.value)
    assert "--weights" in str(caught.value)


def test_missing_weights_are_reported_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_weights(default=tmp_path / WEIGHTS_NAME)
    for part in (str(tmp_path / WEIGHTS_NAME), "--download", "https://", "--weights", "--features"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match="there are no Inception weights"):
        find_weights(tmp_path / "mine.pth")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"truncated")
    with pytest.raises(DataError, match=r"its SHA-256 begins with \w{8}, not 6726825d"):
        find_weights(mine)
