"""A generator as an ONNX model: traced, checked, and stripped of everything but its mathematics."""

import copy
from collections.abc import Iterator

import onnx
import torch
from onnx import GraphProto, ModelProto
from torch import Tensor, nn

from wgan.errors import ExportError, needs_extra
from wgan.export.config import ExportConfig, PrecisionConfig
from wgan.export.draft import ExportDraft
from wgan.export.formats import example_inputs, export_errors, free_batches, quiet
from wgan.export.lowering.conv_transpose import lower
from wgan.export.lowering.depthwise import widen_filters
from wgan.export.lowering.float16 import to_fp16
from wgan.export.lowering.gates import split_convolutions
from wgan.export.lowering.sensitivity import quantize
from wgan.export.lowering.upsampling import fold_upsampling
from wgan.export.parity.engines import onnx_engines
from wgan.image_shape import PIXEL_CHANNELS
from wgan.model_file import IMAGES, LABELS, LATENTS, PIXELS
from wgan.model_file.manifest import METADATA_KEY

OPSET = 18
"""The oldest operator set that the exporter writes; ONNX Runtime reads it since 1.14 (2023)."""

IR_VERSION = 8
"""The version of the file format that was introduced with this operator set."""


class WithPixels(nn.Module):
    """A generator with a second output: its images as pixels, by the formula of `wgan.images`."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Map latents `[n, latent_dim]` to images `[n, c, h, w]` and pixels `[n, h, w, c]`.

        A generator with classes takes labels `[n]` too.
        """
        images = self.generator(latents) if labels is None else self.generator(latents, labels)
        # torch.round rounds halves to even, as numpy.rint and ONNX's Round do.
        scaled = torch.round((images + 1) * 127.5).clamp(0, 255)
        return images, scaled.to(torch.uint8).permute(0, 2, 3, 1)


def make_draft(
    generator: nn.Module, latent_dim: int, config: ExportConfig, classes: int = 0
) -> ExportDraft:
    """Trace a generator, then rewrite the graph for its target and precision.

    With `classes` it takes labels.

    Raises:
        ExportError: the generator cannot be traced, or has nothing that int8 could quantise.
        MissingExtra: int8 needs onnxruntime for its calibration.
    """
    return rewrite(to_onnx(generator, latent_dim, classes), config, classes)


def rewrite(model: ModelProto, config: PrecisionConfig, classes: int = 0) -> ExportDraft:
    """Rewrite a clean model, which takes labels if it has classes, for its target and precision.

    Raises:
        ExportError: it has nothing that int8 could quantise.
        MissingExtra: int8 needs onnxruntime for its calibration.
    """
    float_layers: tuple[str, ...] = ()
    if config.target_of("onnx") == "cpu":
        eight_bits = config.precision == "int8"
        model = split_convolutions(widen_filters(model))
        model = fold_upsampling(model, eight_bits=eight_bits)
        model = lower(model, eight_bits=eight_bits)
    if config.precision == "fp16":
        model = to_fp16(model)
    elif config.precision == "int8":
        quantized = quantize(model, config.allowed().psnr, classes)
        model, float_layers = quantized.model, quantized.float_layers
    check(model)
    return onnx_draft(model, float_layers)


def onnx_draft(model: ModelProto, float_layers: tuple[str, ...] = ()) -> ExportDraft:
    """Make a draft of an ONNX model."""
    opset = next(entry.version for entry in model.opset_import if entry.domain == "")
    return ExportDraft(
        "onnx", lambda manifest: serialize(model, manifest), onnx_engines, opset, float_layers
    )


def to_onnx(generator: nn.Module, latent_dim: int, classes: int = 0) -> ModelProto:
    """Trace `generator`, in eval mode and on the CPU, into a clean model without a manifest.

    Its outputs are the images and, of the channels that an image file holds, their pixels. Batch
    norm is folded into the convolutions. The same generator gives the same bytes.

    Raises:
        ExportError: the generator cannot be traced, or the model is not valid ONNX.
        MissingExtra: onnxscript is not installed.
    """
    example = example_inputs(latent_dim, classes)
    # The exporter itself calls deprecated functions, and prints the graph of a network that it
    # cannot trace.
    with export_errors("exported to ONNX"), quiet():
        with needs_extra("export", purpose="exporting to ONNX"):
            import onnxscript  # noqa: F401 - the exporter would blame the network
        with torch.no_grad():
            has_pixels = generator(*example).shape[1] in PIXEL_CHANNELS
        program = torch.onnx.export(
            (WithPixels(generator) if has_pixels else generator).eval(),
            example,
            dynamo=True,
            external_data=False,  # the default writes the weights to a second file
            opset_version=OPSET,
            input_names=[LATENTS, LABELS][: len(example)],
            output_names=[IMAGES, PIXELS] if has_pixels else [IMAGES],
            dynamic_shapes=free_batches(example),
            verbose=False,
        )
    assert program is not None
    return clean(program.model_proto)


def clean(model: ModelProto) -> ModelProto:
    """Rebuild `model` from its mathematics only, without any trace of the machine that made it.

    The exporter leaves stack traces, source paths and notes on nodes and values. Copying the parts
    that are needed is safer than deleting the parts that are known to be unnecessary.

    Raises:
        ExportError: the model is not valid ONNX, or keeps its weights in another file.
    """
    graph = model.graph
    if any(tensor.external_data for tensor in graph.initializer):
        raise ExportError("the model keeps its weights in a second file; an export is one file")
    cleaned = onnx.helper.make_model(
        onnx.helper.make_graph(
            list(_clean_nodes(graph)),
            "generator",
            [_clean_value(value) for value in graph.input],
            [_clean_value(value) for value in graph.output],
            [
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor), tensor.name)
                for tensor in graph.initializer
            ],
        ),
        producer_name="wgan",
        ir_version=IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid(entry.domain, entry.version)
                       for entry in model.opset_import if entry.domain == ""],  # "" is ONNX itself
    )  # fmt: skip
    check(cleaned)
    return cleaned


def check(model: ModelProto) -> None:
    """Check `model` with ONNX's checker, types and shapes included. Raises ExportError."""
    try:
        onnx.checker.check_model(model, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as exc:
        raise ExportError(f"the exported graph is not valid ONNX: {exc}") from exc


def serialize(model: ModelProto, manifest: str) -> bytes:
    """Write `model` with `manifest` in its metadata; equal inputs give equal bytes."""
    labelled = copy.deepcopy(model)  # a draft is written twice, without and with its receipt
    onnx.helper.set_model_props(labelled, {METADATA_KEY: manifest})
    data: bytes = labelled.SerializeToString(deterministic=True)
    return data


def _clean_nodes(graph: GraphProto) -> Iterator[onnx.NodeProto]:
    for number, node in enumerate(graph.node):
        cleaned = onnx.NodeProto(
            op_type=node.op_type,
            name=f"{number:02d}_{node.op_type}",
            input=node.input,
            output=node.output,
        )
        # The exporter's order of attributes differs from process to process.
        for attribute in sorted(node.attribute, key=lambda entry: entry.name):
            copied = cleaned.attribute.add()
            copied.CopyFrom(attribute)
            copied.ClearField("doc_string")
        yield cleaned


def _clean_value(value: onnx.ValueInfoProto) -> onnx.ValueInfoProto:
    """Copy a value's name, type and shape."""
    return onnx.ValueInfoProto(name=value.name, type=value.type)
