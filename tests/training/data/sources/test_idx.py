import gzip
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from tests.training.data.conftest import RealData
from wgan.errors import DataError
from wgan.training.data import Transform, load_images, open_source
from wgan.training.data.sources.idx import find_idx, is_idx, open_idx

PIXELS = np.random.RandomState(0).randint(0, 256, (5, 6, 7)).astype(np.uint8)


def idx_bytes(pixels: np.ndarray = PIXELS) -> bytes:
    return struct.pack(">4B3I", 0, 0, 8, 3, *pixels.shape) + pixels.tobytes()


@pytest.mark.parametrize("zipped", [False, True])
def test_an_idx_file_yields_its_images(tmp_path: Path, zipped: bool) -> None:
    path = tmp_path / "x"
    path.write_bytes(gzip.compress(idx_bytes()) if zipped else idx_bytes())
    assert is_idx(path)
    source = open_idx(path, "x")
    assert (len(source), source.channels) == (5, 1)
    assert np.array_equal(np.asarray(source.image(3, 32)), PIXELS[3])


@pytest.mark.parametrize("zipped", [False, True])
def test_labels_beside_the_images_are_read(tmp_path: Path, zipped: bool) -> None:
    labels = bytes([3, 1, 3, 1, 3])
    for name, content in (
        ("train-images-idx3-ubyte", idx_bytes()),
        ("train-labels-idx1-ubyte", struct.pack(">4BI", 0, 0, 8, 1, 5) + labels),
    ):
        if zipped:
            (tmp_path / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (tmp_path / name).write_bytes(content)
    source = open_source(tmp_path)
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("1", "3"), [1, 0, 1, 0, 1])


@pytest.mark.parametrize("folder", [".", "raw", "deep/er"])
def test_a_hidden_file_of_macos_is_no_idx_file(tmp_path: Path, folder: str) -> None:
    (tmp_path / folder).mkdir(parents=True, exist_ok=True)
    (tmp_path / folder / "train-images-idx3-ubyte").write_bytes(idx_bytes())
    (tmp_path / folder / "._train-images-idx3-ubyte").write_bytes(bytes(82))
    assert len(open_source(tmp_path)) == 5


def test_labels_may_be_integers_of_32_bits(tmp_path: Path) -> None:
    images = struct.pack(">4B3I", 0, 0, 8, 3, 4, 8, 8) + bytes(256)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(images)
    labels = struct.pack(">4B5I", 0, 0, 12, 1, 4, 300, 7, 300, 7)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    assert open_source(tmp_path).class_names == ("7", "300")


def test_labels_of_another_length_are_no_labels(tmp_path: Path) -> None:
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx_bytes())
    labels = struct.pack(">4BI", 0, 0, 8, 1, 4) + bytes([0, 1, 0, 1])
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(labels)
    assert open_source(tmp_path).labels is None


def test_fashion_mnist_files_yield_the_training_images(real_data: RealData) -> None:
    path = find_idx(real_data("fashion-mnist"))
    assert path is not None
    assert path.name == "train-images-idx3-ubyte.gz"
    source = open_idx(path, "fashion-mnist")
    with gzip.open(path) as file:
        last = np.frombuffer(file.read()[-784:], np.uint8).reshape(28, 28)
    assert len(source) == 60_000
    assert source.labels is not None
    assert np.bincount(source.labels).tolist() == [6000] * 10
    assert np.array_equal(np.asarray(source.image(59_999, 32)), last)


def test_test_images_are_used_if_there_are_no_training_images(tmp_path: Path) -> None:
    (tmp_path / "t10k-images.idx3-ubyte").write_bytes(idx_bytes())
    (tmp_path / "t10k-labels.idx1-ubyte").write_bytes(b"x")
    found = find_idx(tmp_path)
    assert found is not None
    assert found.name == "t10k-images.idx3-ubyte"


def test_the_raw_folder_of_torchvision_is_found(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "train-images-idx3-ubyte").write_bytes(idx_bytes())
    assert find_idx(tmp_path) == tmp_path / "raw" / "train-images-idx3-ubyte"


def write_mnist_of_kaggle(folder: Path) -> None:
    """Write each file into a folder of the same name."""
    labels = struct.pack(">4sI", bytes([0, 0, 8, 1]), len(PIXELS)) + bytes(
        k % 2 for k in range(len(PIXELS))
    )
    for name, data in [("images-idx3", idx_bytes()), ("labels-idx1", labels)]:
        for split in ("t10k", "train"):
            path = folder / f"{split}-{name}-ubyte" / f"{split}-{name}-ubyte"
            path.parent.mkdir(parents=True)
            path.write_bytes(data)


