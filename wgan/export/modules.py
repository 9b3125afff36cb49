"""A PyTorch generator of another project, exported and proved without a run or a training."""

import logging
import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wgan.errors import ExportError, UsageError, needs_extra
from wgan.export.config import ExportConfig
from wgan.files import check_output
from wgan.model_file import FORMATS, IMAGES
from wgan.model_file.manifest import Manifest
from wgan.stop import check_stop
from wgan.text import first_line, shorten

if TYPE_CHECKING:
    from onnx import ModelProto
    from torch import nn

    from wgan.export.draft import ExportDraft
    from wgan.export.foreign.module import ForeignGenerator

logger = logging.getLogger("wgan.export")


def export_module(
    module: "nn.Module",
    latent_shape: Sequence[int],
    path: Path | str,
    value_range: tuple[float, float] | None = None,
    *,
    inputs: Mapping[str, Any] | None = None,
    output: str | int | None = None,
    image_shape: tuple[int, int, int] | None = None,
    label_input: str | None = None,
    config: ExportConfig | None = None,
    file_format: str = "onnx",
) -> Manifest:
    """Export a generator that is any PyTorch module, if the file draws what it draws.

    Shape, channels and, where its last operators tell it, the range of its images are found by
    running it. It is run in eval mode, on the CPU, and changes to that.

    Args:
        module: the generator; its first argument is latents `[n, *latent_shape]`.
        latent_shape: `(100,)`, `(100, 1, 1)`, ...
        path: the file to write.
        value_range: the values of black and white; None where tanh, sigmoid, ... tell it.
        inputs: its further arguments by name: tensors have a first axis of size 1 for the batch.
        output: index or name of the images, as 0 or "levels.last", for a module that returns a
            tuple or a dict.
        image_shape: height, width and channels of flat images.
        label_input: the argument that takes labels, int64 `[n]` or one-hot, as "y:10", which the
            file then takes too.
        config: precision, target and tolerances.
        file_format: one of `wgan.model_file.FORMATS` that is a file.

    Raises:
        UsageError: an argument is needed or does not fit.
        ExportError: the module cannot be run or exported, or draws random numbers.
        ParityError: the export does not match the module.
        OutputError: the file cannot be written.
    """
    config = config or ExportConfig()
    path = Path(path)
    _check_values(latent_shape, value_range, file_format)
    check_output(path)
    with needs_extra("export", purpose="exporting"):
        from wgan.export.draft import prove_and_write, unproved_manifest
        from wgan.export.foreign.arguments import check_arguments, make_labels
        from wgan.export.foreign.factory import for_export
        from wgan.export.foreign.interface import computes_in_16_bits
        from wgan.export.foreign.module import ForeignGenerator, draw
        from wgan.export.parity.gate import Reference
        from wgan.training.checkpoint import weights_sha256
    module = for_export(module)
    labels = make_labels(module, label_input)
    check_arguments(module, inputs or {}, labels)
    name = None if output is None else str(output)
    generator = ForeignGenerator(module, latent_shape, inputs or {}, name, image_shape, labels)
    check_stop()
    logger.info("%s: tracing the generator", path)
    drawn = draw(generator)
    channels, height, width = drawn.shape[1:]
    in_levels = not drawn.is_floating_point()
    levels = f"tensor({str(drawn.dtype).removeprefix('torch.')})" if in_levels else None
    model = _trace(generator, value_range, file_format, levels)
    draft = _make_draft(model, generator, config, file_format)
    logger.info("%s: generating reference images with PyTorch", path)
    reference = Reference.draw(
        generator,
        generator.latent_dim,
        config.seeds,
        generator.classes,
        float64_optional=True,
        in_levels=in_levels,
        not_finite="as a root, a log or a division in it can make them: are the weights right?",
    )
    unproved = unproved_manifest(
        draft,
        config,
        (height, width, channels),
        source="module",
        latent_dim=generator.latent_dim,
        classes=tuple(map(str, range(generator.classes))),
        step=None,
        weights_sha256=weights_sha256(module.state_dict()),
        config={},
    )
    in_16_bits = model is not None and computes_in_16_bits(model)
    allowed = config.allowed(in_16_bits=in_16_bits, in_levels=in_levels)
    loosened = config.loosened(in_16_bits=in_16_bits)
    return prove_and_write(draft, reference, unproved, path, allowed, loosened=loosened)


