"""A generator in ONNX Runtime: latents or seeds in, images or pixels out."""

import dataclasses
import functools
import hashlib
import logging
import operator
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from wgan.errors import ModelFileError, UsageError
from wgan.image_shape import PIXEL_CHANNELS, channels_text
from wgan.images import Images, Pixels, collect, encode, enlarge, grid, to_pixels, viewable
from wgan.latents import ClassInput, Labels, Latents, check_seed
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.reading import read_manifest
from wgan.model_file.value_range import ValueRange
from wgan.options import check_value
from wgan.runtime.class_blending import ClassBlending
from wgan.runtime.config import DEFAULT_FRAMES, SampleConfig
from wgan.runtime.engine import EngineConfig, Optimization
from wgan.runtime.feed import Feed
from wgan.runtime.labels import GivenLabels, check_labels, make_labelling
from wgan.runtime.latent_sources import InterpolatedLatents, LatentSource, SeedLatents
from wgan.runtime.model_session import ModelSession, pad
from wgan.runtime.model_source import (
    check_seeds_count,
    find_model,
    is_named,
    scan_source,
    verify_checksum,
)
from wgan.runtime.signature import ImageOutput, read_signature
from wgan.text import shorten

PREVIEW_IMAGES = 16
"""Images that a notebook shows for a generator."""

PREVIEW_SIDE = 64
"""Pixels to which smaller ones of them are enlarged."""


