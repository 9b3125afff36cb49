"""A generator in ONNX Runtime: latents or seeds in, images or pixels out."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.exported.model_file import read_manifest, read_model, scan_model
from wgan.images import Images, Pixels
from wgan.latents import latents as latents_of
from wgan.runtime.providers import active_provider
from wgan.runtime.session import Optimization, first_line, open_session, ort_errors
from wgan.runtime.signature import IMAGES, LATENTS, PIXELS, Value, read_signature

Latents = npt.NDArray[np.float32]
"""`[n, latent_dim]`, standard normal."""


class Generator:
    """An exported generator, ready to draw.

        with Generator("generator.onnx") as generator:
            pixels = generator.sample(range(64))    # (64, h, w, c) uint8

    Safe to share between threads: nothing changes after it is made, ONNX Runtime's `run` may be
    called from several threads at once, and each `stream` keeps its own place.

    Args:
        model: an ONNX file's path, or its bytes.
        device: "auto" (the best that works), or one of `wgan.runtime.providers.DEVICES`.
        threads: CPU threads of a run; by default as many as there are usable cores.
        optimization: how far ONNX Runtime may rewrite the graph.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe, or not a generator.
        DeviceError: the device was named and does not work.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: Path | str | bytes,
        device: str = "auto",
        threads: int | None = None,
        *,
        optimization: Optimization = "all",
    ) -> None:
        if threads is not None and threads < 1:
            raise UsageError(f"threads {threads} is not allowed: at least 1 is needed")
        name = "the model" if isinstance(model, bytes) else str(model)
        if isinstance(model, bytes):
            data, file = model, scan_model(model)
        else:
            data, file = read_model(Path(model))
        try:
            self.manifest = read_manifest(file)
            self._session = open_session(data, device, threads, optimization)
            self._signature = read_signature(
                [Value.of(argument) for argument in self._session.get_inputs()],
                [Value.of(argument) for argument in self._session.get_outputs()],
                self.manifest,
            )
        except ModelFileError as exc:
            raise ModelFileError(f"{name} cannot be used: {exc}") from exc
        self.provider = active_provider(self._session)

    @property
    def latent_dim(self) -> int:
        """How many numbers make a latent."""
        return self._signature.latent_dim

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of a picture."""
        return self._signature.height, self._signature.width, self._signature.channels

    def images(self, latents: Latents) -> Images:
        """Draw float images in one run: `[n, latent_dim]` -> `[n, c, h, w]` in [-1, 1].

        Raises:
            UsageError: the latents have another shape.
            ModelFileError: ONNX Runtime failed, or the graph gave something else than it said.
        """
        images: Images = self._run([IMAGES], latents)[0]
        return images

    def pixels(self, latents: Latents) -> Pixels:
        """Draw pixels in one run: `[n, latent_dim]` -> `[n, h, w, c]` uint8; raises as `images`."""
        pixels: Pixels = self._run([PIXELS], latents)[0]
        return pixels

    def run(self, latents: Latents) -> tuple[Images, Pixels]:
        """Draw images and their pixels in one run; shapes and errors as in `images`, `pixels`."""
        images, pixels = self._run([IMAGES, PIXELS], latents)
        return images, pixels

    def sample(self, seeds: Sequence[int], batch_size: int = 64) -> Pixels:
        """Draw the pictures of `seeds`: `[len(seeds), h, w, c]` uint8, in the order of the seeds.

        Raises:
            UsageError: no seeds, a seed outside 0 to 2**32 - 1, or a batch of less than 1.
            ModelFileError: as `images`.
        """
        return np.concatenate(list(self.stream(seeds, batch_size)))

    def stream(self, seeds: Sequence[int], batch_size: int = 64) -> Iterator[Pixels]:
        """Draw the pictures of `seeds` a batch at a time, the last one smaller; as `sample`.

        A `range` of seeds takes no memory, however long.
        """
        if batch_size < 1:
            raise UsageError(f"batch size {batch_size} is not allowed: at least 1 is needed")
        if not len(seeds):
            raise UsageError("no seeds were given: at least one is needed")
        return self._batches(seeds, batch_size)

    def _batches(self, seeds: Sequence[int], batch_size: int) -> Iterator[Pixels]:
        for start in range(0, len(seeds), batch_size):
            yield self.pixels(latents_of(seeds[start : start + batch_size], self.latent_dim))

    def _run(self, outputs: list[str], latents: Latents) -> list[Any]:
        latents = np.ascontiguousarray(latents, dtype=np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim or not len(latents):
            raise UsageError(
                f"latents of shape {list(latents.shape)} are not allowed: this generator takes"
                f" [n, {self.latent_dim}], n at least 1"
            )
        try:
            results: list[Any] = self._session.run(outputs, {LATENTS: latents})
        except ort_errors() as exc:
            raise ModelFileError(f"ONNX Runtime cannot run the model: {first_line(exc)}") from exc
        for name, result in zip(outputs, results, strict=True):
            self._check(name, result, len(latents))
        return results

    def _check(self, name: str, result: Any, n: int) -> None:
        """What a graph declares of its outputs and what it then gives may differ."""
        height, width, channels = self.picture_shape
        shape = (n, channels, height, width) if name == IMAGES else (n, height, width, channels)
        if result.shape != shape:
            raise ModelFileError(
                f"the model's output {name} has the shape {list(result.shape)}, not {list(shape)}"
            )

    def close(self) -> None:
        """Let go of the session and its memory; nothing can be drawn afterwards."""
        self._session = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