def _check_values(
    latent_shape: Sequence[int], value_range: tuple[float, float] | None, file_format: str
) -> None:
    """Check arguments that the command line checks itself. Raises UsageError."""
    sizes: Any = latent_shape  # whatever a caller gave
    is_shape = isinstance(sizes, Sequence) and len(sizes) > 0
    if not is_shape or not all(isinstance(n, Integral) and int(n) > 0 for n in sizes):
        raise UsageError(
            f"latent_shape {shorten(latent_shape)} is not allowed: give the axes of one image's"
            " latents, whole numbers above 0, as in (100,) or (100, 1, 1)"
        )
    ends: Any = value_range
    if ends is not None:
        is_pair = isinstance(ends, Sequence) and len(ends) == 2
        is_pair = is_pair and all(isinstance(end, Real) for end in ends)
        if not is_pair or not -math.inf < ends[0] < ends[1] < math.inf:
            raise UsageError(
                f"value_range {shorten(value_range)} is not allowed: give two numbers, black below"
                " white, as in (-1, 1)"
            )
    files = [name for name, form in FORMATS.items() if form.extension]
    if file_format not in files:
        raise UsageError(
            f"file_format {shorten(file_format)} is not allowed: give one of {', '.join(files)}"
        )


def _trace(
    generator: "ForeignGenerator",
    value_range: tuple[float, float] | None,
    file_format: str,
    levels: str | None,
) -> "ModelProto | None":
    """Trace the generator to ONNX, and set its value range from the graph or `value_range`.

    Other formats do without the graph if the generator cannot be traced and its range is given.
    `levels`: the type of images that are whole numbers, as ONNX Runtime writes it.

    Raises:
        UsageError: the range is unknown, or not that of the graph.
        ExportError: the generator cannot be traced.
    """
    from wgan.export.foreign.interface import scan_graph
    from wgan.export.formats.onnx import to_onnx
    from wgan.model_file.image_outputs import LEVELS, UINT8, check_levels, find_range

    try:
        model = to_onnx(generator, generator.latent_dim, generator.classes)
    except ExportError as exc:
        if file_format == "onnx":
            raise
        known = value_range or (LEVELS if levels == UINT8 else None)
        if known is None:
            raise UsageError(
                "the range of the generator's images is unknown, because its graph cannot be read"
                f" ({first_line(exc, 100)}). Give the values of black and white, as in"
                "  --range=-1,1"
            ) from exc
        if levels is not None:
            check_levels(IMAGES, levels, {}, known, "--range")
        generator.value_range = known
        return None
    producers = scan_graph(model).producers
    if levels is None:
        generator.value_range = find_range(IMAGES, producers, value_range, "--range")
    else:
        check_levels(IMAGES, levels, producers, value_range, "--range")
        generator.value_range = LEVELS
    if generator.value_range != (-1.0, 1.0) and file_format == "onnx":
        model = to_onnx(generator, generator.latent_dim, generator.classes)
    return model


def _make_draft(
    model: "ModelProto | None",
    generator: "ForeignGenerator",
    config: ExportConfig,
    file_format: str,
) -> "ExportDraft":
    from wgan.export.draft import make_draft
    from wgan.export.foreign.normal_form import fold
    from wgan.export.formats.onnx import clean, rewrite

    if file_format != "onnx" or model is None:
        return make_draft(generator, generator.latent_dim, config, file_format, generator.classes)
    return rewrite(clean(fold(model)), config, generator.classes)


def export_named_module(config: ExportConfig, path: Path, file_format: str = "onnx") -> Manifest:
    """Do the work of `wgan export --module`: import the module, load its weights, export it.

    Raises:
        UsageError: an option is missing or does not fit.
        ExportError, ParityError, OutputError: as for `export_module`.
    """
    from wgan.export.foreign.arguments import make_inputs
    from wgan.export.foreign.factory import make_module
    from wgan.export.foreign.weights import load_weights, put_weights

    assert config.module is not None
    if config.latent_shape is None:
        raise UsageError("--module needs the latents of one image: give  --latents 100x1x1")
    if config.label_input is not None and config.fixed_class is not None:
        raise UsageError("--labels keeps the label, --class fixes it: give one of them")
    module = make_module(config.module)
    if config.weights is not None:
        put_weights(module, load_weights(config.weights), config.weights)
    else:
        logging.getLogger("wgan").warning(
            "without --weights the generator has the weights that %s gives it", config.module
        )
    return export_module(
        module,
        config.latent_shape,
        path,
        config.value_range,
        inputs=make_inputs(module, config.given_inputs, config.fixed_class),
        output=config.image_output,
        image_shape=config.image_shape,
        label_input=config.label_input,
        config=config,
        file_format=file_format,
    )
