import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from wgan.errors import DataError
from wgan.training.data import Transform, load_images, open_source
from wgan.training.data.classes import class_names
from wgan.training.data.pixel_cache import Cache
from wgan.training.data.sources.arrays.layout import ArrayLayout, find_layout

RANDOM = np.random.RandomState(0)


def noise(*shape: int, dtype: npt.DTypeLike = np.uint8) -> npt.NDArray[np.generic]:
    return RANDOM.randint(0, 256, shape).astype(dtype)


def smooth(n: int = 5, side: int = 32) -> npt.NDArray[np.uint8]:
    """Images `[n, side, side, 3]` whose neighbours are alike, and colours are not."""
    down, across = np.mgrid[:side, :side] / side
    image = np.stack([200 * down, 250 * across, 100 + 50 * down * across], axis=2)
    return np.stack([image + k for k in range(n)]).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((28, 30), (28, 30, 1)),
        ((28, 30, 3), (28, 30, 3)),
        ((3, 28, 30), (28, 30, 3)),
        ((5, 64, 64), (64, 64, 5)),
        ((64, 64, 16), (64, 64, 16)),
        ((784,), (28, 28, 1)),
        ((3072,), (32, 32, 3)),
    ],
)
def test_the_axes_of_an_image_are_resolve_layout(
    shape: tuple[int, ...], expected: tuple[int, int, int]
) -> None:
    layout = find_layout(shape)
    assert layout is not None
    assert tuple(layout[:3]) == expected
    assert layout.arrange(np.zeros(shape)).shape == expected


@pytest.mark.parametrize("shape", [(), (785,), (8, 8, 8), (28, 28, 28), (2, 40), (1, 2, 3, 4)])
def test_what_is_no_image_or_unclear_has_no_layout(shape: tuple[int, ...]) -> None:
    assert find_layout(shape) is None


@pytest.mark.parametrize("shape", [(6, 20, 24), (6, 20, 24, 1), (6, 1, 20, 24)])
def test_grey_arrays_of_every_layout_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    array = noise(*shape)
    np.save(tmp_path / "grey.npy", array)
    source = open_source(tmp_path / "grey.npy")
    assert (len(source), source.channels, source.name) == (6, 1, "grey")
    assert np.array_equal(np.asarray(source.image(4, 32)), array[4].reshape(20, 24))


def test_channels_may_be_first_or_last(tmp_path: Path) -> None:
    array = noise(6, 20, 24, 3)
    np.save(tmp_path / "last.npy", array)
    np.save(tmp_path / "first.npy", array.transpose(0, 3, 1, 2))
    for name in ("last", "first"):
        source = open_source(tmp_path / f"{name}.npy")
        assert source.channels == 3
        assert np.array_equal(np.asarray(source.image(2, 32)), array[2])


def test_flat_images_of_quick_draw_are_squares(tmp_path: Path) -> None:
    array = noise(7, 784)
    np.save(tmp_path / "cat.npy", array)
    source = open_source(tmp_path / "cat.npy")
    assert np.array_equal(np.asarray(source.image(6, 32)), array[6].reshape(28, 28))


@pytest.mark.parametrize("by_band", [True, False])
def test_flat_colours_are_resolve_layout_by_their_smoothness(tmp_path: Path, by_band: bool) -> None:
    images = smooth()
    flat = images.transpose(0, 3, 1, 2) if by_band else images
    np.save(tmp_path / "flat.npy", flat.reshape(5, -1))
    assert np.array_equal(np.asarray(open_source(tmp_path / "flat.npy").image(3, 32)), images[3])


def test_five_bands_of_16_bits_are_kept(tmp_path: Path) -> None:
    array = RANDOM.randint(300, 4000, (6, 5, 32, 32)).astype(np.uint16)
    np.save(tmp_path / "bands.npy", array)
    source = open_source(tmp_path / "bands.npy")
    assert source.channels == 5
    transform = Transform(size=32, channels=5, data_range=(300, 4000))
    pixels = load_images(source, transform).pixels
    expected = (array.transpose(0, 2, 3, 1) - 300) / 3700 * 255
    assert np.abs(pixels - expected).max() <= 0.5


def test_medmnist_has_training_images_labels_and_others_that_are_named(tmp_path: Path) -> None:
    images, labels = noise(12, 28, 28), np.arange(12)[:, None] % 3
    path = tmp_path / "pathmnist.npz"
    np.savez_compressed(
        path,
        train_images=images, train_labels=labels,
        val_images=noise(4, 28, 28), val_labels=labels[:4], test_images=images[:5],
    )  # fmt: skip
    source = open_source(path)
    assert source.labels is not None
    assert source.labels.tolist() == labels[:, 0].tolist()
    assert source.class_names == ("0", "1", "2")
    assert np.array_equal(np.asarray(source.image(11, 28)), images[11])
    assert [phrase.split()[0] for phrase in source.unused] == ["4", "5"]


