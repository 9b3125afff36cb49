"""A generator for LiteRT, formerly TensorFlow Lite: Android, iOS and small devices.

One image at a time: LiteRT plans its memory for a fixed batch. The signature `serving_default`
takes `latents` float32 [1, latent_dim], with classes also `labels` int32 [1], and gives `images`
float32 [1, c, h, w] in [-1, 1].
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from torch import Tensor, nn

from wgan.errors import ParityError, needs_extra
from wgan.export.config import ExportConfig
from wgan.export.draft import ExportDraft
from wgan.export.formats import example_inputs, export_errors, silenced
from wgan.export.parity.engines import Engine, Input
from wgan.host import usable_cores
from wgan.images import Images, Pixels, to_pixels
from wgan.model_file import IMAGES, LABELS, LATENTS
from wgan.model_file.archive import append_manifest
from wgan.text import first_line

PROVIDER = "LiteRT"
"""Recorded in the receipt in place of a provider of ONNX Runtime."""

SIGNATURE = "serving_default"

Value = TypeVar("Value", Tensor, npt.NDArray[Any])


class NamedOutput(nn.Module):
    """A generator whose output has the name by which callers of a signature find it."""

    def __init__(self, generator: nn.Module) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, latents: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Generate images: `[1, latent_dim]` -> `{"images": [1, c, h, w]}`."""
        inputs = (latents,) if labels is None else (latents, labels)
        return {IMAGES: self.generator(*inputs)}


def make_draft(
    generator: nn.Module, latent_dim: int, config: ExportConfig, classes: int = 0
) -> ExportDraft:
    """Convert a generator; `config` has no option for this format. Raises ExportError."""
    model = to_litert(generator, latent_dim, classes)
    return ExportDraft("litert", lambda manifest: append_manifest(model, manifest), litert_engines)


def to_litert(generator: nn.Module, latent_dim: int, classes: int = 0) -> bytes:
    """Convert `generator`, in eval mode and on the CPU.

    Raises:
        ExportError: the generator cannot be converted.
        MissingExtra: litert-torch is not installed.
    """
    with needs_extra("export", "litert", purpose="exporting to LiteRT"), silenced():
        import litert_torch
    example = {name: rows[:1] for name, rows in _named(*example_inputs(latent_dim, classes))}
    with export_errors("exported to LiteRT"), silenced(), TemporaryDirectory() as folder:
        converted = litert_torch.convert(NamedOutput(generator).eval(), sample_kwargs=example)
        path = Path(folder, "generator.tflite")
        converted.export(str(path))
        return path.read_bytes()


def litert_engines(file: bytes) -> Iterator[Engine]:
    """Run a file in LiteRT's interpreter: with its optimised kernels (XNNPACK), and without.

    Raises:
        ParityError: the interpreter cannot open the file.
    """
    with needs_extra("export", "litert", purpose="checking a LiteRT export"), silenced():
        from ai_edge_litert.interpreter import OpResolverType
    kernels = {
        "all": OpResolverType.AUTO,
        "none": OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    }
    for optimization, resolver in kernels.items():
        for threads in sorted({1, usable_cores()}, reverse=True):
            yield Engine(PROVIDER, _Interpreter(file, resolver, threads), optimization, threads)


class _Interpreter:
    """Generates images one by one: `run` of an engine."""

    def __init__(self, file: bytes, resolver: Any, threads: int) -> None:
        from ai_edge_litert.interpreter import Interpreter

        try:
            with silenced():
                interpreter = Interpreter(
                    model_content=file,
                    num_threads=threads,
                    experimental_op_resolver_type=resolver,
                )
                interpreter.allocate_tensors()
                self._run = interpreter.get_signature_runner(SIGNATURE)
        except (ValueError, RuntimeError) as exc:
            raise ParityError(f"LiteRT cannot open the export: {first_line(exc, 200)}") from exc

    def __call__(self, *inputs: Input) -> tuple[Images, Pixels]:
        arrays = [each.astype(np.int32) if each.dtype == np.int64 else each for each in inputs]
        parts = []
        for row in range(len(arrays[0])):
            one = {name: rows[row : row + 1] for name, rows in _named(*arrays)}
            try:
                parts.append(self._run(**one)[IMAGES].copy())  # LiteRT uses its memory again
            except (ValueError, RuntimeError) as exc:
                raise ParityError(f"LiteRT cannot run the export: {first_line(exc, 200)}") from exc
        images: Images = np.concatenate(parts)
        return images, to_pixels(images)


def _named(*inputs: Value) -> Iterator[tuple[str, Value]]:
    """Pair inputs with their names; labels there are only with classes."""
    return zip((LATENTS, LABELS), inputs, strict=False)
