"""Reference images of a foreign ONNX file: the file itself in ONNX Runtime, unoptimised."""

import math
from dataclasses import dataclass, replace

import numpy as np
from onnx import ModelProto

from wgan.errors import ExportError, ModelFileError
from wgan.export.config import LEVEL
from wgan.export.foreign.interface import Interface, scan_graph
from wgan.export.lowering.graph import AnyArray
from wgan.export.parity.extent import batch_sizes, seed_count
from wgan.export.parity.gate import CHUNK, REPEATED, Reference, in_chunks, proof_labels
from wgan.images import Images, to_pixels
from wgan.latents import Labels, Latents, latents_from_seeds
from wgan.model_file.foreign import ForeignOptions
from wgan.runtime.engine import EngineConfig
from wgan.runtime.feed import Feed
from wgan.runtime.model_session import ModelSession
from wgan.runtime.model_source import ModelSource
from wgan.runtime.signature import read_signature

REFERENCE = "ONNX Runtime without optimisations, on the original file"
"""Recorded in a receipt as what the images were compared with."""


@dataclass(frozen=True)
class ForeignFile:
    """A foreign generator in ONNX Runtime, without optimisations."""

    interface: Interface
    session: ModelSession

    @classmethod
    def open(cls, model: ModelProto, options: ForeignOptions) -> "ForeignFile":
        """Open a model whose weights are all inside it, and find its latents and images.

        Raises:
            ExportError: ONNX Runtime cannot run it.
            ModelFileError: it is not a generator.
            UsageError: an option is needed, or contradicts the file.
        """
        source = ModelSource(model.SerializeToString(), None)
        try:
            session = ModelSession("the file itself", source, EngineConfig("cpu", None, "none"))
        except ModelFileError as exc:
            raise ExportError(
                f"the file itself cannot be run here, so nothing can be proved (export it in"
                f" float32?): {exc}"
            ) from exc

        signature = read_signature(
            *session.interface(), scan_graph(model), None, options, session.run_one
        )
        main = signature.main
        interface = Interface(
            signature.inputs,
            Feed.of(signature.inputs).fixed,
            main.name,
            main.layout,
            main.shape,
            main.value_range,
        )
        return cls(interface, session)

    def raw(self, latents: Latents, labels: Labels | None) -> AnyArray:
        """Run latents `[n, latent_dim]`; the output is as the file gives it."""
        feed = Feed(self.interface.inputs, self.interface.fixed)
        try:
            result: AnyArray = self.session.run([self.interface.output], feed, latents, labels)[0]
        except ModelFileError as exc:
            raise ExportError(f"drawing {len(latents)} images fails: {exc}") from exc
        return result

    def images(self, latents: Latents, labels: Labels | None) -> Images:
        """Float images `[n, c, h, w]` in [-1, 1], by arithmetic that no graph does."""
        height, width, channels = self.interface.shape
        raw = self.raw(latents, labels).astype(np.float64)
        if self.interface.layout == "nhwc":
            raw = raw.transpose(0, 3, 1, 2)
        low, high = self.interface.value_range or (0.0, 255.0)
        if self.interface.value_range is None:
            raw = raw.clip(low, high)
        scaled = (raw - low) * (2 / (high - low)) - 1
        images: Images = scaled.reshape(-1, channels, height, width).astype(np.float32)
        return images

    def reference(self, seeds: int, operations: int = 0) -> Reference:
        """Draw the images that an optimised file must give. Raises ExportError.

        `operations` are those of an image, which limit their number as `seeds` do.
        """
        values, classes = math.prod(self.interface.shape), self.interface.classes
        drawn = range(seed_count(values, seeds, operations))
        batches = sum(batch_sizes(values, operations))
        latents = latents_from_seeds(drawn, self.interface.inputs.latent_dim)
        labels = proof_labels(drawn, classes, batches) if classes else None
        images = in_chunks(self.images, latents, labels)
        if not np.isfinite(images).all():
            raise ExportError("the file's images are not finite as it is")
        single = self.images(latents[:1], None if labels is None else labels[:1])
        allowed = LEVEL if self.interface.value_range is None else REPEATED
        if not np.allclose(images[:1], single, atol=allowed):
            raise ExportError(
                "the file's image of seed 0 depends on the other images of its batch, or differs"
                " from run to run: export it after  model.eval(), without random numbers"
            )
        optimized = self._optimized(latents[:CHUNK], None if labels is None else labels[:CHUNK])
        return Reference(
            latents,
            images,
            to_pixels(images),
            None,
            REFERENCE,
            labels,
            operations=operations,
            optimized=optimized,
        )

    def _optimized(self, latents: Latents, labels: Labels | None) -> Images | None:
        """Images of the file as ONNX Runtime opens it by default; None if it gives none."""
        try:
            session = self.session.reopen(self.session.content(), EngineConfig("cpu"))
            images = replace(self, session=session).images(latents, labels)
        except (ModelFileError, ExportError):
            return None
        return images if np.isfinite(images).all() else None
