from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from wgan.errors import ModelFileError, UsageError
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.graph_inputs import Inputs, LabelInput
from wgan.model_file.onnx_scan import OnnxFile, ValueInfo
from wgan.model_file.value_range import Producer
from wgan.options import parse_value_range
from wgan.runtime.feed import fixed_value
from wgan.runtime.signature import ImageOutput, Signature, read_signature


def value(name: str, shape: Sequence[Any], kind: str = "float") -> ValueInfo:
    return ValueInfo(name, f"tensor({kind})", tuple(shape))


LATENTS = value("z", ["n", 16])
IMAGES = value("out", ["n", 3, 8, 8])
TANH = {"out": Producer("Tanh", "x")}


def no_probe(inputs: Inputs, names: Sequence[str]) -> list[Any]:
    raise AssertionError(f"{names} are declared: nothing has to be run")


def found(
    inputs: Sequence[ValueInfo],
    outputs: Sequence[ValueInfo],
    producers: dict[str, Producer] = TANH,
    /,
    probe: Any = no_probe,
    embeddings: dict[str, int] | None = None,
    **options: Any,
) -> Signature:
    file = OnnxFile(producers=producers, embeddings=embeddings or {})
    return read_signature(inputs, outputs, file, None, ForeignOptions(**options), probe)


@pytest.mark.parametrize(
    ("shape", "axes", "batch_axis", "batch"),
    [
        (["n", 16], (16,), 0, None),
        ([None, 16], (16,), 0, None),
        ([4, 16], (16,), 0, 4),
        (["n", 16, 1, 1], (16, 1, 1), 0, None),
        ([1, 16, 1, 1], (16, 1, 1), 0, 1),
        (["n", 2, 8], (2, 8), 0, None),
        ([16, "n"], (16,), 1, None),
    ],
)
@pytest.mark.parametrize("kind", ["float", "float16", "double"])
def test_latents_are_found(
    shape: Sequence[Any], axes: tuple[int, ...], batch_axis: int, batch: int | None, kind: str
) -> None:
    inputs = found([value("z", shape, kind)], [IMAGES]).inputs
    assert (inputs.latents.name, inputs.latent_dim) == ("z", 16)
    assert (inputs.axes, inputs.batch_axis, inputs.batch) == (axes, batch_axis, batch)


@pytest.mark.parametrize(
    ("shape", "layout", "sides"),
    [
        (["n", 3, 8, 6], "nchw", (8, 6, 3)),
        (["n", 1, 8, 6], "nchw", (8, 6, 1)),
        (["n", 8, 6, 3], "nhwc", (8, 6, 3)),
        (["n", 8, 6, 1], "nhwc", (8, 6, 1)),
        (["n", 2, 8, 6], "nchw", (8, 6, 2)),
        (["n", 8, 6, 4], "nhwc", (8, 6, 4)),
        (["n", 13, 32, 32], "nchw", (32, 32, 13)),
        (["n", 32, 24, 16], "nhwc", (32, 24, 16)),
        (["n", 28, 20], "nhw", (28, 20, 1)),
    ],
)
def test_the_layout_of_images_is_found(
    shape: Sequence[Any], layout: str, sides: tuple[Any, ...]
) -> None:
    images = found([LATENTS], [value("out", shape)]).images
    assert images is not None
    assert (images.layout, images.shape) == (layout, sides)


@pytest.mark.parametrize(
    ("shape", "given", "layout"),
    [
        (["n", 192], (8, 8, 3), "flat"),
        (["n", 3, 64], (8, 8, 3), "flat"),
        (["n", 3, 8, 3], (8, 3, 3), "nchw"),
        (["n", 8, 8], (8, 8, 1), "nhw"),
        (["n", 64, 4, 16], (64, 4, 16), "nhwc"),
    ],
)
def test_images_of_any_shape_are_found_where_the_user_says_what_they_are(
    shape: Sequence[Any], given: tuple[int, int, int], layout: str
) -> None:
    images = found([LATENTS], [value("out", shape)], image_shape=given).images
    assert images is not None
    assert (images.layout, images.shape) == (layout, given)


@pytest.mark.parametrize("shape", [["n", 3, "h", "w"], ["n", None, None, None], []])
def test_sizes_that_are_not_declared_are_those_of_an_image(shape: Sequence[Any]) -> None:
    def probe(inputs: Inputs, names: Sequence[str]) -> list[Any]:
        assert names == ["out"]
        return [np.zeros((1, 3, 8, 6), np.float32)]

    images = found([LATENTS], [value("out", shape)], probe=probe).images
    assert images is not None
    assert (images.layout, images.shape) == ("nchw", (8, 6, 3))


