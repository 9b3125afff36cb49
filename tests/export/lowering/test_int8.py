"""Exports in 8 and 16 bits, and the options of an export."""

import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from onnx import ModelProto

from tests.checkpoints import trained_checkpoint
from wgan.errors import ExportError, ParityError, UsageError
from wgan.export.config import ExportConfig
from wgan.export.draft import export_checkpoint
from wgan.export.lowering.calibration import (
    WEIGHT_LIMIT,
    Histogram,
    quantization,
    quantize_weight,
)
from wgan.export.lowering.sensitivity import quantize
from wgan.training.checkpoint import Checkpoint


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return trained_checkpoint(width=8)


def operators(model: ModelProto) -> list[str]:
    return [node.op_type for node in model.graph.node]


def exported(checkpoint: Checkpoint, config: ExportConfig, tmp_path: Path) -> ModelProto:
    export_checkpoint(checkpoint, config, tmp_path / "g.onnx")
    return onnx.load(tmp_path / "g.onnx")


def test_an_8_bit_export_passes_the_gate(checkpoint: Checkpoint, tmp_path: Path) -> None:
    config = ExportConfig(precision="int8")
    manifest = export_checkpoint(checkpoint, config, tmp_path / "g.onnx")
    assert manifest.receipt.seeds == "0-1023"
    assert manifest.receipt.seen.psnr >= 40
    assert (manifest.precision, manifest.target) == ("int8", "cpu")
    # 8 to 16 and 16 to 32 pixels are four convolutions each; 4 to 8 has too few channels.
    written = onnx.load(tmp_path / "g.onnx")
    constants = {tensor.name for tensor in written.graph.initializer}
    restored = [node for node in written.graph.node if node.op_type == "DequantizeLinear"]
    kernels = [node for node in restored if node.input[0] in constants and len(node.input) == 3]
    assert len(kernels) == 8
    assert {tensor.data_type for tensor in written.graph.initializer} >= {
        onnx.TensorProto.INT8,
        onnx.TensorProto.INT32,
    }


def test_a_16_bit_export_keeps_its_input_and_outputs(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    written = exported(checkpoint, ExportConfig(precision="fp16"), tmp_path)
    kinds = [
        value.type.tensor_type.elem_type for value in (*written.graph.input, *written.graph.output)
    ]
    assert kinds == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8]
    large = [tensor for tensor in written.graph.initializer if math.prod(tensor.dims) > 3]
    assert {tensor.data_type for tensor in large} <= {
        onnx.TensorProto.FLOAT16,
        onnx.TensorProto.INT64,
    }


def test_a_lowered_16_bit_export_passes_too(checkpoint: Checkpoint, tmp_path: Path) -> None:
    written = exported(checkpoint, ExportConfig(precision="fp16", target="cpu"), tmp_path)
    assert "Conv" in operators(written)


@pytest.mark.parametrize(
    ("precision", "error", "message"),
    [
        ("fp16", ParityError, r"PSNR of pixels is \d+.\d dB; at least 110 is needed"),
        ("int8", ExportError, r"loses too much in each layer .*\(2\).* and 113 are needed"),
    ],
)
def test_an_export_beyond_its_tolerance_is_refused(
    checkpoint: Checkpoint, tmp_path: Path, precision: str, error: type[Exception], message: str
) -> None:
    config = ExportConfig(precision=precision, tolerance_psnr=110)
    with pytest.raises(error, match=message):
        export_checkpoint(checkpoint, config, tmp_path / "g.onnx")
    assert not list(tmp_path.iterdir())


def test_a_loosened_tolerance_is_recorded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    config = ExportConfig(precision="int8", tolerance_psnr=20, tolerance_pixels=200)
    receipt = export_checkpoint(checkpoint, config, tmp_path / "g.onnx").receipt
    assert receipt.loosened
    assert (receipt.allowed.psnr, receipt.allowed.pixels) == (20, 200)


def test_a_tightened_tolerance_is_not_loosened() -> None:
    assert not ExportConfig(tolerance_images=1e-6, tolerance_psnr=100).loosened()


