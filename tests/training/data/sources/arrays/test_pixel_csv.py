import gzip
from pathlib import Path

import numpy as np
import pytest

from wgan.errors import DataError
from wgan.training.data import open_source

PIXELS = np.random.RandomState(0).randint(0, 256, (6, 28, 28)).astype(np.uint8)
ROWS = [",".join(map(str, image.reshape(-1))) for image in PIXELS]
HEADER = ",".join(f"pixel{k}" for k in range(784))


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8-sig")
    return path


@pytest.mark.parametrize("first", [True, False])
def test_a_column_of_labels_may_be_first_or_last(tmp_path: Path, first: bool) -> None:
    rows = [f"{k % 3},{row}" if first else f"{row},{k % 3}" for k, row in enumerate(ROWS)]
    header = f"label,{HEADER}" if first else f"{HEADER},label"
    source = open_source(write(tmp_path / "train.csv", header, *rows))
    assert (len(source), source.channels, source.class_names) == (6, 1, ("0", "1", "2"))
    assert source.labels is not None
    assert source.labels.tolist() == [0, 1, 2] * 2
    assert np.array_equal(np.asarray(source.image(5, 32)), PIXELS[5])


def test_a_file_without_a_header_or_labels_is_read(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "a.csv", *ROWS))
    assert (len(source), source.labels) == (6, None)
    labelled = open_source(write(tmp_path / "b.csv", *(f"7,{row}" for row in ROWS)))
    assert np.array_equal(np.asarray(labelled.image(0, 32)), PIXELS[0])


@pytest.mark.parametrize("labels", [["0", "1"], []])
def test_commas_at_the_ends_of_rows_are_no_column(tmp_path: Path, labels: list[str]) -> None:
    rows = [f"{labels[k % 2]},{row}," if labels else f"{row}," for k, row in enumerate(ROWS)]
    source = open_source(write(tmp_path / "a.csv", *rows))
    assert source.class_names == tuple(labels)
    assert np.array_equal(np.asarray(source.image(5, 28)), PIXELS[5])


def test_a_value_after_rows_that_end_in_a_comma_is_an_error(tmp_path: Path) -> None:
    rows = [",".join(map(str, row)) for row in gradients(1002)]
    with pytest.raises(DataError, match=r"row 1002 .*last column has '7', and is empty before"):
        open_source(write(tmp_path / "a.csv", *(f"{row}," for row in rows[:-1]), f"{rows[-1]},7"))


@pytest.mark.parametrize("last", [True, False])
def test_labels_may_be_texts_without_a_header(tmp_path: Path, last: bool) -> None:
    rows = [
        f"{row},{'ab'[k % 2]}" if last else f"{'ab'[k % 2]},{row}" for k, row in enumerate(ROWS)
    ]
    source = open_source(write(tmp_path / "a.csv", *rows))
    assert (len(source), source.class_names) == (6, ("a", "b"))
    assert np.array_equal(np.asarray(source.image(0, 28)), PIXELS[0])


@pytest.mark.parametrize("labels", [["0", "1"], ["cat", "dog"], []])
def test_a_first_image_that_pandas_took_for_names_is_an_image(
    tmp_path: Path, labels: list[str]
) -> None:
    images = PIXELS // 16 * 16  # so that values occur often
    rows = [list(map(str, image.reshape(-1))) for image in images]
    if labels:
        rows = [[labels[k % 2], *row] for k, row in enumerate(rows)]
    seen: list[str] = []
    for value in rows[0]:
        count = sum(name.partition(".")[0] == value for name in seen)
        seen.append(f"{value}.{count}" if count else value)
    lines = [",".join(row) for row in rows[1:]]
    source = open_source(write(tmp_path / "a.csv", ",".join(seen), *lines))
    assert (len(source), source.class_names) == (6, tuple(labels))
    for k in (0, 5):
        assert np.array_equal(np.asarray(source.image(k, 32)), images[k])


def test_labels_may_be_texts_and_the_file_gzipped(tmp_path: Path) -> None:
    lines = [f"{'cat' if k % 2 else 'dog'},{row}" for k, row in enumerate(ROWS)]
    with gzip.open(tmp_path / "a.csv.gz", "wt") as file:
        file.write("\n".join([f"class,{HEADER}", *lines]))
    source = open_source(tmp_path / "a.csv.gz")
    assert source.class_names == ("cat", "dog")


def test_labels_as_numpy_writes_numbers_are_whole_numbers(tmp_path: Path) -> None:
    labels = [0, 10, -1, np.nan, 0, 10]
    np.savetxt(
        tmp_path / "a.csv",
        np.column_stack([labels, PIXELS.reshape(6, -1)]),
        delimiter=",",
        header=f"label,{HEADER}",
        comments="",
    )
    source = open_source(tmp_path / "a.csv")
    assert source.labels is not None
    names = [source.class_names[k] if k >= 0 else None for k in source.labels]
    assert names == ["0", "10", "-1", None, "0", "10"]
    assert np.array_equal(np.asarray(source.image(5, 28)), PIXELS[5])