def test_a_graph_with_only_pixels_is_enough() -> None:
    signature = found([LATENTS], [value("out", ["n", 8, 8, 3], "uint8")], {})
    assert signature.images is None
    assert signature.pixels is not None
    assert signature.pixels.value_range is None


OUT2 = value("out2", ["n", 3, 8, 8])


@pytest.mark.parametrize(
    "others",
    [
        [value("features", ["n", 512]), value("score", ["n", 1])],
        [value("mask", ["n", 1, 8, 8])],
        [value("features", ["n", 12, 8, 8])],
        [value("features", ["n", 64, 4, 4])],
        [value("w", ["n", 14, 512])],
    ],
)
def test_outputs_that_are_less_likely_images_are_ignored(others: list[ValueInfo]) -> None:
    images = found([LATENTS], [*others, IMAGES]).images
    assert images is not None
    assert images.name == "out"


def test_of_two_images_one_must_be_named() -> None:
    with pytest.raises(UsageError, match=r"several outputs .*out .*out2 .*--output-name NAME"):
        found([LATENTS], [IMAGES, OUT2])
    both = TANH | {"out2": TANH["out"]}
    images = found([LATENTS], [IMAGES, OUT2], both, image_output="out2").images
    assert images is not None
    assert images.name == "out2"
    with pytest.raises(UsageError, match="--output-name out3: the file has no such output"):
        found([LATENTS], [IMAGES, OUT2], image_output="out3")


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
    images = found([LATENTS], [IMAGES], {"out": Producer(operator, "x")}, value_range=given).images
    assert images is not None
    assert images.value_range == expected


def test_an_unknown_range_must_be_given() -> None:
    with pytest.raises(UsageError, match=r"output out is unknown: .*--value-range"):
        found([LATENTS], [IMAGES], {"out": Producer("Add", "x")})


def test_a_clip_may_be_wider_than_the_range() -> None:
    clip = {"out": Producer("Clip", "x", attributes={"min": -1.5, "max": 1.5})}
    for given, expected in ((None, (-1.5, 1.5)), ((-1.0, 1.0), (-1, 1))):
        images = found([LATENTS], [IMAGES], clip, value_range=given).images
        assert images is not None
        assert images.value_range == expected
    with pytest.raises(UsageError, match=r"--value-range 0,255 is not allowed: .* range -1.5,1.5"):
        found([LATENTS], [IMAGES], clip, value_range=(0.0, 255.0))
    usual = {"out": Producer("Clip", "x", attributes={"min": -1.0, "max": 1.0})}
    with pytest.raises(UsageError, match=r"--value-range 0,1 is not allowed: .* range -1,1"):
        found([LATENTS], [IMAGES], usual, value_range=(0.0, 1.0))


def scaled(factor: float, term: float) -> dict[str, Producer]:
    """`tanh * factor + term`."""
    return {
        "t": Producer("Tanh", "x"),
        "m": Producer("Mul", "t", ("t", "f"), numbers=(None, factor)),
        "out": Producer("Add", "m", ("m", "b"), numbers=(None, term)),
    }


@pytest.mark.parametrize(
    ("factor", "term", "own", "given"),
    [
        (0.5, 0, (-0.5, 0.5), (-1.0, 1.0)),
        (2, 0, (-2, 2), (-1.0, 1.0)),
        (127.5, 128, (0.5, 255.5), (0.0, 255.0)),  # NVIDIA's formula
    ],
)
def test_a_given_range_wins_over_factors_and_terms(
    factor: float, term: float, own: tuple[float, float], given: tuple[float, float]
) -> None:
    for value_range, expected in ((None, own), (given, given)):
        images = found([LATENTS], [IMAGES], scaled(factor, term), value_range=value_range).images
        assert images is not None
        assert images.value_range == expected


@pytest.mark.parametrize(
    ("factor", "term", "given"),
    [
        (0.5, 0, (0.0, 255.0)),
        (0.5, 0, (1.0, 2.0)),
        (127.5, 128, (-1.0, 1.0)),
        (0.5, 0.5, (-1.0, 1.0)),  # its own range, 0 to 1, is a usual one
        (127.5, 127.5, (0.0, 1.0)),
    ],
)
def test_a_range_far_from_that_of_factors_and_terms_is_refused(
    factor: float, term: float, given: tuple[float, float]
) -> None:
    with pytest.raises(UsageError, match=r"--value-range .* is not allowed: .* range"):
        found([LATENTS], [IMAGES], scaled(factor, term), value_range=given)


def test_a_range_that_contradicts_the_graph_is_refused() -> None:
    with pytest.raises(UsageError, match=r"--value-range 0,1 is not allowed: .* range -1,1"):
        found([LATENTS], [IMAGES], value_range=(0.0, 1.0))


