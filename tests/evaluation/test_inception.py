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
from wgan.evaluation import inception
from wgan.evaluation.feature_metrics import fid
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
    real, generated = pixels(8), (pixels(20, seed=1) // 2)

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
    ours = feature_statistics([generated[:13], generated[13:]], 20, features)
    assert ours.vectors.shape == (20, 2048)
    distance = fid(features(real).vectors, ours.vectors)
    assert distance == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3, abs=1e-4)
    assert ours.score == pytest.approx(theirs["inception_score_mean"], rel=1e-5)


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
def default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default path of weights that are `CONTENT`; no server has them."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(inception, "WEIGHTS_URL", "http://127.0.0.1:9/w.pth")
    monkeypatch.setattr(inception, "SHA256_PREFIX", PREFIX)
    return tmp_path / "hub" / "checkpoints" / WEIGHTS_NAME


@pytest.fixture
def served(tmp_path: Path, default: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The weights on a server on this machine."""
    (tmp_path / "served").mkdir()
    path = tmp_path / "served" / "w.pth"
    path.write_bytes(CONTENT)
    handler = partial(Silent, directory=str(path.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/w.pth"
        monkeypatch.setattr(inception, "WEIGHTS_URL", url)
        yield path
        server.shutdown()
        thread.join()


def test_the_default_path_is_that_of_torch_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", "/somewhere/torch")
    assert default_weights() == Path("/somewhere/torch/hub/checkpoints") / WEIGHTS_NAME


def test_weights_that_are_there_are_not_downloaded(default: Path) -> None:
    default.parent.mkdir(parents=True)
    default.write_bytes(CONTENT)
    assert find_weights(download=True) == default


def test_weights_are_downloaded_once(default: Path, served: Path) -> None:
    assert find_weights(download=True) == default
    assert default.read_bytes() == CONTENT
    served.unlink()
    assert find_weights(download=True) == default


@pytest.mark.usefixtures("served")
def test_a_download_of_something_else_leaves_no_file(
    default: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inception, "SHA256_PREFIX", "00000000")
    with pytest.raises(DataError, match=r"cannot be downloaded.*invalid hash value"):
        find_weights(download=True)
    assert list(default.parent.glob("*")) == []


def test_a_failed_download_says_what_to_download_and_where_to_put_it(default: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_weights(download=True)
    for part in (f"put them at {default}", "http://127.0.0.1:9/w.pth", "--weights"):
        assert part in str(caught.value)


def test_missing_weights_are_reported_with_what_to_do(default: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        find_weights()
    for part in (str(default), "--download", "http://", "--weights", "--features"):
        assert part in str(caught.value)
    with pytest.raises(DataError, match=r"the Inception weights are not at .*mine\.pth"):
        find_weights(tmp_path / "mine.pth")


def test_other_weights_are_refused(tmp_path: Path) -> None:
    mine = tmp_path / "mine.pth"
    mine.write_bytes(b"truncated")
    with pytest.raises(DataError, match=r"its SHA-256 begins with \w{8}, not 6726825d"):
        find_weights(mine)