def test_a_generator_without_layers_to_quantize_is_refused() -> None:
    with pytest.raises(ExportError, match=r"no convolution before its last .*weights: none"):
        quantize(ModelProto(), 40)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"formats": ("gif",)},
            r"--format \('gif',\) is not allowed: it must be one of onnx, torch",
        ),
        ({"formats": ()}, "--format is missing"),
        (
            {"precision": "int4"},
            "--precision 'int4' is not allowed: it must be one of fp32, fp16",
        ),
        ({"target": "tpu"}, "--target 'tpu' is not allowed: it must be one of cpu, portable"),
        ({"precision": "int8", "target": "portable"}, "int8 needs --target cpu"),
        ({"formats": ("pt2",), "precision": "fp16"}, "pt2 has only --precision fp32"),
        ({"formats": ("onnx", "torchscript"), "target": "cpu"}, "torchscript has only"),
        ({"tolerance_psnr": -1}, "--tolerance-psnr -1 is not allowed"),
        ({"tolerance_mean_pixels": math.nan}, "--tolerance-mean-pixels nan is not allowed"),
    ],
)
def test_options_that_are_not_allowed_are_refused_before_any_work(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        ExportConfig(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "kind", "name"),
    [
        ({}, "onnx", "generator.onnx"),
        ({"target": "portable"}, "onnx", "generator-portable.onnx"),
        ({"precision": "int8"}, "onnx", "generator-int8.onnx"),
        ({"precision": "fp16"}, "onnx", "generator-fp16.onnx"),
        ({"precision": "fp16", "target": "cpu"}, "onnx", "generator-cpu-fp16.onnx"),
        ({}, "pt2", "generator.pt2"),
    ],
)
def test_files_of_different_kinds_have_different_names(
    settings: dict[str, str], kind: str, name: str
) -> None:
    assert ExportConfig(**settings).filename(kind) == name  # type: ignore[arg-type]


def test_the_old_target_cuda_is_portable_and_gives_a_warning(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert ExportConfig(target="cuda") == ExportConfig(target="portable")
    assert "--target cuda is now called portable" in caplog.text


def test_a_format_is_checked_where_the_file_is_made(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pt2 has only --precision fp32"):
        export_checkpoint(checkpoint, ExportConfig(precision="fp16"), tmp_path / "g.pt2", "pt2")


@given(
    npst.arrays(
        np.float32,
        npst.array_shapes(min_dims=2, max_dims=4, max_side=5),
        elements=st.floats(-1e3, 1e3, width=32),
    )
)
def test_quantized_weights_are_within_half_a_step(weight: np.ndarray) -> None:
    steps, scale = quantize_weight(weight)
    assert np.abs(steps.astype(int)).max() <= WEIGHT_LIMIT
    restored = steps * scale.reshape(-1, *[1] * (weight.ndim - 1)).astype(np.float64)
    error = np.abs(restored - weight).reshape(len(weight), -1).max(axis=1)
    assert (error <= scale * 0.5001).all()


def best_scale(values: np.ndarray) -> float:
    return quantization(Histogram.of([values])).scale


def test_values_of_both_signs_have_a_zero_point() -> None:
    found = quantization(Histogram.of([np.linspace(-1, 3, 10_000, dtype=np.float32)]))
    assert found.zero == 64
    assert found.scale == pytest.approx(4 / 255, rel=0.02)


def test_the_scale_of_even_values_covers_them_all() -> None:
    values = np.linspace(0, 8, 10_000, dtype=np.float32)
    assert best_scale(values) == pytest.approx(8 / 255, rel=0.02)


def test_the_scale_clips_a_single_far_value() -> None:
    values = np.append(np.linspace(0, 1, 1_000_000), 2.0).astype(np.float32)
    assert best_scale(values) < 1.5 / 255


def test_the_scale_of_nothing_but_zeros_is_one() -> None:
    assert best_scale(np.zeros(10, np.float32)) == 1