def test_the_range_of_uint8_images_cannot_be_another_one() -> None:
    pixels = value("out", ["n", 8, 8, 3], "uint8")
    assert found([LATENTS], [pixels], {}, value_range=(0.0, 255.0)).images is None
    with pytest.raises(
        UsageError, match=r"--value-range 0,1 is not allowed: .* whole numbers, uint8, whose"
    ):
        found([LATENTS], [pixels], {}, value_range=(0.0, 1.0))


CAST_LEVELS = scaled(127.5, 128) | {"levels": Producer("Cast", "out")}


@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "int64"])
def test_whole_numbers_that_the_graph_or_the_user_says_to_be_levels_are_pixels(kind: str) -> None:
    levels = value("levels", ["n", 3, 8, 8], kind)
    for producers, given in [(CAST_LEVELS, None), ({}, (0.0, 255.0))]:
        signature = found([LATENTS], [levels], producers, value_range=given)
        assert signature.images is None
        assert signature.pixels is not None
        assert (signature.pixels.name, signature.pixels.value_range) == ("levels", None)


@pytest.mark.parametrize(
    ("producers", "given", "message"),
    [
        ({}, None, r"whole numbers, int64, .* give  --value-range=0,255"),
        (CAST_LEVELS, (-1.0, 1.0), r"--value-range -1,1 .* whole numbers, int64, .*range is 0,255"),
        (TANH | {"levels": Producer("Cast", "out")}, None, "from -1 to 1: those of images are"),
    ],
)
def test_whole_numbers_that_may_be_classes_are_refused(
    producers: dict[str, Producer], given: Any, message: str
) -> None:
    levels = value("levels", ["n", 8, 8], "int64")
    with pytest.raises(UsageError, match=message):
        found([LATENTS], [levels], producers, value_range=given)


def test_whole_numbers_beside_images_are_ignored_unless_they_are_named() -> None:
    levels = value("levels", ["n", 3, 8, 8], "int32")
    assert found([LATENTS], [levels, IMAGES]).pixels is None
    signature = found([LATENTS], [levels, IMAGES], CAST_LEVELS, image_output="levels")
    assert signature.main.name == "levels"