@pytest.mark.parametrize("labels", [["01", "02"], ["1.5", "2"], ["nan", "bob"]])
def test_other_labels_keep_their_text(tmp_path: Path, labels: list[str]) -> None:
    rows = [f"{labels[k % 2]},{row}" for k, row in enumerate(ROWS)]
    source = open_source(write(tmp_path / "a.csv", f"label,{HEADER}", *rows))
    assert source.class_names == tuple(sorted(labels))


def test_pixels_may_be_one_column_with_spaces(tmp_path: Path) -> None:
    rows = [f"{k % 2},{row.replace(',', ' ')},Training" for k, row in enumerate(ROWS)]
    source = open_source(write(tmp_path / "fer2013.csv", "emotion,pixels,Usage", *rows))
    assert source.class_names == ("0", "1")
    assert np.array_equal(np.asarray(source.image(3, 32)), PIXELS[3])


def gradients(count: int) -> list[list[int]]:
    """Rows of smooth images of 8x8, whose values are 0 to 16 as in UCI's optdigits."""
    down, across = np.mgrid[:8, :8]
    images = [(down + across * (k % 2)) % 17 for k in range(count)]
    return [image.reshape(-1).tolist() for image in images]


@pytest.mark.parametrize("last", [True, False])
def test_without_a_header_the_values_tell_the_column_of_labels(tmp_path: Path, last: bool) -> None:
    images = gradients(40)
    rows = [[*row, k % 10] if last else [k % 10, *row] for k, row in enumerate(images)]
    source = open_source(write(tmp_path / "a.csv", *(",".join(map(str, row)) for row in rows)))
    assert len(source.class_names) == 10
    assert np.array_equal(np.asarray(source.image(7, 8)).reshape(-1), images[7])
    assert source.unused == (f"the {'last' if last else 'first'} column, taken for the labels",)


def test_labels_that_could_be_either_column_are_asked_for(tmp_path: Path) -> None:
    noise = np.random.RandomState(0).randint(0, 2, (40, 65))
    with pytest.raises(DataError, match=r"first or the last column.*header"):
        open_source(write(tmp_path / "a.csv", *(",".join(map(str, row)) for row in noise)))


@pytest.mark.parametrize("names", [HEADER, ",".join(map(str, range(784)))])
@pytest.mark.parametrize("last", [True, False])
def test_the_column_beside_numbered_pixels_has_the_labels(
    tmp_path: Path, names: str, last: bool
) -> None:
    rows = [f"{row},{k % 2}" if last else f"{k % 2},{row}" for k, row in enumerate(ROWS)]
    header = f"{names},digit" if last else f"digit,{names}"
    source = open_source(write(tmp_path / "a.csv", header, *rows))
    assert (len(source), source.class_names) == (6, ("0", "1"))
    assert np.array_equal(np.asarray(source.image(5, 28)), PIXELS[5])


@pytest.mark.parametrize(
    ("header", "label"), [("Usage,{},pixels", "emotion"), ("id,{},pixels", "label")]
)
def test_splits_and_numbers_of_images_are_no_labels(
    tmp_path: Path, header: str, label: str
) -> None:
    rows = [
        f"{'PublicTest' if k < 3 else 'Training'},{k % 2},{row.replace(',', ' ')}"
        for k, row in enumerate(ROWS)
    ]
    source = open_source(write(tmp_path / "a.csv", header.format(label), *rows))
    assert source.class_names == ("0", "1")
    assert np.array_equal(np.asarray(source.image(3, 28)), PIXELS[3])


def test_of_several_columns_that_could_be_labels_none_is_taken(tmp_path: Path) -> None:
    rows = [f"{k % 3},{k % 2},{row.replace(',', ' ')}" for k, row in enumerate(ROWS)]
    source = open_source(write(tmp_path / "a.csv", "age,gender,pixels", *rows))
    assert source.labels is None
    assert "age, gender (call one label" in source.unused[0]


@pytest.mark.parametrize("separator", [";", "\t", ",\t", ", "])
def test_other_separators_are_read(tmp_path: Path, separator: str) -> None:
    rows = [row.replace(",", separator) for row in ROWS]
    assert len(open_source(write(tmp_path / "a.csv", *rows))) == 6


