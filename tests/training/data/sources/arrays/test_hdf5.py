import io
import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from wgan.errors import DataError
from wgan.training.data import Transform, load_images, open_source

h5py = pytest.importorskip("h5py")

IMAGES = np.random.RandomState(0).randint(0, 256, (6, 20, 24, 3)).astype(np.uint8)


@pytest.mark.parametrize("chunked", [True, False])
def test_images_and_labels_of_an_hdf5_file(tmp_path: Path, chunked: bool) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        packing = {"chunks": (1, 20, 24, 3), "compression": "gzip"} if chunked else {}
        file.create_dataset("images", data=IMAGES, **packing)
        file["labels"] = [2, 0, 2, 0, 2, 0]
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("0", "2"))
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0] * 3
    for index in range(6):
        assert np.array_equal(np.asarray(source.image(index, 32)), IMAGES[index])


@pytest.mark.parametrize(
    ("images", "labels", "shape"),
    [("train_set_x", "train_set_y", (6,)), ("x", "y", (6, 1, 1, 1)), ("images", "ans", (6,))],
)
def test_labels_of_well_known_sets_are_found(
    tmp_path: Path, images: str, labels: str, shape: tuple[int, ...]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file[images], file[labels] = IMAGES, np.reshape([2, 0] * 3, shape)
        file["test_set_x"] = IMAGES[:2]
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("0", "2"))


def test_the_training_group_is_used_and_the_others_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        for split in ("test", "train"):
            file[f"{split}/images"] = IMAGES[: 2 if split == "test" else 6]
            file[f"{split}/labels"] = np.arange(2 if split == "test" else 6) % 2
    source = open_source(tmp_path / "a.hdf5")
    assert len(source) == 6
    assert source.labels is not None
    assert source.unused == ("2 images of the array test/images, which is not train/images",)
    assert len(open_source(f"{tmp_path / 'a.hdf5'}:test/images")) == 2