def test_an_image_shape_that_does_not_fit_is_named() -> None:
    message = r"--image-shape 8x8x1 does not fit .* out tensor\(float\) \[n, 192\]: .* 64 values"
    with pytest.raises(UsageError, match=message):
        found([LATENTS], [value("out", ["n", 192])], image_shape=(8, 8, 1))


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        ([], [IMAGES], "no input of latents: it draws them itself"),
        ([value("z", ["n", 16], "int64")], [IMAGES], "no float input of latents"),
        ([value("z", [16])], [IMAGES], "for one image at a time"),
        ([value("z", [10**9, 16])], [IMAGES], "a batch of at most 4096"),
        ([value("z", ["n", 2**40])], [IMAGES], "1 to 1048576 numbers"),
        ([LATENTS], [], "no output that is clearly images"),
        ([LATENTS], [value("out", ["n", 10])], "--image-shape HEIGHTxWIDTHxCHANNELS"),
        ([LATENTS], [value("out", ["n", 3, 8, 3])], "--image-shape HEIGHTxWIDTHxCHANNELS"),
        ([LATENTS], [value("out", ["n", 32, 32, 32])], "no output that is clearly images"),
        ([LATENTS], [value("out", ["n", 3, 8, 8], "bool")], "no output that is clearly images"),
    ],
)
def test_a_foreign_graph_is_refused_with_what_was_expected_and_found(
    inputs: list[ValueInfo], outputs: list[ValueInfo], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        found(inputs, outputs)


LABEL = value("y", ["n"], "int64")
PSI = value("psi", [])
ONE_HOT = value("c", ["n", 10])


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([LATENTS, LABEL], r"--class K \(for y; or keep it: --label-input y\)"),
        ([LATENTS, ONE_HOT], r"--class K \(for c; or keep it: --label-input c\)"),
        ([LATENTS, value("psi", [])], r"--input psi=VALUE"),
        ([LATENTS, value("condition", [], "bool")], r"--input condition=VALUE"),
        ([LATENTS, value("noise", ["n", 1, 8, 8])], r"--input noise=VALUE"),
        ([value("z", ["n", "z"])], r"how long its latents are .*--latent-shape 100x1x1"),
    ],
)
def test_an_option_that_is_needed_is_named(inputs: list[ValueInfo], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        found(inputs, [IMAGES])


@pytest.mark.parametrize(
    ("options", "text"),
    [({"fixed_class": 2}, "2"), ({"inputs": ("y=2",)}, "2")],
)
def test_an_index_is_fixed(options: dict[str, Any], text: str) -> None:
    (fixed,) = found([LATENTS, LABEL], [IMAGES], **options).inputs.fixed
    assert (fixed.value.name, fixed.text, fixed.per_image) == ("y", text, True)


def test_a_missing_file_of_an_input_is_named() -> None:
    (fixed,) = found([LATENTS, PSI], [IMAGES], inputs=("psi=missing.npy",)).inputs.fixed
    with pytest.raises(UsageError, match=r"^--input psi: there is no file 'missing.npy'$"):
        fixed_value(fixed)


@pytest.mark.parametrize("text", ["nan", "inf", "1e39", "p.npy"])
def test_numbers_of_an_input_that_are_not_finite_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("p.npy", np.array(np.nan, np.float32))
    (fixed,) = found([LATENTS, PSI], [IMAGES], inputs=(f"psi={text}",)).inputs.fixed
    with pytest.raises(UsageError, match=rf"^--input psi='{text}' is not allowed: .* not finite"):
        fixed_value(fixed)


def test_a_one_hot_class_is_fixed() -> None:
    (fixed,) = found([LATENTS, ONE_HOT], [IMAGES], fixed_class=2).inputs.fixed
    assert fixed.text == "0,0,1,0,0,0,0,0,0,0"


@pytest.mark.parametrize(
    ("label", "text", "embeddings", "classes", "one_hot"),
    [
        (LABEL, "y:7", {}, 7, False),
        (LABEL, "y", {"y": 5}, 5, False),
        (LABEL, "y:4", {"y": 5}, 4, False),
        (value("y:0", ["n"], "int32"), "y:0", {"y:0": 3}, 3, False),
        (value("y:0", ["n"], "int32"), "y:0:2", {}, 2, False),
        (value("y", ["n", 1], "int64"), "y:6", {}, 6, False),
        (ONE_HOT, "c", {}, 10, True),
    ],
)
def test_labels_stay_an_input(
    label: ValueInfo, text: str, embeddings: dict[str, int], classes: int, one_hot: bool
) -> None:
    signature = found([LATENTS, label], [IMAGES], embeddings=embeddings, label_input=text)
    assert signature.inputs.labels == LabelInput(label, classes, one_hot)
    assert not signature.inputs.fixed


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label_input": "y"}, "does not say how many classes it has"),
        ({"label_input": "x:3"}, "--label-input x:3: the file has no such input"),
        ({"label_input": "z:3"}, None),
        ({"label_input": "y:3", "fixed_class": 1}, "give one of them"),
        ({"label_input": "y:3", "inputs": ("y=1",)}, "give one of them"),
        ({"inputs": ("w=1",)}, "--input w: the file has no such input"),
        ({"latent_shape": (7,), "fixed_class": 0}, "--latent-shape 7 does not fit"),
    ],
)
def test_options_that_contradict_the_graph_are_refused(
    options: dict[str, Any], message: str | None
) -> None:
    with pytest.raises((UsageError, ModelFileError), match=message):
        found([LATENTS, LABEL], [IMAGES], **options)


def test_images_that_are_too_large_are_refused() -> None:
    with pytest.raises(ModelFileError, match="3000000 wide and 8 high: 1 to 16384"):
        found([LATENTS], [value("out", ["n", 3, 8, 3_000_000])])


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
    output = ImageOutput("out", layout, value_range, (4, 5, 3))  # type: ignore[arg-type]
    np.testing.assert_array_equal(output.pixels(raw), RAW_PIXELS)
    expected = (RAW_PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)
    assert np.abs(output.images(raw) - expected).max() < 1e-6
    assert output.images(raw).dtype == np.float32


def test_pixels_are_unchanged() -> None:
    last = ImageOutput("out", "nhwc", None, (4, 5, 3))
    first = ImageOutput("out", "nchw", None, (4, 5, 3))
    np.testing.assert_array_equal(last.pixels(RAW_PIXELS), RAW_PIXELS)
    np.testing.assert_array_equal(first.pixels(RAW_PIXELS.transpose(0, 3, 1, 2)), RAW_PIXELS)
    assert (
        np.abs(last.images(RAW_PIXELS) - (RAW_PIXELS / 127.5 - 1).transpose(0, 3, 1, 2)).max()
        < 1e-6
    )


def test_whole_numbers_outside_of_the_levels_are_clipped() -> None:
    output = ImageOutput("out", "nhwc", None, (4, 5, 3))
    outside = RAW_PIXELS.astype(np.int64) * 3 - 20
    np.testing.assert_array_equal(output.pixels(outside), np.clip(outside, 0, 255))


def test_a_value_range_is_two_numbers() -> None:
    assert parse_value_range("-1,1") == (-1, 1)
    assert parse_value_range("0, 255") == (0, 255)


@pytest.mark.parametrize("text", ["", "1", "1,0", "0,0", "0,1,2", "a,b", "nan,1", "0,inf"])
def test_other_texts_than_a_value_range_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        parse_value_range(text)
