import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.conftest import RealData
from wgan.errors import DataError
from wgan.training.data import open_source
from wgan.training.data.pixel_cache import CACHE_VARIABLE
from wgan.training.data.sources.idx import open_idx
from wgan.training.data.sources.torchvision import NAMES


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_data_set_is_an_error_with_its_folder_and_the_download_command(
    name: str, cache: Path
) -> None:
    with pytest.raises(DataError, match="--download") as caught:
        open_source(name)
    assert str(cache / "datasets") in str(caught.value)


@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST"), ("fashion-mnist", "FashionMNIST")]
)
def test_a_data_set_in_torchvisions_layout_is_read(
    name: str, folder: str, cache: Path, real_data: RealData
) -> None:
    raw = cache / "datasets" / folder / "raw"
    raw.mkdir(parents=True)
    for path in real_data(name).glob("*.gz"):
        (raw / path.stem).write_bytes(gzip.decompress(path.read_bytes()))
    source = open_source(name)
    assert (source.name, len(source), source.channels) == (name, 60_000, 1)
    straight = open_idx(real_data(name) / "train-images-idx3-ubyte.gz", name)
    for index in (0, 59_999):
        ours, theirs = (np.asarray(s.image(index, 32)) for s in (source, straight))
        assert np.array_equal(ours, theirs)
