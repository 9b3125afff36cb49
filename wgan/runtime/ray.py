"""Seeds drawn on a Ray cluster into tar shards: a task for each shard, whichever worker is free.

A shard is written where its worker stands, into a folder that all machines share, and takes its
name when it is whole. So a worker that dies costs its shard's work and no more: the task goes to
another worker, which draws the shard from its beginning. Nothing but a shard's name says that it
is done, and an interrupted job goes on by drawing those that are missing.

`ray` is imported when a job begins, never on import.
"""

import functools
import itertools
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wgan.errors import DeviceError, ModelFileError, OutputError, UsageError, WganError, needs_extra
from wgan.files import discard_leftovers, open_lock
from wgan.progress import Progress
from wgan.runtime.generator import Generator
from wgan.runtime.image_output import ValueRange
from wgan.runtime.job import Job, Options
from wgan.runtime.latent_sources import Seeds
from wgan.runtime.threads import usable_cores
from wgan.runtime.writers import check_names
from wgan.runtime.writers.record import RECORD, begun_before, make_folder_here
from wgan.runtime.writers.tars import write_whole_tar
from wgan.stop import Stopped, check_stop
from wgan.text import first_line

SHARD_SIZE = 1000
"""Images in a shard where nobody says otherwise."""

RETRIES = 3
"""So often a shard is tried again whose worker died."""

WAITING = 2
"""Tasks that are handed to Ray at a time, for each core of the cluster."""

WAIT_S = 0.2
"""How long one wait for a finished shard may take."""

CONNECT_ATTEMPTS = 3
"""Ray gives a cluster that it starts 30 s, which a busy machine may miss."""

GPU_DEVICES = ("cuda", "tensorrt")

SHARDS = "shard-*.tar"

LOCK = ".wgan-lock"
"""Held while a command draws into a folder."""


@dataclass(frozen=True, kw_only=True)
class WorkerConfig:
    """How each worker draws; every worker makes its own generator of it.

    Raises:
        UsageError: a value is not allowed.
    """

    device: str = "auto"  # as for `Generator`
    threads: int = 1  # CPU threads of a worker; Ray is asked for as many cores
    value_range: ValueRange | None = None  # as for `Generator`
    shard_size: int = SHARD_SIZE  # images in a shard

    def __post_init__(self) -> None:
        if not 1 <= self.shard_size <= 10**6:
            raise UsageError(f"--shard-size {self.shard_size} is not allowed: it is 1 to 1000000")


@dataclass(frozen=True)
class ShardJob:
    """What the drawing of every shard shares."""

    model: bytes
    crew: WorkerConfig
    options: Options
    truncation: float
    folder: Path  # absolute; every machine sees it


def write_shards(out: str, job: Job, model: Path, crew: WorkerConfig) -> None:
    """Draw the seeds of `job` on a Ray cluster, into `shard-00000.tar` and so on in a folder.

    The cluster is that of the environment variable RAY_ADDRESS, as Ray reads it; without it one
    of this machine's cores is started and ended. Shards that are there are not drawn again.

    Args:
        out: the folder, with a slash at its end.
        job: the whole of the images, from seeds.
        model: the ONNX file that `job.generator` was made of.
        crew: how workers draw.

    Raises:
        UsageError: an option does not go with shards.
        OutputError: a shard cannot be written, or the folder was begun with other settings.
        DeviceError: the cluster cannot be reached.
        ModelFileError: the model cannot be read or cannot draw.
        MissingExtra: ray is not installed.
    """
    source = _check(out, job)
    try:
        content = model.read_bytes()
    except OSError as exc:
        raise ModelFileError(f"{model} cannot be read: {exc.strerror}") from exc
    folder = Path(out).absolute()
    make_folder_here(folder)
    task = ShardJob(content, crew, job.options, source.truncation, folder)
    with _claimed(folder):
        _begin(folder, {**job.settings(), **_division(source, crew)}, job.options)
        discard_leftovers(folder, SHARDS)
        _draw_missing(task, source)
        discard_leftovers(folder, SHARDS)  # of workers that died


def _begin(folder: Path, settings: Mapping[str, Any], options: Options) -> None:
    """Make sure that the shards in the folder are this job's. Raises OutputError."""
    shards = sorted(folder.glob(SHARDS))
    if options.overwrite:  # before the record says that what is there is this job's
        for old in shards:
            old.unlink()
    elif shards and not (folder / RECORD).is_file():
        raise OutputError(
            f"{folder} holds {shards[0].name}, which no  wgan sample --ray  wrote: choose another"
            " folder"
        )
    begun_before(folder, settings, anew=options.overwrite)


def _draw_missing(task: ShardJob, source: Seeds) -> None:
    parts = list(_shards(task.folder, source.seeds, task.crew.shard_size))
    missing = [(path, seeds) for path, seeds in parts if not path.exists()]
    done = len(source) - sum(len(seeds) for _, seeds in missing)
    with Progress(len(source), "sampling", "images", done=done) as progress:
        if missing:
            with _cluster() as ray:
                _check_room(ray, task.crew)
                for drawn in _draw_all(ray, task, missing):
                    progress.advance(drawn)


@contextmanager
def _claimed(folder: Path) -> Iterator[None]:
    """Keep other commands from the folder. Raises OutputError where one is at work there."""
    lock = open_lock(folder / LOCK)
    if lock is None:
        raise OutputError(
            f"another process is drawing into {folder}: wait for it, or choose another folder"
        )
    with lock:
        yield


