"""Model repository: the served models, loaded, warmed up, and replaced without downtime."""

import asyncio
import contextlib
import dataclasses
import functools
import hashlib
import logging
import re
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np

from wgan.errors import ModelFileError, UsageError, WganError
from wgan.files import is_file, is_folder
from wgan.latents import Labels, Latents
from wgan.model_file import IMAGES, PIXELS
from wgan.model_file.foreign import ForeignOptions
from wgan.model_file.manifest import METADATA_KEY
from wgan.model_file.reading import read_complete, scan_model
from wgan.runtime.config import VerifyConfig
from wgan.runtime.generator import Generator
from wgan.runtime.hub import hub_name, is_hub_address
from wgan.runtime.latent_sources import load_directions
from wgan.runtime.model_source import find_model
from wgan.runtime.verification import verify
from wgan.sandbox import probe
from wgan.server.batcher import Batcher, Outputs
from wgan.server.config import ServeConfig
from wgan.server.messages import ModelInfo, RequestError, not_found
from wgan.server.telemetry import Metrics
from wgan.stop import Stopped
from wgan.text import printable, shorten

logger = logging.getLogger("wgan.server")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")

T = TypeVar("T")

_JOIN_SECONDS = 5.0
"""How long a run that has started may delay the end of the process."""


@dataclass(frozen=True)
class Model:
    """A loaded model that has generated its first image."""

    info: ModelInfo
    generator: Generator
    batcher: Batcher
    directions: Latents  # [k, latent_dim], which requests may move images along


def model_files(arguments: Sequence[str]) -> dict[str, Path]:
    """Read `FILE` and `NAME=FILE` as model names and paths; no arguments mean the latest export.

    FILE is as for `wgan.runtime.model_source.find_model`, the default name its stem, or NAME of
    hf://USER/NAME. An argument that is an existing file or folder is not split at "=", whatever
    it is called.

    Raises:
        UsageError: two models have the same name, or a name is not allowed in a URL.
    """
    files: dict[str, Path] = {}
    for argument in arguments or [str(find_model(None))]:
        name, equals, file = argument.partition("=")
        if not equals or is_file(Path(argument)) or is_folder(Path(argument)):
            name, file = _default_name(argument), argument
        path = find_model(file)
        if not _NAME.fullmatch(name):
            raise UsageError(
                f"model name {name!r} is not allowed: use letters, digits, '.', '_' and '-'; set"
                " the name with  NAME=FILE"
            )
        if name in files:
            raise UsageError(
                f"two models are called {name}: {files[name]} and {path}; rename one with"
                "  NAME=FILE"
            )
        files[name] = path
    return files


def _default_name(argument: str) -> str:
    if is_hub_address(argument):
        return hub_name(argument)
    path = Path(argument).absolute()  # so that "." has the name of the folder
    return path.name if is_folder(path) else path.stem


def direction_files(arguments: Sequence[str], models: Collection[str]) -> dict[str, Path]:
    """Read `FILE` and `NAME=FILE` as the directions of models; a single model needs no NAME.

    Raises:
        UsageError: there is no such model, or one has two files.
    """
    files: dict[str, Path] = {}
    for argument in arguments:
        name, equals, file = argument.partition("=")
        if not equals or is_file(Path(argument)):
            name, file = next(iter(models)) if len(models) == 1 else "", argument
        if name not in models:
            raise UsageError(
                f"--directions {argument} names none of the models {', '.join(models)}: write"
                "  --directions NAME=FILE"
            )
        if name in files:
            raise UsageError(f"model {name} has two files of directions: give one")
        files[name] = Path(file)
    return files


