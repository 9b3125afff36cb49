"""Checks of another project's ONNX file, which has no receipt."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from wgan.errors import DeviceError, ModelFileError, UnknownRange
from wgan.image_shape import channels_text
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.onnx_scan import OnnxFile
from wgan.model_file.reading import read_complete
from wgan.model_file.value_range import ValueRange
from wgan.runtime.every_engine import open_all
from wgan.runtime.generator import Generator
from wgan.runtime.model_source import why_seeds_do_not_count
from wgan.runtime.verification import Check, check_batches, check_determinism, first_images, not_run
from wgan.stop import check_stop

NO_RECEIPT = (
    "it has no receipt, so that nothing here says that it draws what a PyTorch network draws: "
    " wgan optimize FILE  writes one that is proved against this file,  wgan export --module  one"
    " that is proved against the network"
)


def verify_foreign(
    path: Path, file: OnnxFile, options: ForeignOptions, device: str = "auto", compute: str = "fp32"
) -> Iterator[Check]:
    """Yield what can be checked of a file without a manifest.

    That is its structure, and on every provider that works here, or on `device`, finite images,
    images that do not depend on their batch, and runs that repeat to the bit.

    Raises:
        ModelFileError: the file is not a generator, or ONNX Runtime cannot open it.
        UsageError: an option is needed, or contradicts the file.
    """
    cause = why_seeds_do_not_count(file)
    try:
        Generator(path, "cpu", foreign=options, checked=False).close()
    except UnknownRange as exc:
        yield Check("range", None, str(exc))
        try:
            options = dataclasses.replace(options, value_range=_measured(path, options))
        except ModelFileError as fault:
            yield Check("images", False, str(fault))
            return
    data = read_complete(path)
    precision = "int8" if _is_quantized(file) else "fp32"
    described = False
    for engine, opened in open_all(data, options, device, compute):
        check_stop()
        if isinstance(opened, DeviceError):
            yield not_run(engine, opened, device)
            continue
        if not described:
            yield Check("structure", True, _structure(file, opened))
            yield Check("operators", not cause, cause or "none draws random numbers")
            described = True
        try:
            finite = first_images(opened).size
            yield Check("finite images", True, f"all of {finite:,} values", str(engine))
            yield check_batches(engine, opened, precision)
            check_stop()
            yield check_determinism(engine, opened)
        except ModelFileError as exc:
            yield Check("images", False, str(exc), str(engine))
    yield Check("receipt", None, NO_RECEIPT)


def _measured(path: Path, options: ForeignOptions) -> ValueRange:
    """The smallest and largest value of a few images, where black and white are unknown."""
    options = dataclasses.replace(options, value_range=(-1.0, 1.0))
    with Generator(path, "cpu", foreign=options, checked=False) as generator:
        images = first_images(generator)
    low, high = float(images.min()), float(images.max())
    return (low, high) if low < high else (low, low + 1)


def _structure(file: OnnxFile, generator: Generator) -> str:
    height, width, channels = generator.image_shape
    classes = f", {len(generator.classes)} classes" if generator.classes else ""
    batch = f", batches of {generator.fixed_batch}" if generator.fixed_batch else ""
    return (
        f"onnx, opset {file.opset or 'unknown'}; latents of {generator.latent_dim}{classes}, images"
        f" {width}x{height}, {channels_text(channels)}{batch}"
    )


def _is_quantized(file: OnnxFile) -> bool:
    return any("Quantize" in producer.operator for producer in file.producers.values())