def test_labels_of_an_equally_long_split_are_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(
        path,
        x_test=noise(8, 28, 28), y_test=np.zeros(8, int),
        x_train=noise(8, 28, 28), y_train=np.arange(8) % 2,
    )  # fmt: skip
    source = open_source(path)
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1] * 4
    assert source.unused == ("8 images of the array x_test, which is not x_train",)


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("x_test", "y_test"),
        ("test_images", "test_labels"),
        ("val/x", "val/y"),
        ("Xval", "yval"),
        ("x_dev", None),
    ],
)
def test_a_named_split_has_its_own_labels(tmp_path: Path, images: str, labels: str | None) -> None:
    arrays = {"x_train": noise(8, 28, 28), "y_train": np.arange(8) % 2, images: noise(8, 28, 28)}
    if labels:
        arrays[labels] = np.arange(8) % 3
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    source = open_source(f"{tmp_path / 'a.npz'}:{images}")
    assert source.class_names == (("0", "1", "2") if labels else ())


def test_images_of_no_split_have_no_labels_of_the_test_split(tmp_path: Path) -> None:
    arrays = {"images": noise(8, 28, 28), "test_labels": np.arange(8) % 3}
    np.savez(tmp_path / "a.npz", **arrays)  # type: ignore[arg-type]
    assert open_source(tmp_path / "a.npz").class_names == ()
    np.savez(tmp_path / "b.npz", **arrays, train_labels=np.arange(8) % 2)  # type: ignore[arg-type]
    assert open_source(tmp_path / "b.npz").class_names == ("0", "1")


def test_names_of_as_many_classes_as_columns_are_no_labels(tmp_path: Path) -> None:
    names = np.array([f"class {k}" for k in range(64)])
    np.savez(tmp_path / "a.npz", images=noise(80, 64, 64), classes=names)
    assert len(open_source(tmp_path / "a.npz")) == 80


def test_images_along_the_last_axis_are_refused_by_their_labels(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", images=noise(28, 28, 60), labels=np.arange(60) % 10)
    with pytest.raises(DataError, match=r"60 images along the last axis.*transpose\(2, 0, 1\)"):
        open_source(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", X=noise(32, 32, 3, 60), y=np.arange(60) % 10)
    with pytest.raises(DataError, match=r"the first axis of X must be that of the images"):
        open_source(tmp_path / "b.npz")


@pytest.mark.parametrize("shape", [(500, 16, 16), (500, 12, 12), (200, 3072)])
def test_a_folder_of_stacks_holds_all_their_images(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for name in ("cat", "dog"):
        np.save(tmp_path / f"{name}.npy", noise(*shape))
    source = open_source(tmp_path)
    assert (len(source), source.class_names) == (2 * shape[0], ("cat", "dog"))


@pytest.mark.parametrize("shape", [(64, 48, 12), (5, 64, 64), (64, 64, 3), (100, 120), (128, 1024)])
def test_a_folder_of_single_images_of_many_shapes(tmp_path: Path, shape: tuple[int, ...]) -> None:
    for name in ("cat", "dog"):
        np.save(tmp_path / f"{name}.npy", noise(*shape))
    assert len(open_source(tmp_path)) == 2


def test_of_unknown_arrays_the_user_names_one(tmp_path: Path) -> None:
    path = tmp_path / "two.npz"
    np.savez(path, left=noise(3, 20, 20), right=noise(4, 20, 20))
    with pytest.raises(DataError, match=r"several arrays .*left \[3, 20, 20\].*two\.npz:left"):
        open_source(path)
    assert len(open_source(f"{path}:right")) == 4
    with pytest.raises(DataError, match="no array 'middle'"):
        open_source(f"{path}:middle")


def test_the_cache_keeps_the_arrays_of_one_file_apart(tmp_path: Path) -> None:
    left = noise(6, 20, 20)
    path = tmp_path / "two.npz"
    np.savez(path, left=left, right=255 - left)
    cache = Cache(folder=tmp_path / "cache")
    for name, expected in (("left", left), ("right", 255 - left)):
        source = open_source(f"{path}:{name}")
        for _ in range(2):  # decoded, then from the cache
            data = load_images(source, Transform(size=20, channels=1), cache=cache)
            assert np.array_equal(data.pixels[..., 0], expected)


def test_class_names_may_be_texts(tmp_path: Path) -> None:
    path = tmp_path / "named.npz"
    np.savez(path, images=noise(4, 20, 20), labels=np.array(["dog", "cat", "dog", "cat"]))
    source = open_source(path)
    assert source.class_names == ("cat", "dog")
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 0]


@pytest.mark.parametrize("is_folder", [True, False])
def test_labels_of_python_objects_are_left_out(tmp_path: Path, is_folder: bool) -> None:
    arrays = {"images": noise(4, 20, 20), "labels": np.array(["a", "b"] * 2, object)}
    path = tmp_path if is_folder else tmp_path / "a.npz"
    if is_folder:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
    else:
        np.savez(path, images=arrays["images"], labels=arrays["labels"])
    source = open_source(path)
    assert (len(source), source.labels) == (4, None)
    assert "labels in the array labels are Python objects" in source.unused[0]
    with pytest.raises(DataError, match=r"no classes: .*Python objects.*astype"):
        class_names(source)


def test_a_folder_of_arrays_with_an_image_in_each(tmp_path: Path) -> None:
    arrays = {f"{kind}/{k}": noise(3, 20, 24) for kind in "ab" for k in range(3)}
    for name, array in arrays.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / f"{name}.npy", array)
    source = open_source(tmp_path)
    assert (len(source), source.class_names) == (6, ("a", "b"))
    assert np.array_equal(np.asarray(source.image(1, 32)), arrays["a/1"].transpose(1, 2, 0))


def test_a_folder_of_categories_has_a_class_for_each_file(tmp_path: Path) -> None:
    for name, count in (("cat", 3), ("cow", 4)):
        np.save(tmp_path / f"full_numpy_bitmap_{name}.npy", noise(count, 784))
    source = open_source(tmp_path)
    assert source.class_names == ("cat", "cow")
    assert source.labels is not None
    assert source.labels.tolist() == [0] * 3 + [1] * 4
    assert source.image_name(4).endswith("cow.npy, image 1")


@pytest.mark.parametrize("shape", [(20, 24, 24), (24, 24)])
def test_extensions_in_upper_case_are_read(tmp_path: Path, shape: tuple[int, ...]) -> None:
    arrays = [noise(*shape) for _ in range(3)]
    for name, array in zip(("a.npy", "b.NPY", "c.Npy"), arrays, strict=True):
        with (tmp_path / name).open("wb") as file:
            np.save(file, array)
    source = open_source(tmp_path)
    images = {np.asarray(source.image(k, 24)).tobytes() for k in range(len(source))}
    expected = np.concatenate([array.reshape(-1, 24, 24) for array in arrays])
    assert images == {image.tobytes() for image in expected}


def test_images_and_labels_in_upper_case_are_read(tmp_path: Path) -> None:
    for name, array in (("images.NPY", noise(4, 20, 20)), ("labels.NPY", np.array([1, 0, 1, 0]))):
        with (tmp_path / name).open("wb") as file:
            np.save(file, array)
    source = open_source(tmp_path)
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 0]