def _check_room(ray: Any, crew: WorkerConfig) -> None:
    """Raise DeviceError where no machine could ever take a task: Ray would wait for one."""
    needed = {"CPU": crew.threads, "GPU": int(crew.device in GPU_DEVICES)}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(has.get(kind, 0) >= n for kind, n in needed.items()) for has in machines):
        wanted = f"{crew.threads} CPU cores" + (" and a GPU" if needed["GPU"] else "")
        raise DeviceError(
            f"no machine of the Ray cluster has {wanted}: set another --threads or --device"
        )


def _check(out: str, job: Job) -> Seeds:
    if not out.endswith("/"):
        raise UsageError(f"--ray writes shards into a folder: end {out!r} in a slash")
    if not isinstance(job.source, Seeds):
        raise UsageError("--ray draws seeds: leave out --latents and --interpolate")
    if job.options.floats or job.options.grid is not None:
        raise UsageError("--ray writes PNGs into tar shards: leave out --images and --grid")
    check_names(out, job.source)
    return job.source


def _division(source: Seeds, crew: WorkerConfig) -> dict[str, Any]:
    """What decides which shard a seed is in."""
    from wgan.latents import format_seeds

    return {"seeds": format_seeds(source.seeds), "shard_size": crew.shard_size}


def _shards(folder: Path, seeds: Sequence[int], size: int) -> Iterator[tuple[Path, Sequence[int]]]:
    for number, start in enumerate(range(0, len(seeds), size)):
        yield folder / f"shard-{number:05d}.tar", seeds[start : start + size]


def _draw_all(
    ray: Any, task: ShardJob, shards: Sequence[tuple[Path, Sequence[int]]]
) -> Iterator[int]:
    """Let the cluster draw; yields how many images each shard has, in the order they end."""
    work = ray.remote(draw_shard).options(
        num_cpus=task.crew.threads,
        num_gpus=1 if task.crew.device in GPU_DEVICES else 0,
        max_retries=RETRIES,
    )
    shared = ray.put(task)  # sent to each machine once
    left = iter(shards)
    under_way: dict[Any, tuple[Path, Sequence[int]]] = {}
    while True:
        room = WAITING * max(1, int(ray.cluster_resources().get("CPU", 1))) - len(under_way)
        for path, seeds in itertools.islice(left, max(0, room)):
            under_way[work.remote(shared, path.name, seeds)] = (path, seeds)
        if not under_way:
            return
        # A wait without a timeout could not be interrupted by a signal.
        while not (ended := ray.wait(list(under_way), num_returns=1, timeout=WAIT_S)[0]):
            check_stop()
        for reference in ended:
            path, seeds = under_way.pop(reference)
            _result(ray, reference, path)
            yield len(seeds)


def _result(ray: Any, reference: Any, path: Path) -> None:
    try:
        ray.get(reference)
    except ray.exceptions.RayTaskError as exc:
        if isinstance(exc.cause, WganError):
            raise exc.cause from exc
        raise
    except ray.exceptions.RayError as exc:
        raise OutputError(
            f"cannot write {path}: {RETRIES + 1} workers died over it"
            f" ({str(exc).partition('.')[0]}). The same command draws what is missing"
        ) from exc


def draw_shard(task: ShardJob, name: str, seeds: Sequence[int]) -> None:
    """Draw one shard, in a worker. Raises OutputError, ModelFileError and DeviceError."""
    if not (task.folder / RECORD).is_file():
        raise OutputError(
            f"the machine {socket.gethostname()} does not see {task.folder}: give a folder that"
            " all machines of the Ray cluster share"
        )
    crew = task.crew
    generator = _generator(task.model, crew.device, crew.threads, crew.value_range)
    source = Seeds(task.truncation, seeds, generator.latent_dim)
    write_whole_tar(task.folder / name, Job(generator, source, range(len(seeds)), task.options))


@functools.lru_cache(maxsize=1)
def _generator(
    model: bytes, device: str, threads: int, value_range: ValueRange | None
) -> Generator:
    """A worker opens the model once, for all the shards that it draws."""
    return Generator(model, device, threads, value_range=value_range)


@contextmanager
def _cluster() -> Iterator[Any]:
    """Ray, connected; a cluster of our own is ended with the block."""
    with needs_extra("ray", purpose="drawing on a Ray cluster"):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no reports without being asked
        import ray
    try:
        handler = signal.getsignal(signal.SIGTERM)
        try:
            _connect(ray)
        except SystemExit:  # raised by a SIGTERM handler that Ray installs
            raise Stopped(signal.SIGTERM) from None
        finally:
            signal.signal(signal.SIGTERM, handler)
        check_stop()
        yield ray
    finally:
        ray.shutdown()


def _connect(ray: Any) -> None:
    address = os.environ.get("RAY_ADDRESS", "local")
    own: dict[str, Any] = {
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    for attempt in range(1, CONNECT_ATTEMPTS + 1):
        try:
            ray.init(
                address,
                **(own if address == "local" else {}),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as exc:  # Ray raises just that where a cluster started too slowly
            ray.shutdown()
            if attempt == CONNECT_ATTEMPTS:
                raise DeviceError(
                    f"the Ray cluster {address!r} cannot be reached: {first_line(exc)}"
                ) from exc