def test_a_folder_with_one_hdf5_file_is_that_file(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["faces"] = IMAGES.transpose(0, 3, 1, 2)
    source = open_source(tmp_path)
    assert np.array_equal(np.asarray(source.image(5, 32)), IMAGES[5])


def test_the_data_sets_of_one_file_have_fingerprints_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "two.h5"
    with h5py.File(path, "w") as file:
        file["left"], file["right"] = IMAGES, 255 - IMAGES
    left, right = (open_source(f"{path}:{name}") for name in ("left", "right"))
    assert left.fingerprint() != right.fingerprint()
    assert left.fingerprint() == open_source(f"{path}:left").fingerprint()


def test_a_data_set_of_a_type_that_numpy_lacks_is_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = IMAGES
        space = h5py.h5s.create_simple((2,))
        h5py.h5d.create(file.id, b"when", h5py.h5t.UNIX_D32LE, space)
    assert len(open_source(tmp_path / "a.h5")) == 6


@pytest.mark.parametrize("bands", [(), (3,)])
def test_each_of_many_equal_data_sets_is_an_image(tmp_path: Path, bands: tuple[int, ...]) -> None:
    images = np.random.RandomState(0).randint(0, 256, (10, 20, 24, *bands)).astype(np.uint8)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k, image in enumerate(images):
            file[f"{'cat' if k < 5 else 'dog'}/img_{k:03}"] = image
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (10, ("cat", "dog"))
    assert np.array_equal(np.asarray(source.image(7, 32)), images[7])


@pytest.mark.parametrize("shape", [(20, 784), (9, 28, 28)])
def test_many_equal_arrays_of_several_images_are_not_an_image_each(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(8):
            file[f"class_{k}"] = np.zeros(shape, np.uint8)
    with pytest.raises(DataError, match="several arrays of images"):
        open_source(tmp_path / "a.h5")


def png(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


FILES = [png(image) for image in IMAGES]


@pytest.mark.parametrize("kind", ["lists", "signed lists", "opaque", "text"])
def test_image_files_in_a_data_set_are_decoded(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        if "lists" in kind:
            dtype = np.dtype(np.int8 if kind == "signed lists" else np.uint8)
            made = file.create_dataset("images", 6, dtype=h5py.vlen_dtype(dtype))
            for k, content in enumerate(FILES):
                made[k] = np.frombuffer(content, dtype)
        else:
            longest = max(map(len, FILES))
            file["images"] = np.array(FILES, f"{'S' if kind == 'text' else 'V'}{longest}")
        file["labels"] = [2, 0, 2, 0, 2, 0]
        file["mask"] = np.zeros((6, 20, 24), np.uint8)
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("0", "2"))
    assert source.unused == ("6 images of the array mask, which is not images",)
    for index in range(6):
        assert np.array_equal(np.asarray(source.image(index, 32)), IMAGES[index])
    assert source.encoded(3)[1] == "png"
    assert source.image_name(3).endswith("a.h5, image 3")
    masks = open_source(f"{tmp_path / 'a.h5'}:mask")
    assert np.asarray(masks.image(0, 32)).shape == (20, 24)
    assert masks.fingerprint() != source.fingerprint()


def test_image_files_that_end_in_zeros_are_whole(tmp_path: Path) -> None:
    image = IMAGES[0].copy()
    image[:2] = 0  # a BMP ends with its top rows
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "BMP")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = np.array([buffer.getvalue()] * 6, "S")
    assert np.array_equal(np.asarray(open_source(tmp_path / "a.h5").image(0, 32)), image)


@pytest.mark.parametrize("opaque", [True, False])
def test_each_data_set_may_be_an_image_file(tmp_path: Path, opaque: bool) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k, content in enumerate(FILES):
            name = f"{'cat' if k < 3 else 'dog'}/{k}.png"
            file[name] = np.void(content) if opaque else np.frombuffer(content, np.uint8)
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("cat", "dog"))
    assert np.array_equal(np.asarray(source.image(4, 32)), IMAGES[4])
    assert source.image_name(4).endswith("a.h5, dog/4.png")


def test_texts_that_begin_as_image_files_do_are_no_images(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["faces"] = IMAGES
        file["labels"] = np.array([b"BMW", b"Audi"] * 3)
        file["names"] = np.array([b"BM%d.png" % k for k in range(6)])
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("Audi", "BMW"))


def test_the_only_image_files_come_before_other_numbers(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("portraits", 6, dtype=h5py.vlen_dtype(np.uint8))
        for k, content in enumerate(FILES):
            made[k] = np.frombuffer(content, np.uint8)
        file["embeddings"] = np.zeros((6, 64), np.float32)
    source = open_source(tmp_path / "a.h5")
    assert np.array_equal(np.asarray(source.image(2, 32)), IMAGES[2])
    assert source.unused == ("6 images of the array embeddings, which is not portraits",)


def test_labels_of_any_length_leave_the_images_without_classes(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = IMAGES
        labels = file.create_dataset("labels", 6, dtype=h5py.vlen_dtype(np.int64))
        for k in range(6):
            labels[k] = [k, k]
    assert len(open_source(tmp_path / "a.h5")) == 6


def test_a_damaged_image_file_in_an_hdf5_file_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("images", 3, dtype=h5py.vlen_dtype(np.uint8))
        made[0], made[1] = np.frombuffer(FILES[0], np.uint8), np.zeros(50, np.uint8)
    data = load_images(
        open_source(tmp_path / "a.h5"), Transform(size=32, channels=3), allow_damaged=True
    )
    assert [skipped.name.rpartition(", ")[2] for skipped in data.skipped] == ["image 1", "image 2"]


def test_lists_that_are_no_image_files_are_refused_with_advice(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made = file.create_dataset("images", 6, dtype=h5py.vlen_dtype(np.uint8))
        made[0] = np.zeros(50, np.uint8)
    with pytest.raises(
        DataError, match=r"images holds lists of any length.*no image files that are known"
    ):
        open_source(tmp_path / "a.h5")


@pytest.mark.parametrize("shape", [(3, 20, 24), (20, 1024)])
def test_each_of_many_data_sets_is_an_image_with_its_bands_first_or_long(
    tmp_path: Path, shape: tuple[int, ...]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for k in range(8):
            file[f"sample_{k}"] = np.full(shape, k, np.uint8)
    source = open_source(tmp_path / "a.h5")
    assert len(source) == 8
    assert (np.asarray(source.image(7, 32)) == 7).all()


@pytest.mark.parametrize("content", [b"", b"no HDF5", b"\x89HDF\r\n\x1a\n and no more"])
def test_a_damaged_hdf5_file_is_an_error(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(DataError, match="damaged or no HDF5 file"):
        open_source(tmp_path / "a.h5")


def test_links_to_other_files_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = IMAGES
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["images"] = h5py.ExternalLink("b.h5", "/x")
    link = r"1 link to other files, which are not followed \(images to b.h5:/x\)"
    with pytest.raises(DataError, match=f"holds only {link}: give the file that has"):
        open_source(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "a") as file:
        file["train"] = IMAGES[:4]
    source = open_source(tmp_path / "a.h5")
    assert (len(source), len(source.unused)) == (4, 1)
    assert re.fullmatch(link, source.unused[0])


def test_each_image_can_lie_in_a_group_beside_its_label(tmp_path: Path) -> None:
    images = np.random.RandomState(0).randint(0, 256, (8, 20, 24, 3)).astype(np.uint8)
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for index, image in enumerate(images):
            file[f"{index:03}/image"] = image
            file[f"{index:03}/label"] = index % 3
    source = open_source(tmp_path / "groups.h5")
    assert np.array_equal(np.asarray(source.image(5, 32)), images[5])
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 1]


def test_groups_of_other_splits_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for index in range(8):
            for split in ("test", "train"):
                image = IMAGES[index % 6] if split == "train" else IMAGES[0] * 0
                file[f"{split}/{index:03}/image"] = image
                file[f"{split}/{index:03}/label"] = index % 3
                file[f"{split}/{index:03}/mask"] = IMAGES[0, :, :, 0]
    source = open_source(tmp_path / "groups.h5")
    assert np.array_equal(np.asarray(source.image(5, 32)), IMAGES[5])
    assert (len(source), source.class_names) == (8, ("0", "1", "2"))
    assert source.unused == (
        "8 images of the split test",
        "8 images of the arrays mask, which are not image",
    )


def test_arrays_of_single_images_of_other_splits_are_left_out(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index in range(6):
            file[f"train/{'cat' if index < 3 else 'dog'}/{index}"] = IMAGES[index]
            file[f"val/cat/{index}"] = IMAGES[index]
    source = open_source(tmp_path / "a.h5")
    assert (len(source), source.class_names) == (6, ("cat", "dog"))
    assert source.unused == ("6 images of the split val",)


def test_a_class_of_single_images_may_be_called_train(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for index in range(8):
            file[f"{'bus' if index < 4 else 'train'}/{index}"] = IMAGES[index % 6]
    assert open_source(tmp_path / "a.h5").class_names == ("bus", "train")


@pytest.mark.parametrize("labels", [8, 0])
def test_groups_of_an_image_without_a_label_are_no_classes(tmp_path: Path, labels: int) -> None:
    with h5py.File(tmp_path / "groups.h5", "w") as file:
        for index in range(9):
            file[f"{index}/image"] = IMAGES[index % 6]
            if index < labels:
                file[f"{index}/label"] = index % 2
    source = open_source(tmp_path / "groups.h5")
    assert (len(source), source.labels) == (9, None)
    reason = "1 of 9 images have no label beside them, as 8/image" if labels else ""
    assert source.why_no_classes == reason


def test_arrays_of_many_images_in_groups_are_not_one_image_each(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "people.h5", "w") as file:
        for index in range(8):
            file[f"{index}/images"] = np.zeros((20, 1024), np.uint8)
    assert len(open_source(tmp_path / "people.h5")) == 20


def test_the_fields_of_a_table_are_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["rows"] = np.zeros(8, [("face", "u1", (8, 8)), ("age", "i4")])
    with pytest.raises(DataError, match=r"save each of its fields \(face, age\)"):
        open_source(tmp_path / "a.h5")


def write_virtual(path: Path, name: str, file: str, images: NDArray[np.uint8] = IMAGES) -> None:
    """Add a virtual data set whose values are the data set `images` of another file."""
    layout = h5py.VirtualLayout(images.shape, images.dtype)
    layout[:] = h5py.VirtualSource(file, "images", shape=images.shape)
    with h5py.File(path, "a") as whole:
        whole.create_virtual_dataset(name, layout)


def test_a_virtual_data_set_without_its_file_is_refused(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["images"] = IMAGES
    write_virtual(tmp_path / "whole.h5", "images", "part.h5")
    source = open_source(tmp_path / "whole.h5")
    assert np.array_equal(np.asarray(source.image(1, 32)), IMAGES[1])
    moved = (tmp_path / "whole.h5").rename(tmp_path.parent / f"{tmp_path.name}.h5")
    with pytest.raises(DataError, match=r"in part\.h5, which is missing: put .* beside this one"):
        open_source(moved)


@pytest.mark.parametrize("place", ["beside", "prefix", "link"])
def test_a_virtual_data_set_has_its_file_where_hdf5_looks(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "parts").mkdir()
    (tmp_path / "links").mkdir()
    part = tmp_path / ("parts" if place == "prefix" else "") / "part.h5"
    with h5py.File(part, "w") as file:
        file["images"] = IMAGES
    write_virtual(tmp_path / "whole.h5", "images", "/removed/part.h5")
    monkeypatch.setenv("HDF5_VDS_PREFIX", f"/none:{tmp_path / 'parts'}")
    path = tmp_path / "whole.h5"
    if place == "link":
        path = tmp_path / "links" / "whole.h5"
        path.symlink_to(tmp_path / "whole.h5")
    source = open_source(path)
    assert np.array_equal(np.asarray(source.image(1, 32)), IMAGES[1])


def test_hdf5_reads_no_file_of_a_relative_folder_beside_a_virtual_data_set(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["images"] = IMAGES
    write_virtual(tmp_path / "whole.h5", "images", "parts/part.h5")
    with pytest.raises(DataError, match=r"in parts/part\.h5, which is missing"):
        open_source(tmp_path / "whole.h5")


@pytest.mark.parametrize("content", [None, "no HDF5"])
def test_a_virtual_data_set_without_its_source_in_the_file_is_refused(
    tmp_path: Path, content: str | None
) -> None:
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["other"] = IMAGES
    if content:
        (tmp_path / "part.h5").write_text(content)
    write_virtual(tmp_path / "whole.h5", "images", "part.h5")
    expected = "which cannot be read" if content else "which has no data set images"
    with pytest.raises(DataError, match=expected):
        open_source(tmp_path / "whole.h5")


@pytest.mark.parametrize("kind", ["labels", "single images", "image files"])
def test_each_virtual_data_set_that_is_read_is_checked(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "whole.h5"
    if kind == "labels":
        with h5py.File(path, "w") as file:
            file["images"] = IMAGES
        values = np.arange(6, dtype=np.uint8)
        write_virtual(path, "labels", "part.h5", values)
    else:
        values = IMAGES[0] if kind == "single images" else np.frombuffer(FILES[0], np.uint8)
        for index in range(9):
            write_virtual(path, f"a{index}", "part.h5", values)
    with pytest.raises(DataError, match=r"data set (labels|a0) .* part\.h5, which is missing"):
        open_source(path)
    with h5py.File(tmp_path / "part.h5", "w") as file:
        file["images"] = values
    assert len(open_source(path)) == (6 if kind == "labels" else 9)