def test_of_files_of_splits_that_of_the_training_is_used(tmp_path: Path) -> None:
    for name, count in (("test", 3), ("train", 4), ("val", 5)):
        np.save(tmp_path / f"{name}.npy", noise(count, 20, 20))
    source = open_source(tmp_path)
    assert (len(source), source.labels) == (4, None)
    assert source.unused == ("1 .npy files of the split test", "1 .npy files of the split val")
    (tmp_path / "train.npy").unlink()
    assert (len(open_source(tmp_path)), open_source(tmp_path).class_names) == (8, ())


def test_a_category_may_be_called_train(tmp_path: Path) -> None:
    for name in ("bus", "train"):
        np.save(tmp_path / f"full_numpy_bitmap_{name}.npy", noise(3, 784))
    assert open_source(tmp_path).class_names == ("bus", "train")


def test_a_folder_of_numbered_parts_has_no_classes(tmp_path: Path) -> None:
    for part in range(3):
        np.save(tmp_path / f"part-{part}.npy", noise(4, 20, 20, 3))
    source = open_source(tmp_path)
    assert (len(source), source.labels) == (12, None)


def test_images_and_labels_in_files_beside_each_other(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", noise(4, 20, 20))
    np.save(tmp_path / "labels.npy", [1, 0, 1, 1])
    source = open_source(tmp_path)
    assert len(source) == 4
    assert source.labels is not None
    assert source.labels.tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.zeros((512, 512, 3), np.uint8), "single one"),
        (np.zeros((64, 64, 4), np.uint8), "single one"),
        (np.zeros((9, 28, 28, 28), np.uint8), r"must be \[n, height, width\]"),
        (np.zeros((9, 28, 28), np.complex64), "complex64.*np.abs"),
        (np.zeros((0, 28, 28), np.uint8), "it is empty"),
        (np.array([{"a": 1}], dtype=object), "Python objects"),
    ],
)
def test_other_arrays_are_refused_with_what_is_allowed(
    tmp_path: Path, array: npt.NDArray[np.generic], reason: str
) -> None:
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    with pytest.raises(DataError, match=reason):
        open_source(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([b"a", [1]] * 3, dtype=object), r"images \[6\].*Python objects.*np\.stack"),
        (np.zeros((0, 28, 28), np.uint8), "images is empty"),
    ],
)
def test_an_npz_without_images_is_refused_with_the_reason(
    tmp_path: Path, array: npt.NDArray[np.generic], reason: str
) -> None:
    np.savez(tmp_path / "a.npz", images=array)
    with pytest.raises(DataError, match=reason):
        open_source(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["a.npy", "a.npz"])