class ModelRepository:
    """All models of a server, by name. Use it in the event loop's thread.

    Raises:
        UsageError: `config.directions` names another model.
    """

    def __init__(self, files: Mapping[str, Path], config: ServeConfig, metrics: Metrics) -> None:
        self._files = dict(files)
        self._direction_files = direction_files(config.directions, self._files)
        self._config = config
        self._metrics = metrics
        self._models: dict[str, Model] = {}
        self._loading = asyncio.Lock()
        self._loading_threads = 0
        for name in files:
            metrics.add_model(name, functools.partial(self._waiting, name))

    @property
    def ready(self) -> bool:
        """Whether every model has generated its first image."""
        return len(self._models) == len(self._files)

    @property
    def models(self) -> list[Model]:
        """The models that are ready, in the order of the command line."""
        return [self._models[name] for name in self._files if name in self._models]

    def find(self, name: str, version: str | None = None) -> Model:
        """Return the model `name`.

        Raises:
            RequestError: 404 for an unknown name or version, 503 before the model is ready.
        """
        if name not in self._files:
            raise not_found(f"there is no model {shorten(name)}: see /v1/models")
        if name not in self._models:
            raise RequestError(
                503, f"model {name} is still loading", "not_ready", {"Retry-After": "1"}
            )
        model = self._models[name]
        if version is not None and version != model.info.version:
            raise not_found(
                f"model {name} has no version {shorten(version)}: it has {model.info.version}"
            )
        return model

    def is_ready(self, name: str, version: str | None = None) -> bool:
        """Whether the model `name` is ready. Raises RequestError (404) as `find` does."""
        try:
            self.find(name, version)
        except RequestError as exc:
            if exc.status != 503:
                raise
            return False
        return True

    async def load(self) -> None:
        """Load all models and generate an image with each. Raises WganError.

        Options for files of other projects are for those among them.
        """
        async with self._loading:
            for name, path in self._files.items():
                await self._load_one(name, path)
        if all(model.generator.manifest is not None for model in self.models):
            self._config.check_own()

    async def reload(self) -> None:
        """Load the files that have changed; if one fails, its old model stays."""
        async with self._loading:
            for name, path in self._files.items():
                try:
                    await self._load_one(name, path)
                except (WganError, Stopped) as exc:
                    logger.error("model %s was not replaced: %s", name, exc)

    async def _load_one(self, name: str, path: Path) -> None:
        data = await asyncio.to_thread(read_complete, path)
        is_own = METADATA_KEY in scan_model(data).metadata
        foreign = ForeignOptions() if is_own else self._config.foreign
        sha256 = hashlib.sha256(data).hexdigest()
        old = self._models.get(name)
        if old is not None and old.info.sha256 == sha256:
            directions = await self._in_thread(self._read_directions, name, old.generator)
            if np.array_equal(directions, old.directions):
                logger.info("model %s is unchanged", name)
                return
            info = msgspec.structs.replace(old.info, directions=len(directions))
            self._models[name] = dataclasses.replace(old, info=info, directions=directions)
            logger.info("model %s has new directions", name)
            return
        seconds = self._config.load_seconds
        try:
            async with asyncio.timeout(seconds):
                await probe(data, foreign.to_json())
                if old is not None:  # never replace a model that works by one that is wrong
                    await self._in_thread(_verify, path, data, foreign)
                generator = await self._in_thread(self._open, data, foreign)
                directions = await self._in_thread(self._read_directions, name, generator)
            info = _describe(name, sha256, generator, len(directions))
        except ModelFileError as exc:
            raise ModelFileError(f"{path}: {exc}") from exc
        except MemoryError:
            batch = self._config.max_batch
            raise WganError(f"{path}: out of memory: try a --max-batch below {batch}") from None
        except TimeoutError:
            raise ModelFileError(
                f"{path}: the model draws no images within {seconds:g} seconds, as"
                " --load-seconds allows"
            ) from None
        batcher = Batcher(
            functools.partial(_run, generator),
            self._config.max_batch,
            self._config.max_wait / 1000,
            self._config.max_queue,
            functools.partial(self._metrics.observe_run, name),
        )
        self._models[name] = Model(info, generator, batcher, directions)
        self._metrics.models.labels(name, info.version, sha256, info.provider).set(1)
        logger.info("model %s, version %s, runs on %s", name, info.version, info.provider)
        if old is not None:
            old.batcher.close()  # its queue is still served
            self._metrics.models.remove(name, old.info.version, old.info.sha256, old.info.provider)

    def _open(self, data: bytes, foreign: ForeignOptions) -> Generator:
        config = self._config
        generator = Generator(
            data, config.device, config.threads, foreign=foreign, compute=config.compute
        )
        # Warm-up: the first run sets up kernels and memory, and shows that the model works.
        for size in {1, self._config.max_batch}:
            generator.sample(range(size), size)
        return generator

    def _read_directions(self, name: str, generator: Generator) -> Latents:
        if name not in self._direction_files:
            return np.empty((0, generator.latent_dim), np.float32)
        return load_directions(self._direction_files[name], generator.latent_dim)

    def close(self) -> bool:
        """End the threads; returns whether all have ended within a few seconds."""
        for model in self.models:
            model.batcher.close()
        ended = [model.batcher.join(_JOIN_SECONDS) for model in self.models]
        return all(ended) and not self._loading_threads

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in a daemon thread: unlike asyncio's, it never delays the end."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def work() -> None:
            outcome: Callable[[], None]
            try:
                outcome = functools.partial(done.set_result, function(*args))
            except Exception as exc:  # noqa: BLE001 - raised to the caller
                outcome = functools.partial(done.set_exception, exc)
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(deliver, outcome)

        def deliver(outcome: Callable[[], None]) -> None:
            self._loading_threads -= 1
            if not done.cancelled():
                outcome()

        threading.Thread(target=work, name="wgan-load", daemon=True).start()
        self._loading_threads += 1
        return await done

    def _waiting(self, name: str) -> int:
        return self._models[name].batcher.waiting if name in self._models else 0


def _describe(name: str, sha256: str, generator: Generator, directions: int) -> ModelInfo:
    """Describe a model; its manifest without the golden images.

    Raises:
        ModelFileError: a text of the manifest is not Unicode, which no answer could hold.
    """
    version, fields = "1", None
    if (manifest := generator.manifest) is not None:
        version, fields = manifest.version, manifest.shown()
    shape = generator.image_shape  # height, width, channels
    info = ModelInfo(
        name, version, sha256, generator.provider, generator.latent_dim, *shape, directions,
        [printable(each) for each in generator.classes], fields,
    )  # fmt: skip
    try:
        msgspec.json.encode(info)
    except UnicodeEncodeError as exc:
        raise ModelFileError("its manifest has a text that is not Unicode") from exc
    return info


def _verify(path: Path, data: bytes, foreign: ForeignOptions) -> None:
    """Raise ModelFileError unless the file at `path` passes `wgan verify` and is still `data`."""
    for check in verify(VerifyConfig(file=path, **vars(foreign))):
        if check.passed is False:
            raise ModelFileError(f"the file fails wgan verify: {check}")
    if read_complete(path) != data:
        raise ModelFileError("the file changed while it was verified: send SIGHUP again")


def _run(
    generator: Generator, latents: Latents, labels: Labels | None, names: Collection[str]
) -> Outputs:
    """Run one batch, padded to a power of two where the provider needs few batch sizes."""
    n = len(latents)
    padded = generator.pad(latents, labels, 1 << (n - 1).bit_length())
    if len(names) == 2:
        images, pixels = generator.run(*padded)
        return {IMAGES: images[:n], PIXELS: pixels[:n]}
    if IMAGES in names:
        return {IMAGES: generator.images(*padded)[:n]}
    return {PIXELS: generator.pixels(*padded)[:n]}
