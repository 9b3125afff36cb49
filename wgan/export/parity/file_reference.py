"""Reference images of a foreign ONNX file: the file itself in ONNX Runtime, unoptimised."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto

from wgan.errors import ExportError, ModelFileError, UsageError
from wgan.export.foreign.interface import CHANNELS, Interface
from wgan.export.lowering.graph import AnyArray
from wgan.export.parity.gate import CHUNK, Reference, seed_count
from wgan.images import Images, to_pixels
from wgan.latents import Latents, latents_from_seeds
from wgan.runtime.engine import open_session, run_session
from wgan.runtime.signature import SIDE_LIMIT
from wgan.stop import check_stop

REFERENCE = "ONNX Runtime without optimisations, on the original file"
"""Recorded in a receipt as what the images were compared with."""


@dataclass(frozen=True)
class ForeignFile:
    """A foreign generator in ONNX Runtime, one thread, no optimisations."""

    interface: Interface
    session: Any

    @classmethod
    def open(cls, model: ModelProto, interface: Interface) -> "ForeignFile":
        """Open a model whose weights are all inside it. Raises ExportError."""
        try:
            session = open_session(model.SerializeToString(), "cpu", None, "none")
        except ModelFileError as exc:
            raise ExportError(
                f"the file itself cannot be run here, so nothing can be proved (export it in"
                f" float32?): {exc}"
            ) from exc
        return cls(interface, session)

    def raw(self, latents: Latents) -> AnyArray:
        """Run latents `[n, latent_dim]`; the output is as the file gives it."""
        batch = self.interface.batch or len(latents)
        parts = []
        for start in range(0, len(latents), batch):
            part = latents[start : start + batch]
            padded = np.pad(part, ((0, batch - len(part)), (0, 0)))
            parts.append(self._run(padded)[: len(part)])
        return np.concatenate(parts)

    def image_shape(self, given: tuple[int, int, int] | None) -> tuple[int, int, int]:
        """Height, width and channels: given, or those of one image.

        Raises:
            ExportError: the output is not images.
            UsageError: the given shape does not fit.
        """
        shape = self.raw(np.zeros((1, self.interface.latent_dim), np.float32)).shape[1:]
        if given is not None:
            if math.prod(given) != math.prod(shape):
                raise UsageError(
                    f"--image-shape {'x'.join(map(str, given))} does not fit the file's images,"
                    f" {list(shape)} each"
                )
            return given
        if len(shape) == 2:
            found = (*shape, 1)
        elif len(shape) == 3 and shape[0] in CHANNELS:
            found = (shape[1], shape[2], shape[0])
        elif len(shape) == 3 and shape[2] in CHANNELS:
            found = shape
        else:
            raise UsageError(
                f"the file's images are {list(shape)} each: say what they are with  --image-shape"
                " HEIGHTxWIDTHxCHANNELS, as in 28x28x1"
            )
        if max(found) > SIDE_LIMIT:
            raise ExportError(f"the file's images are {found[1]} wide and {found[0]} high")
        return found[0], found[1], found[2]

    def images(self, latents: Latents, shape: tuple[int, int, int]) -> Images:
        """Float images `[n, c, h, w]` in [-1, 1], by arithmetic that no graph does."""
        height, width, channels = shape
        raw = self.raw(latents).astype(np.float64)
        if raw.ndim == 4 and raw.shape[1] not in CHANNELS and raw.shape[3] == channels:
            raw = raw.transpose(0, 3, 1, 2)
        low, high = self.interface.value_range or (0.0, 255.0)
        scaled = (raw - low) * (2 / (high - low)) - 1
        images: Images = scaled.reshape(-1, channels, height, width).astype(np.float32)
        return images

    def reference(self, shape: tuple[int, int, int], seeds: int) -> Reference:
        """Draw the images that an optimised file must give. Raises ExportError."""
        count = seed_count(math.prod(shape), seeds)
        latents = latents_from_seeds(range(count), self.interface.latent_dim)
        parts = []
        for start in range(0, count, CHUNK):
            check_stop()
            parts.append(self.images(latents[start : start + CHUNK], shape))
        images = np.concatenate(parts)
        if not np.isfinite(images).all():
            raise ExportError("the file's images are not finite as it is")
        if not np.allclose(images[:1], self.images(latents[:1], shape), atol=1e-3):
            raise ExportError(
                "the file's image of seed 0 depends on the other images of its batch, or differs"
                " from run to run: export it after  model.eval(), without random numbers"
            )
        return Reference(latents, images, to_pixels(images), None, REFERENCE)

    def _run(self, latents: Latents) -> AnyArray:
        interface = self.interface
        rows = latents.astype(interface.latents.dtype)
        rows = rows.T if interface.batch_axis else rows.reshape(-1, *interface.axes)
        feed = {interface.latents.name: np.ascontiguousarray(rows)}
        for name, value in interface.fixed.items():
            repeated = [len(latents)] + [1] * (value.ndim - 1)
            feed[name] = np.tile(value, repeated) if name in interface.per_image else value
        try:
            result: AnyArray = run_session(self.session, [interface.output.name], feed)[0]
        except ModelFileError as exc:
            raise ExportError(f"the file itself fails on a batch of {len(latents)}: {exc}") from exc
        return result
