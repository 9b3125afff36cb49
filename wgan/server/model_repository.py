"""The models that are served: loaded, warmed up, and replaced while requests go on."""

import asyncio
import functools
import hashlib
import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wgan.errors import ModelFileError, UsageError, WganError
from wgan.latents import Latents
from wgan.model_file.manifest import Manifest
from wgan.model_file.reading import read_bytes
from wgan.runtime import builtin
from wgan.runtime.generator import Generator
from wgan.runtime.verify import verify
from wgan.sandbox import probe
from wgan.server.batcher import Batcher, Outputs
from wgan.server.metrics import Metrics
from wgan.server.request_error import RequestError, not_found
from wgan.server.settings import Settings
from wgan.text import shorten

log = logging.getLogger("wgan.server")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Model:
    """A model that has drawn its first image."""

    name: str
    sha256: str  # of the file
    generator: Generator
    batcher: Batcher

    @property
    def version(self) -> str:
        """The training step: a number, as clients of the protocol expect, that grows."""
        return "1" if self.manifest is None else str(self.manifest.step)

    @property
    def manifest(self) -> Manifest | None:
        """What the file says of itself."""
        return self.generator.manifest


def name_files(arguments: Sequence[str]) -> dict[str, Path]:
    """Read `FILE` and `NAME=FILE` as names of models and where they stand.

    A file without a name is called by its stem; `builtin` is the generator that comes with wgan.
    An argument that is a file as it stands has no name in it, whatever its folders are called.

    Raises:
        UsageError: two have one name, or a name cannot stand in a URL.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not equals or Path(argument).is_file():
            name, file = Path(argument).stem, argument
        path = builtin.builtin_model() if file == builtin.NAME else Path(file)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"model name {name!r} is not allowed: letters, digits, '.', '_' and '-' are; give"
                " another as in  NAME=FILE"
            )
        if name in files:
            raise UsageError(
                f"two models are called {name}: {files[name]} and {path}; name them apart, as in"
                "  NAME=FILE"
            )
        files[name] = path
    return files


class ModelRepository:
    """All models of a server, by name. Used in the event loop's thread.

    Args:
        files: each model's file.
        settings: device, threads and limits.
        metrics: told of each run.
    """

    def __init__(self, files: Mapping[str, Path], settings: Settings, metrics: Metrics) -> None:
        self._files = dict(files)
        self._settings = settings
        self._metrics = metrics
        self._models: dict[str, Model] = {}
        self._reloading = asyncio.Lock()
        for name in files:
            waiting = functools.partial(self._waiting, name)
            metrics.begin(name)
            metrics.queue_images.labels(name).set_function(waiting)

    @property
    def ready(self) -> bool:
        """Whether every model has drawn its first image."""
        return len(self._models) == len(self._files)

    @property
    def models(self) -> list[Model]:
        """The models that are ready, in the order in which they were named."""
        return [self._models[name] for name in self._files if name in self._models]

    def is_ready(self, name: str, version: str | None = None) -> bool:
        """Whether a model can draw. Raises RequestError when there is no such model or version."""
        self._check_name(name)
        if name not in self._models:
            return False
        self.find(name, version)
        return True

    def find(self, name: str, version: str | None = None) -> Model:
        """The model `name`.

        Raises:
            RequestError: 404 for an unknown name or version, 503 before the model is ready.
        """
        self._check_name(name)
        if name not in self._models:
            raise RequestError(
                503, f"model {name} is still loading", "not_ready", {"Retry-After": "1"}
            )
        model = self._models[name]
        if version is not None and version != model.version:
            raise not_found(
                f"model {name} has no version {shorten(version)}: it has {model.version}"
            )
        return model

    def _check_name(self, name: str) -> None:
        if name not in self._files:
            raise not_found(f"there is no model {shorten(name)}: see /v1/models")

    async def load(self) -> None:
        """Load all models and draw an image with each. Raises WganError."""
        for name, path in self._files.items():
            data = await asyncio.to_thread(read_bytes, path)
            await _probe(path, data)
            self._publish(name, data, await asyncio.to_thread(self._open, path, data))

    async def reload(self) -> None:
        """Load the files that have changed; one that fails leaves its old model at work."""
        async with self._reloading:
            for name, path in self._files.items():
                try:
                    await self._reload_one(name, path)
                except WganError as exc:
                    log.error("model %s was not replaced: %s", name, exc)

    async def _reload_one(self, name: str, path: Path) -> None:
        data = await asyncio.to_thread(read_bytes, path)
        old = self._models.get(name)
        if old is not None and old.sha256 == hashlib.sha256(data).hexdigest():
            log.info("model %s is unchanged", name)
            return
        await _probe(path, data)
        await asyncio.to_thread(_prove, path, data)
        generator = await asyncio.to_thread(self._open, path, data)
        self._publish(name, data, generator)
        if old is not None:
            old.batcher.close()  # what waits for it is still drawn
            self._metrics.models.remove(name, old.version, old.sha256, old.generator.provider)

    def _open(self, path: Path, data: bytes) -> Generator:
        try:
            generator = Generator(data, self._settings.device, self._settings.threads)
        except ModelFileError as exc:
            raise ModelFileError(f"{path}: {exc}") from exc
        # The first run sets up kernels and memory, and shows that the model works.
        for size in {1, self._settings.batching.max_batch}:
            generator.sample(range(size), size)
        return generator

    def _publish(self, name: str, data: bytes, generator: Generator) -> None:
        batcher = Batcher(
            lambda latents, images, pixels: _draw(generator, latents, images, pixels),
            self._settings.batching,
            self._settings.limits.max_queue,
            lambda run: self._metrics.observe_run(name, run),
        )
        model = Model(name, hashlib.sha256(data).hexdigest(), generator, batcher)
        self._models[name] = model
        self._metrics.models.labels(name, model.version, model.sha256, generator.provider).set(1)
        log.info("model %s, version %s, runs on %s", name, model.version, generator.provider)

    def close(self) -> bool:
        """End the threads; a run that has begun is given a few seconds. Whether all have ended."""
        for model in self.models:
            model.batcher.close()
        ended = [model.batcher.join(5.0) for model in self.models]
        return all(ended)

    def _waiting(self, name: str) -> int:
        return self._models[name].batcher.waiting if name in self._models else 0


async def _probe(path: Path, data: bytes) -> None:
    try:
        await probe(data)
    except ModelFileError as exc:
        raise ModelFileError(f"{path}: {exc}") from exc


def _prove(path: Path, data: bytes) -> None:
    """Raise ModelFileError unless the file at `path` passes `wgan verify`, and still is `data`."""
    for check in verify(path):
        if check.passed is False:
            raise ModelFileError(f"{path} is not what was proved: {check}")
    if read_bytes(path) != data:
        raise ModelFileError(f"{path} changed while it was verified: send SIGHUP again")


def _draw(generator: Generator, latents: Latents, images: bool, pixels: bool) -> Outputs:
    """Draw what is asked for; a batch that is filled up at all is filled to a power of two."""
    n = len(latents)
    latents = generator.pad(latents, 1 << (n - 1).bit_length())
    if images and pixels:
        both = generator.run(latents)
        return Outputs(both[0][:n], both[1][:n])
    if images:
        return Outputs(generator.images(latents)[:n], None)
    return Outputs(None, generator.pixels(latents)[:n])