@pytest.mark.parametrize("quote", ['"', ""])
@pytest.mark.parametrize("has_header", [True, False])
def test_commas_beside_semicolons_are_decimal(tmp_path: Path, quote: str, has_header: bool) -> None:
    values = PIXELS.reshape(6, -1) / 255
    rows = [[quote + f"{value:.6f}".replace(".", ",") + quote for value in row] for row in values]
    header = [HEADER.replace(",", ";")] if has_header else []
    source = open_source(write(tmp_path / "a.csv", *header, *(";".join(row) for row in rows)))
    assert len(source) == 6
    for k in (0, 5):
        difference = np.asarray(source.image(k, 28)).reshape(-1) - values[k]
        assert np.abs(difference).max() < 1e-6


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        (["a,b", "1,2"], "has 2 columns.*784"),
        ([HEADER], "no rows"),
        ([HEADER, ROWS[0], ROWS[1][:-40]], "row 2 of"),
        ([HEADER, ROWS[0].replace(",", ",x", 1)], "row 1 of"),
        ([""], "columns"),
    ],
)
def test_other_tables_are_refused(tmp_path: Path, lines: list[str], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(write(tmp_path / "a.csv", *lines))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", ["pixel{0}", "{1}x{2}"])
def test_columns_that_were_sorted_as_texts_are_pixels_by_their_numbers(
    tmp_path: Path, form: str, labelled: bool
) -> None:
    names = [form.format(k, k // 16 + 1, k % 16 + 1) for k in range(256)]
    order = sorted(range(256), key=names.__getitem__)
    pixels = np.random.RandomState(0).randint(0, 256, (9, 16, 16))
    rows = [[*(["0"] if labelled else []), *map(str, image.reshape(-1)[order])] for image in pixels]
    header = [*(["label"] if labelled else []), *(names[k] for k in order)]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in [header, *rows]))
    source = open_source(tmp_path / "a.csv")
    assert np.array_equal(np.asarray(source.image(8, 16)), pixels[8])


def test_columns_in_another_order_keep_it(tmp_path: Path) -> None:
    names = [f"{x}x{y}" for y in range(1, 17) for x in range(1, 17)]  # x before y, row by row
    pixels = np.random.RandomState(0).randint(0, 256, (9, 16, 16))
    rows = [names, *(map(str, image.reshape(-1)) for image in pixels)]
    (tmp_path / "a.csv").write_text("\n".join(",".join(row) for row in rows))
    assert np.array_equal(np.asarray(open_source(tmp_path / "a.csv").image(8, 16)), pixels[8])


VALUES = np.random.RandomState(1).randint(0, 256, (6, 64)).astype(np.uint8)


def check_pixels(path: Path) -> None:
    source = open_source(path)
    found = [np.asarray(source.image(k, 8)).reshape(-1) for k in range(len(source))]
    assert np.array_equal(found, VALUES)


def test_spaces_part_the_columns_that_numpy_writes(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.csv", VALUES)
    check_pixels(tmp_path / "a.csv")
    np.savetxt(tmp_path / "aligned.csv", VALUES, fmt="%5d")
    check_pixels(tmp_path / "aligned.csv")


def test_a_tsv_is_read(tmp_path: Path) -> None:
    np.savetxt(tmp_path / "a.tsv", VALUES, fmt="%d", delimiter="\t")
    check_pixels(tmp_path / "a.tsv")


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", ["pixel{}", "8x8_{}"])
def test_numbered_columns_in_any_order_are_sorted(
    tmp_path: Path, form: str, labelled: bool
) -> None:
    order = np.random.RandomState(0).permutation(64)
    names = [*(["label"] if labelled else []), *(form.format(k) for k in order)]
    values = np.column_stack([np.arange(6) % 2, VALUES[:, order]])[:, 0 if labelled else 1 :]
    np.savetxt(tmp_path / "a.csv", values, "%d", ",", header=",".join(names), comments="")
    check_pixels(tmp_path / "a.csv")


def test_all_pixels_can_be_a_list_as_python_writes_it(tmp_path: Path) -> None:
    lines = [f'{k},"{row.tolist()}"' for k, row in enumerate(VALUES)]
    (tmp_path / "a.csv").write_text("\n".join(["label,pixels", *lines]))
    check_pixels(tmp_path / "a.csv")


def test_a_csv_in_another_encoding_is_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label,pixels\ncaf\xe9," + "0 " * 64, "latin-1")
    with pytest.raises(DataError, match=r"a\.csv is not UTF-8: save it as UTF-8"):
        open_source(tmp_path / "a.csv")


def test_a_missing_pixel_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    names = ",".join(f"pixel{k}" for k in range(16))
    (tmp_path / "a.csv").write_text(f"label,{names}\n0{',1' * 15},\n")
    with pytest.raises(DataError, match=r"row 1 .* fill it in, or remove the row"):
        open_source(tmp_path / "a.csv")