def test_idx_files_in_folders_of_their_names_are_found(tmp_path: Path) -> None:
    write_mnist_of_kaggle(tmp_path)
    source = open_source(tmp_path)
    assert (len(source), source.class_names) == (len(PIXELS), ("0", "1"))


def test_idx_files_beside_folders_of_their_names_are_found(tmp_path: Path) -> None:
    write_mnist_of_kaggle(tmp_path)
    path = tmp_path / "train-images.idx3-ubyte"
    path.write_bytes(idx_bytes())
    assert find_idx(tmp_path) == path


def test_mnist_is_found_from_the_folder_of_torchvision(tmp_path: Path) -> None:
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for name in ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte"):
        (raw / name).write_bytes(idx_bytes())
    assert len(open_source(tmp_path)) == len(PIXELS)
    other = tmp_path / "FashionMNIST" / "raw"
    other.mkdir(parents=True)
    (other / "train-images-idx3-ubyte").write_bytes(idx_bytes())
    with pytest.raises(DataError, match=r"FashionMNIST/raw/train.*MNIST/raw/train.*give one"):
        open_source(tmp_path)


def test_several_training_sets_in_a_folder_are_an_error_that_names_them(tmp_path: Path) -> None:
    for name in ("digits", "letters"):
        (tmp_path / f"emnist-{name}-train-images-idx3-ubyte").write_bytes(idx_bytes())
    with pytest.raises(DataError, match=r"digits.*letters"):
        find_idx(tmp_path)


def test_a_truncated_download_is_an_error(tmp_path: Path, real_data: RealData) -> None:
    path = real_data("odd-images") / "train-images-idx3-ubyte.truncated.gz"
    assert is_idx(path)
    with pytest.raises(DataError, match=r"truncated.*download it again"):
        open_idx(path, "x")
    shutil.copy(path, tmp_path / "train-images-idx3-ubyte.gz")
    assert find_idx(tmp_path) is not None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        idx_bytes()[:10],
        idx_bytes()[:-1],
        idx_bytes() + b"x",
        struct.pack(">4B3I", 0, 0, 8, 3, 2**31, 2**31, 2**31),
        struct.pack(">4B3I", 0, 0, 8, 3, 2**19, 128, 128),  # claims 8 GiB
        struct.pack(">4B3I", 0, 0, 8, 3, 0, 28, 28),
        struct.pack(">4B3I", 0, 0, 8, 1, 10, 0, 0),
        gzip.compress(idx_bytes())[:-9],
        b"\x1f\x8b" + bytes(30),
    ],
)
def test_a_damaged_idx_file_is_an_error_and_allocates_nothing(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(data)
    with pytest.raises(DataError, match="train-images"):
        open_idx(path, "x")


def test_an_idx_file_of_labels_is_not_recognised(real_data: RealData) -> None:
    assert not is_idx(real_data("mnist") / "train-labels-idx1-ubyte.gz")


@pytest.mark.parametrize(
    ("code", "kind", "shape"),
    [
        (8, ">u1", (4, 8, 9, 3)),
        (11, ">i2", (4, 8, 9)),
        (13, ">f4", (4, 8, 9)),
        (14, ">f8", (4, 3, 8, 9)),
    ],
)
def test_other_types_and_colours_are_read(
    tmp_path: Path, code: int, kind: str, shape: tuple[int, ...]
) -> None:
    values = np.random.RandomState(0).randint(0, 256, shape).astype(kind)
    header = bytes([0, 0, code, len(shape)]) + np.array(shape, ">u4").tobytes()
    (tmp_path / f"train-images-idx{len(shape)}-x").write_bytes(header + values.tobytes())
    source = open_source(tmp_path)
    expected = values.transpose(0, 2, 3, 1) if shape[1] == 3 else values
    assert len(source) == 4
    found = np.asarray(source.image(2, 8))
    assert np.array_equal(found.reshape(expected.shape[1:]), expected[2])


def test_a_type_without_a_standard_range_has_the_name_of_numpy(tmp_path: Path) -> None:
    header = bytes([0, 0, 11, 3]) + np.array((4, 8, 8), ">u4").tobytes()
    (tmp_path / "train-images-idx3-x").write_bytes(header + bytes(2 * 256))
    with pytest.raises(DataError, match="it has int16 values, which have no standard range"):
        load_images(open_source(tmp_path), Transform(size=8, channels=1))
