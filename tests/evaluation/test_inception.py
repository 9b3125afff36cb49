"""The standard features, with random weights in the real network: no network is reached."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch_fidelity import calculate_metrics
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from wgan.errors import DataError
from wgan.evaluation.feature_statistics import summarise
from wgan.evaluation.inception import InceptionFeatures
from wgan.evaluation.metrics import fid
from wgan.images import Pixels

CPU = torch.device("cpu")


class Unloaded(FeatureExtractorInceptionV3):  # type: ignore[misc]
    """The network with the random weights that it is born with."""

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
def test_fid_and_score_are_those_of_torch_fidelity_from_end_to_end(weights: Path) -> None:
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
    seen, real_seen = features(generated), features(real)
    assert seen.vectors.shape == (20, 2048)
    ours = fid(real_seen.vectors, seen.vectors)
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3, abs=1e-4)
    score = summarise([generated[:13], generated[13:]], 20, features).score
    assert score == pytest.approx(theirs["inception_score_mean"], rel=1e-5)


def test_grey_images_are_seen_as_coloured_ones_without_colour(weights: Path) -> None:
    features = InceptionFeatures(weights, CPU)
    grey = pixels(2, channels=1)
    assert np.array_equal(features(grey).vectors, features(np.repeat(grey, 3, axis=3)).vectors)


def test_a_file_that_holds_more_than_tensors_is_never_run(tmp_path: Path) -> None:
    torch.save({"code": Path}, tmp_path / "code.pth")
    with pytest.raises(DataError, match="more than tensors"):
        InceptionFeatures(tmp_path / "code.pth", CPU)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pth")
    with pytest.raises(DataError, match=r"other\.pth does not hold Inception's weights"):
        InceptionFeatures(tmp_path / "other.pth", CPU)
