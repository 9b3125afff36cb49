from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from wgan.errors import ModelFileError, UsageError
from wgan.model_file.onnx_scan import ValueInfo
from wgan.model_file.value_range import Producer
from wgan.options import parse_value_range
from wgan.runtime.signature import ImageOutput, read_signature


def value(name: str, shape: Sequence[Any], kind: str = "float") -> ValueInfo:
    return ValueInfo(name, f"tensor({kind})", tuple(shape))


LATENTS = value("z", ["n", 16])
IMAGES = value("out", ["n", 3, 8, 8])
TANH = {"out": Producer("Tanh", "x")}


@pytest.mark.parametrize(
    ("shape", "spatial", "batch"),
    [
        (["n", 16], False, None),
        ([None, 16], False, None),
        ([4, 16], False, 4),
        (["n", 16, 1, 1], True, None),
        ([1, 16, 1, 1], True, 1),
    ],
)
@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_latents_are_found(
    shape: Sequence[Any], spatial: bool, batch: int | None, kind: str
) -> None:
    found = read_signature([value("z", shape, kind)], [IMAGES], TANH, None, None).latents
    assert (found.name, found.latent_dim, found.spatial, found.batch) == ("z", 16, spatial, batch)


@pytest.mark.parametrize(
    ("shape", "layout", "sides"),
    [
        (["n", 3, 8, 6], "nchw", (8, 6, 3)),
        (["n", 1, 8, 6], "nchw", (8, 6, 1)),
        (["n", 8, 6, 3], "nhwc", (8, 6, 3)),
        (["n", 8, 6, 1], "nhwc", (8, 6, 1)),
        (["n", 3, "h", "w"], "nchw", (None, None, 3)),
    ],
)
def test_the_layout_of_images_is_found(
    shape: Sequence[Any], layout: str, sides: tuple[Any, ...]
) -> None:
    found = read_signature([LATENTS], [value("out", shape)], TANH, None, None)
    assert found.images is not None
    assert found.images.layout == layout
    assert (found.height, found.width, found.channels) == sides


def test_a_graph_with_only_pixels_is_enough() -> None:
    found = read_signature([LATENTS], [value("out", ["n", 8, 8, 3], "uint8")], {}, None, None)
    assert found.images is None
    assert found.pixels is not None
    assert found.pixels.value_range is None


def test_other_outputs_are_ignored() -> None:
    outputs = [value("features", ["n", 512]), IMAGES, value("score", ["n", 1])]
    found = read_signature([LATENTS], outputs, TANH, None, None)
    assert found.images is not None
    assert found.images.name == "out"


@pytest.mark.parametrize(
    ("operator", "given", "expected"),
    [
        ("Tanh", None, (-1, 1)),
        ("Sigmoid", None, (0, 1)),
        ("Add", (0.0, 255.0), (0, 255)),
        ("Tanh", (-1.0, 1.0), (-1, 1)),
    ],
)
def test_the_range_is_that_of_the_last_operator_or_given(
    operator: str, given: tuple[float, float] | None, expected: tuple[float, float]
) -> None:
    found = read_signature([LATENTS], [IMAGES], {"out": Producer(operator, "x")}, None, given)
    assert found.images is not None
    assert found.images.value_range == expected


def test_an_unknown_range_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"output out is unknown: .*--value-range"):
        read_signature([LATENTS], [IMAGES], {"out": Producer("Add", "x")}, None, None)


def test_a_range_that_contradicts_the_graph_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--value-range 0,1 is not allowed: .* range -1,1"):
        read_signature([LATENTS], [IMAGES], TANH, None, (0.0, 1.0))


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ([], [IMAGES]),
        ([LATENTS, value("label", ["n", 10])], [IMAGES]),
        ([value("z", ["n", 16], "int64")], [IMAGES]),
        ([value("z", ["n", "z"])], [IMAGES]),
        ([value("z", ["n", 16, 2, 2])], [IMAGES]),
        ([value("z", [0, 16])], [IMAGES]),
        ([value("z", [10**9, 16])], [IMAGES]),
        ([value("z", ["n", 2**40])], [IMAGES]),
        ([LATENTS], []),
        ([LATENTS], [value("out", ["n", 10])]),
        ([LATENTS], [value("out", ["n", 4, 8, 8])]),
        ([LATENTS], [value("out", ["n", 3, 8, 3])]),
        ([LATENTS], [IMAGES, value("out2", ["n", 3, 8, 8])]),
        ([LATENTS], [value("out", ["n", 3, 8, 8], "int64")]),
    ],
)
def test_a_foreign_graph_is_refused_with_what_was_expected_and_found(
    inputs: list[ValueInfo], outputs: list[ValueInfo]
) -> None:
    with pytest.raises(ModelFileError, match="it is not a generator: expected one float input"):
        read_signature(inputs, outputs, TANH | {"out2": TANH["out"]}, None, None)


def test_images_that_are_too_large_are_refused() -> None:
    with pytest.raises(ModelFileError, match="3000000 wide and 8 high: 1 to 16384"):
        read_signature([LATENTS], [value("out", ["n", 3, 8, 3_000_000])], TANH, None, None)


RAW_PIXELS = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)


@pytest.mark.parametrize("value_range", [(-1.0, 1.0), (0.0, 1.0), (0.0, 255.0), (-0.5, 3.0)])
@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_floats_of_any_range_and_layout_convert_to_the_pixels(
    layout: str, value_range: tuple[float, float]
) -> None:
    low, high = value_range
    raw = (low + RAW_PIXELS / 255.0 * (high - low)).astype(np.float32)
    if layout == "nchw":
        raw = raw.transpose(0, 3, 1, 2)
    output = ImageOutput("out", layout, value_range)  # type: ignore[arg-type]
    np.testing.assert_array_equal(output.pixels(raw), RAW_PIXELS)
    expected = (RAW_PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)
    assert np.abs(output.images(raw) - expected).max() < 1e-6
    assert output.images(raw).dtype == np.float32


def test_pixels_are_unchanged() -> None:
    last = ImageOutput("out", "nhwc", None)
    first = ImageOutput("out", "nchw", None)
    np.testing.assert_array_equal(last.pixels(RAW_PIXELS), RAW_PIXELS)
    np.testing.assert_array_equal(first.pixels(RAW_PIXELS.transpose(0, 3, 1, 2)), RAW_PIXELS)
    assert (
        np.abs(last.images(RAW_PIXELS) - (RAW_PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)).max()
        < 1e-6
    )


def test_a_value_range_is_two_numbers() -> None:
    assert parse_value_range("-1,1") == (-1, 1)
    assert parse_value_range("0, 255") == (0, 255)


@pytest.mark.parametrize("text", ["", "1", "1,0", "0,0", "0,1,2", "a,b", "nan,1", "0,inf"])
def test_other_texts_than_a_value_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        parse_value_range(text)