@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\x01\x00", b"PK\x03\x04 and no more"])
def test_a_damaged_file_is_an_error(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        open_source(tmp_path / name)


def test_values_without_a_range_are_asked_for(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", RANDOM.random_sample((4, 20, 20)))
    source = open_source(tmp_path / "a.npy")
    with pytest.raises(DataError, match="--range LOW,HIGH"):
        load_images(source, Transform(size=32, channels=1))


def test_the_layout_is_compared_by_the_smoothness_only_where_it_is_unclear() -> None:
    assert ArrayLayout(28, 28) == find_layout((784,))


def test_files_of_every_split_are_told_apart(tmp_path: Path) -> None:
    for name in ("train", "test", "unlabeled"):
        np.save(tmp_path / f"{name}.npy", noise(30, 16, 16))
    source = open_source(tmp_path)
    assert (len(source), len(source.unused)) == (30, 2)


@pytest.mark.parametrize("shape", [(32, 32, 3), (64, 64), (48, 64)])
def test_an_npz_can_have_an_array_for_each_image(tmp_path: Path, shape: tuple[int, ...]) -> None:
    images = noise(10, *shape)
    np.savez(tmp_path / "unnamed.npz", *images)
    np.savez(tmp_path / "named.npz", **{f"face{k}": image for k, image in enumerate(images)})
    for name in ("unnamed", "named"):
        source = open_source(tmp_path / f"{name}.npz")
        assert len(source) == 10
        assert np.array_equal(np.asarray(source.image(9, 64)).reshape(shape), images[9])


@pytest.mark.parametrize(("shape", "count"), [((20, 1024), 20), ((4, 32, 32), 4)])
def test_arrays_that_may_be_several_images_are_not_one_each(
    tmp_path: Path, shape: tuple[int, ...], count: int
) -> None:
    arrays = noise(10, *shape)
    np.savez(tmp_path / "unnamed.npz", *arrays)
    source = open_source(tmp_path / "unnamed.npz")
    assert (len(source), source.channels, len(source.unused)) == (count, 1, 9)
    assert np.array_equal(np.asarray(source.image(1, 32)), arrays[0, 1].reshape(32, 32))
    np.savez(tmp_path / "named.npz", **{f"person{k}": array for k, array in enumerate(arrays)})
    with pytest.raises(DataError, match=r"several arrays .*name one, as in .*named\.npz:person0"):
        open_source(tmp_path / "named.npz")


def test_single_images_in_folders_of_an_npz_have_their_classes(tmp_path: Path) -> None:
    images = noise(10, 32, 32, 3)
    named = {f"{'ab'[k // 5]}/{k % 5}": image for k, image in enumerate(images)}
    np.savez(tmp_path / "a.npz", **named)
    source = open_source(tmp_path / "a.npz")
    assert source.labels is not None
    assert (source.class_names, source.labels.tolist()) == (("a", "b"), [0] * 5 + [1] * 5)


def test_each_image_of_an_npz_can_lie_beside_its_label(tmp_path: Path) -> None:
    images = noise(9, 32, 32, 3)
    arrays = {f"{k}/image": image for k, image in enumerate(images)}
    labels = {f"{k}/label": np.array(k % 2) for k in range(9)}
    np.savez(tmp_path / "a.npz", **arrays, **labels)  # type: ignore[arg-type]
    source = open_source(tmp_path / "a.npz")
    assert (len(source), source.class_names) == (9, ("0", "1"))


def test_files_beside_the_arrays_of_an_npz_are_not_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "images.npz", images=smooth())
    with zipfile.ZipFile(tmp_path / "images.npz", "a") as archive:
        archive.writestr("licence.txt", "text")
        archive.writestr("__MACOSX/._images.npy", "Finder")
    assert len(open_source(tmp_path / "images.npz")) == 5


def test_the_fields_of_a_structured_array_are_named(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros(8, [("face", "u1", (8, 8)), ("age", "i4")]))
    with pytest.raises(DataError, match=r"save each of its fields \(face, age\)"):
        open_source(tmp_path / "a.npy")


def test_an_array_of_texts_is_an_error_without_advice_about_axes(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array(["a", "b"]))
    with pytest.raises(DataError, match=r"must be numbers, the pixels of images$"):
        open_source(tmp_path / "a.npy")