class Generator:
    """An exported generator, opened in ONNX Runtime.

        with Generator("generator.onnx") as generator:
            pixels = generator.sample(64)    # of seeds 0 to 63: (64, h, w, c) uint8
        cats = generator.sample(64, labels="cat")    # of a generator with classes

    Threads may share one: it does not change after construction, ONNX Runtime's `run` is
    thread-safe, and each `stream` has its own position. It can be pickled, by its path or its
    bytes, and a forked process, such as a worker of a DataLoader, opens the model again.

    Args:
        model: an ONNX file's path or its bytes; a run's folder, for its newest export; a folder
            from `wgan publish`; "hf://USER/NAME", for such a folder on the Hugging Face Hub, which
            is downloaded; "builtin", for the generator that is installed with wgan; None for the
            latest export in this folder, as `wgan sample` takes it. A generator from another
            project works too, with `foreign` where its graph is not clear (see
            docs/bring-your-own.md).
        device: "auto" (the best that works), or one of `wgan.runtime.engine.DEVICES`.
        threads: CPU threads of a run; by default the number of usable cores.
        value_range: the values of black and white, for another project's float images if the
            graph does not say; short for `foreign=ForeignOptions(value_range=...)`.
        foreign: what another project's file does not say: `wgan.runtime.ForeignOptions`.
        optimization: how far ONNX Runtime may rewrite the graph.
        allow_random: open another project's file that draws random numbers itself, or has batch
            norm in training mode, with a warning: its images depend on more than their seed.
        checked: refuse a file whose content does not match its manifest's checksum, or whose
            operators say that an image depends on more than its seed.
        compute: precision of the computation, "fp32", or "bf16" with the device "openvino".

    Attributes:
        manifest: the file's manifest, None for a file from another project.
        provider: ONNX Runtime's execution provider that runs.

    Raises:
        ModelFileError: the file is missing, damaged, unsafe, or not a generator, or there is no
            export yet.
        RunError: the folder is not a run.
        UsageError: an argument is not allowed, or `value_range` is needed.
        DeviceError: the device was named and does not work.
        MissingExtra: onnxruntime is not installed.
    """

    def __init__(
        self,
        model: Path | str | bytes | None = None,
        device: str = "auto",
        threads: int | None = None,
        *,
        value_range: ValueRange | None = None,
        foreign: ForeignOptions | None = None,
        optimization: Optimization = "all",
        checked: bool = True,
        allow_random: bool = False,
        compute: str = "fp32",
    ) -> None:
        check_value(SampleConfig, "threads", threads)
        self._name = "the model"
        if not isinstance(model, bytes):
            path = find_model(model)
            self._name = str(model if model is not None and is_named(model) else path)
            model = path
        source, file = scan_source(model)
        config = EngineConfig(device, threads, optimization, compute)
        foreign = foreign or ForeignOptions()
        if value_range is not None:
            foreign = dataclasses.replace(foreign, value_range=value_range)
        self._arguments: dict[str, Any] = {
            "foreign": foreign,
            "checked": checked,
            "allow_random": allow_random,
        }
        try:
            self.manifest = read_manifest(file)
            if self.manifest is None and checked:
                check_seeds_count(file, allow_random=allow_random)
            with verify_checksum(source, self.manifest if checked else None):
                self._session = ModelSession(self._name, source, config)
                self._signature = read_signature(
                    *self._session.interface(), file, self.manifest, foreign, self._session.run_one
                )
                self._feed = Feed.of(self._signature.inputs)
                self._class_blending = ClassBlending(
                    self._session, self._feed, file.tables, self._signature.main.name
                )
        except ModelFileError as exc:
            if f"{self._name} cannot be used" in str(exc):  # the message names the file already
                raise
            wide = {value.type for value in file.inputs} & {"tensor(double)", "tensor(bfloat16)"}
            if wide or "bfloat16" in str(exc):  # for which ONNX Runtime lacks most operators
                exc = ModelFileError(f"{exc}; export it in float32")
            raise ModelFileError(f"{self._name} cannot be used: {exc}") from exc
        self.provider = self._session.provider
        self.image_shape = self._signature.main.shape

    @property
    def latent_dim(self) -> int:
        """Length of a latent."""
        return self._signature.inputs.latent_dim

    @property
    def latent_shape(self) -> tuple[int, ...]:
        """Axes of one image's latents as the graph takes them, of `latent_dim` numbers."""
        return self._signature.inputs.axes

    @property
    def latent_input(self) -> str:
        """Name of the graph's input that takes the latents."""
        return self._signature.inputs.latents.name

    @functools.cached_property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes, by label; () for a generator without classes.

        Another project's file has numbers as names.
        """
        if self.manifest is not None:
            return self.manifest.classes
        labels = self._signature.inputs.labels
        return () if labels is None else tuple(map(str, range(labels.classes)))

    @property
    def fixed_batch(self) -> int | None:
        """The batch size that an exporter has frozen in the graph; None if it is free."""
        return self._signature.inputs.batch

    @property
    def default_batch_size(self) -> int:
        """Images in a run where the caller gives no number.

        On a CPU a batch of 64 is a tenth faster than 16 and takes 1.4 times the memory
        (docs/performance.md); a short process starts and ends sooner with 16. A GPU needs more
        work at once.
        """
        return 16 if self._session.runs_on_cpu else 64

    @functools.cached_property
    def model_sha256(self) -> str:
        """SHA-256 of the model's bytes, with weights in other files, in hexadecimal."""
        if self.manifest is None:
            return hashlib.sha256(self.content()).hexdigest()
        return self._session.source.sha256()

    def images(self, latents: Latents, labels: ClassInput | None = None) -> Images:
        """Generate float images in one run: `[n, latent_dim]` -> `[n, c, h, w]` in [-1, 1].

        A generator with classes needs `labels`, int64 `[n]`, or class weights `[n, classes]`, whose
        rows have the sum 1, for images between classes. Images of a model that outputs only pixels
        have 256 levels.

        Raises:
            UsageError: the latents or labels have another shape, there is no such class, or the
                model cannot blend classes.
            ModelFileError: ONNX Runtime failed, or the output differs from its declaration.
        """
        output = self._signature.main
        return output.images(self._run([output], latents, labels)[0])

    def pixels(self, latents: Latents, labels: ClassInput | None = None) -> Pixels:
        """Generate pixels in one run: `[n, latent_dim]` -> `[n, h, w, c]` uint8; see `images`."""
        output = self._signature.pixels or self._signature.main
        return output.pixels(self._run([output], latents, labels)[0])

    def run(self, latents: Latents, labels: ClassInput | None = None) -> tuple[Images, Pixels]:
        """Generate images and their pixels in one run; shapes and errors as in `images`."""
        images, pixels = self._signature.images, self._signature.pixels
        if images is None or pixels is None:
            generated = self.images(latents, labels)
            return generated, to_pixels(generated)
        raw = self._run([images, pixels], latents, labels)
        return images.images(raw[0]), pixels.pixels(raw[1])

    def content(self) -> bytes:
        """Return the model's bytes, with all its weights.

        Raises:
            ModelFileError: its file was changed.
        """
        return self._session.content()

    def values(self, name: str, latents: Latents, labels: Labels | None = None) -> npt.NDArray[Any]:
        """Compute any value of the graph, such as a layer's output; this opens the model again.

        Raises:
            ModelFileError: ONNX Runtime failed.
        """
        session = self._session.with_outputs([name])
        return session.run([name], self._feed, latents, labels)[0]

    def sample(
        self,
        seeds: int | Sequence[int],
        batch_size: int | None = None,
        *,
        labels: GivenLabels | None = None,
        truncation: float = 1.0,
    ) -> Pixels:
        """Generate the images of `seeds`: `[n, h, w, c]` uint8, in the order of the seeds.

        `wgan.images.to_pil` converts one of them to a Pillow image, `wgan.images.grid` arranges
        them.

        Args:
            seeds: the seeds; a number n means seeds 0 to n - 1.
            batch_size: images in a run, by default a number that suits the provider.
            labels: the class of all images, by name or index, or a list with one for each image;
                without it the image of seed k has the label k % classes.
            truncation: scales the latents: below 1 closer to the mean image, above 1 further from
                it, 1 is off.

        Raises:
            UsageError: no seeds, a seed outside 0 to 2**32 - 1, no such class, or another value
                not allowed.
            ModelFileError: as `images`.
        """
        seeds = _seeds(seeds)
        batches = self.stream(seeds, batch_size, labels=labels, truncation=truncation)
        return collect(batches, len(seeds), self.image_shape)

    def stream(
        self,
        seeds: int | Sequence[int],
        batch_size: int | None = None,
        *,
        labels: GivenLabels | None = None,
        truncation: float = 1.0,
    ) -> Iterator[Pixels]:
        """Yield the images of `seeds` batch by batch, the last one smaller; see `sample`.

        A `range` of seeds takes no memory, however long.
        """
        check_value(SampleConfig, "truncation", truncation)
        seeds = _seeds(seeds)
        labelling = make_labelling(self.classes, labels, len(seeds))
        source = SeedLatents(truncation, seeds, self.latent_dim, labelling=labelling)
        return self._stream(source, batch_size)

    def interpolate(
        self,
        seeds: Sequence[int],
        frames: int | None = None,
        batch_size: int | None = None,
        *,
        labels: GivenLabels | None = None,
        truncation: float = 1.0,
    ) -> Pixels:
        """Generate a closed path through the images of `seeds`: `[frames, h, w, c]` uint8.

        Frame 0 is the first seed's image; from the last of the frames, 120 by default, the path
        returns to it. Labels are one for the whole path, by default that of the first seed, or a
        list with one for each seed: then the frames between two seeds are between their classes too
        (`blend_classes`). Other arguments and errors as in `sample`.
        """
        check_value(SampleConfig, "frames", frames)
        check_value(SampleConfig, "truncation", truncation)
        frames = frames or DEFAULT_FRAMES
        seeds = _seeds(seeds)
        labelling = make_labelling(self.classes, labels, len(seeds), "seeds")
        source = InterpolatedLatents(
            truncation, seeds, self.latent_dim, frames, labelling=labelling
        )
        return collect(
            self._stream(self.blend_classes(source), batch_size), frames, self.image_shape
        )

    def blend_classes(self, path: InterpolatedLatents) -> InterpolatedLatents:
        """Return a path whose class changes evenly from seed to seed, if it changes.

        Where the model cannot blend classes, a warning of the logger `wgan` says so and the class
        changes at the seeds' own images.
        """
        if not path.changes_class:
            return path
        try:
            self._class_blending.open()
        except UsageError as exc:
            logging.getLogger("wgan").warning("the class changes in steps: %s", exc)
            return path
        return dataclasses.replace(path, blends_classes=True)

    def _stream(self, source: LatentSource, batch_size: int | None) -> Iterator[Pixels]:
        check_value(SampleConfig, "batch_size", batch_size)
        size = batch_size or self.default_batch_size

        def batches() -> Iterator[Pixels]:  # so that the arguments are checked before the first one
            for start in range(0, len(source), size):
                part = range(start, min(start + size, len(source)))
                padded = self.pad(source.latents(part), source.class_input(part), size)
                yield self.pixels(*padded)[: len(part)]

        return batches()

    def pad(
        self, latents: Latents, labels: ClassInput | None, batch_size: int
    ) -> tuple[Latents, ClassInput | None]:
        """Pad a short batch with zeros where the provider works better with a single size.

        A GPU's libraries plan a convolution for each new batch size, and may choose another
        algorithm, whose last bit differs. On the CPU an image is the same in any batch and memory
        does not grow with new sizes, so padding would only cost time.
        """
        if len(latents) >= batch_size or self._session.runs_on_cpu:
            return latents, labels
        return pad(latents, batch_size), None if labels is None else pad(labels, batch_size)

    def _run(
        self, outputs: list[ImageOutput], latents: Latents, labels: ClassInput | None
    ) -> list[Any]:
        """Run the graph and check the shapes and values of its outputs."""
        latents = np.ascontiguousarray(latents, dtype=np.float32)
        if latents.ndim != 2 or latents.shape[1] != self.latent_dim or not len(latents):
            raise UsageError(
                f"latents of shape {list(latents.shape)} are not allowed: this generator takes"
                f" [n, {self.latent_dim}], n at least 1"
            )
        if not np.isfinite(latents).all():
            raise UsageError("the latents hold a value that is not finite")
        labels = check_labels(labels, len(latents), len(self.classes))
        names = [output.name for output in outputs]
        results = (
            self._session.run(names, self._feed, latents, labels)
            if labels is None or labels.ndim == 1
            else self._class_blending.run(names, latents, labels)
        )
        for output, result in zip(outputs, results, strict=True):
            fault = None
            if not output.fits(result.shape, len(latents)):
                expected = [len(latents), *(output.axes or self.image_shape)]
                fault = f"the shape {list(result.shape)}, not {expected}"
            elif result.dtype != np.uint8 and not np.isfinite(result).all():
                fault = "values that are not finite"
            if fault:
                raise ModelFileError(
                    f"{self._name} cannot be used: its output {output.name} has {fault}"
                )
        return results

    def close(self) -> None:
        """Release the session and its memory; the generator cannot be used afterwards."""
        self._class_blending.close()
        self._session.close()

    def __reduce__(self) -> tuple[Any, ...]:
        config = dataclasses.asdict(self._session.config)
        make = functools.partial(Generator, **self._arguments, **config)
        return make, (self._session.source.content,)

    def __repr__(self) -> str:
        height, width, channels = self.image_shape
        kind = channels_text(channels)
        kind = f"{kind} images" if channels in PIXEL_CHANNELS else f"images of {kind}"
        trained = None if self.manifest is None else self.manifest.step
        step = "" if trained is None else f", step {trained:,}"
        state = "closed" if self._session.is_closed else self.provider
        return (
            f"<Generator of {width}x{height} {kind}:"
            f" {self._name}, latent_dim {self.latent_dim}{step}, {state}>"
        )

    def _repr_png_(self) -> bytes | None:
        """The images of a few seeds, which a notebook shows for the generator."""
        if self._session.is_closed:
            return None
        pixels = enlarge(viewable(self.sample(PREVIEW_IMAGES)), PREVIEW_SIDE)
        return encode(grid(pixels, (2, PREVIEW_IMAGES // 2)))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def _seeds(seeds: Any) -> Sequence[int]:
    """Return the seeds; a number n means 0 to n - 1.

    Raises:
        UsageError: there are none, or they are no integers.
    """
    found: Sequence[int]
    if isinstance(seeds, range):
        found = seeds
    elif isinstance(seeds, int | np.integer) and not isinstance(seeds, bool):
        if seeds < 0:
            raise UsageError(f"{seeds} images are not allowed: the number must be at least 1")
        check_seed(max(0, int(seeds) - 1))
        found = range(int(seeds))
    else:
        try:
            found = [_index(seed) for seed in seeds]
        except TypeError as exc:
            raise UsageError(
                f"seeds {shorten(seeds)} are not allowed: give a number of images, or integers in a"
                " list or range"
            ) from exc
    if not found:
        raise UsageError("no seeds were given: at least one is needed")
    return found


def _index(seed: Any) -> int:
    """Return an integer of any type. Raises TypeError for others, and for a truth value."""
    if isinstance(seed, bool):
        raise TypeError("a truth value is no seed")
    return operator.index(seed)
