"""Sampling on a Ray cluster into tar shards: one task per shard, on any free worker.

A worker writes its shard into a folder that all machines share, and renames it when it is
complete. A worker that dies costs only the work of its shard: Ray gives the task to another
worker, which starts the shard again. Only the shard's name says that it is complete, and the same
command generates the missing shards of an interrupted job.

`ray` is imported when a job starts, not with this module.
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

from wgan.errors import DeviceError, OutputError, UsageError, WganError, needs_extra
from wgan.files import check_parent_folder, discard_leftovers, make_folder, open_lock, remove
from wgan.host import usable_cores
from wgan.latents import format_seeds
from wgan.model_file.reading import read_complete
from wgan.progress import Progress
from wgan.runtime.config import DEFAULT_SHARD_SIZE, SampleConfig
from wgan.runtime.generator import Generator
from wgan.runtime.job import Job
from wgan.runtime.latent_sources import SeedLatents
from wgan.runtime.writers import check_channels, check_names
from wgan.runtime.writers.archives import write_whole_tar
from wgan.runtime.writers.folders import RECORD, can_resume
from wgan.stop import Stopped, check_stop
from wgan.text import first_line

RETRIES = 3
"""How often Ray repeats a shard whose worker died."""

TASKS_PER_CORE = 2
"""Tasks that are submitted at a time, for each core of the cluster."""

WAIT_S = 0.2
"""How long one wait for a finished shard may take."""

CONNECT_ATTEMPTS = 3
"""Ray gives a cluster that it starts 30 s, which can be too short on a busy machine."""

GPU_DEVICES = ("cuda", "tensorrt")

SHARDS = "shard-*.tar"

LOCK = ".wgan-lock"
"""The file in the output folder that a running command locks."""


@dataclass(frozen=True)
class ShardJob:
    """What the tasks of all shards share."""

    model: bytes
    config: SampleConfig
    folder: Path  # absolute; the same on every machine

    @property
    def threads(self) -> int:
        """CPU threads of a worker, and cores that Ray reserves for it."""
        return self.config.threads or 1

    @property
    def gpus(self) -> int:
        """GPUs that Ray reserves for a worker."""
        return int(self.config.device in GPU_DEVICES)


def write_shards(out: str, job: Job, model: Path) -> None:
    """Generate the seeds of `job` on a Ray cluster, into `shard-00000.tar` and so on.

    The cluster is that of the environment variable RAY_ADDRESS, as Ray reads it; without it, a
    cluster of this machine's cores is started and ended. Existing shards are kept.

    Args:
        out: the folder, with a slash at its end.
        job: all images, from seeds.
        model: the ONNX file of `job.generator`.

    Raises:
        UsageError: an option does not go with shards.
        OutputError: a shard cannot be written, or the folder was started with other settings.
        DeviceError: the cluster cannot be reached.
        ModelFileError: the model cannot be read or run.
        MissingExtra: ray is not installed.
    """
    source = _check(out, job)
    content = read_complete(model)
    folder = Path(out).absolute()
    check_parent_folder(folder)
    make_folder(folder)
    shard_job = ShardJob(content, job.config, folder)
    size = job.config.shard_size or DEFAULT_SHARD_SIZE
    # The seeds and the size decide which shard a seed is in.
    division = {"seeds": format_seeds(source.seeds), "shard_size": size}
    if source.labelling is not None:
        division["labels"] = ",".join(map(str, source.labelling.given)) or "of the seeds"
    lock = open_lock(folder / LOCK)
    if lock is None:
        raise OutputError(
            f"another process is writing into {folder}: wait for it, or choose another folder"
        )
    with lock:
        _start(folder, {**job.settings(), **division}, job.config.overwrite)
        discard_leftovers(folder, SHARDS)
        _write_missing(shard_job, source, size)
        discard_leftovers(folder, SHARDS)  # of workers that died


def _start(folder: Path, settings: Mapping[str, Any], overwrite: bool) -> None:
    """Make sure that the shards in the folder belong to this job. Raises OutputError."""
    shards = sorted(folder.glob(SHARDS))
    if overwrite:  # before the settings are recorded, which claim the shards for this job
        for old in shards:
            remove(old)
    elif shards and not (folder / RECORD).is_file():
        raise OutputError(
            f"{folder} holds {shards[0].name}, which no  wgan sample --ray  wrote: choose another"
            " folder"
        )
    can_resume(folder, settings, overwrite=overwrite)


def _write_missing(shard_job: ShardJob, source: SeedLatents, size: int) -> None:
    missing = [
        (path, source.part(start, start + size))
        for number, start in enumerate(range(0, len(source), size))
        if not (path := shard_job.folder / f"shard-{number:05d}.tar").exists()
    ]
    done = len(source) - sum(len(part) for _, part in missing)
    with Progress(len(source), "sampling", "images", done=done) as progress:
        if missing:
            with _cluster() as ray:
                _check_resources(ray, shard_job)
                for count in _run_tasks(ray, shard_job, missing):
                    progress.advance(count)


def _check_resources(ray: Any, shard_job: ShardJob) -> None:
    """Raise DeviceError if no machine can run a task: Ray would wait for one without end."""
    needed = {"CPU": shard_job.threads, "GPU": shard_job.gpus}
    machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if not any(all(has.get(kind, 0) >= n for kind, n in needed.items()) for has in machines):
        resources = f"{shard_job.threads} CPU cores" + (" and a GPU" if shard_job.gpus else "")
        raise DeviceError(
            f"no machine of the Ray cluster has {resources}: set another --threads or --device"
        )


def _check(out: str, job: Job) -> SeedLatents:
    if not out.endswith("/"):
        raise UsageError(f"--ray writes shards into a folder: end {out!r} in a slash")
    if not isinstance(job.source, SeedLatents):
        raise UsageError("--ray takes seeds: leave out --latents, --interpolate and --direction")
    if job.config.images or job.config.grid is not None:
        raise UsageError("--ray writes PNGs into tar shards: leave out --images and --grid")
    check_channels(out, job.image_shape[2])
    check_names(out, job.source)
    return job.source


def _run_tasks(
    ray: Any, shard_job: ShardJob, shards: Sequence[tuple[Path, SeedLatents]]
) -> Iterator[int]:
    """Run a task for each shard; yield the numbers of images of finished shards."""
    task = ray.remote(write_shard).options(
        num_cpus=shard_job.threads, num_gpus=shard_job.gpus, max_retries=RETRIES
    )
    shared = ray.put(shard_job)  # sent to each machine once
    left = iter(shards)
    running: dict[Any, tuple[Path, SeedLatents]] = {}
    while True:
        cores = max(1, int(ray.cluster_resources().get("CPU", 1)))
        room = max(0, TASKS_PER_CORE * cores - len(running))
        for path, part in itertools.islice(left, room):
            running[task.remote(shared, path.name, part)] = (path, part)
        if not running:
            return
        # A signal could not interrupt a wait without a timeout.
        while not (finished := ray.wait(list(running), num_returns=1, timeout=WAIT_S)[0]):
            check_stop()
        for reference in finished:
            path, part = running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayTaskError as exc:  # first: it is a RayError too
                if isinstance(exc.cause, WganError):
                    raise exc.cause from exc
                raise
            except ray.exceptions.RayError as exc:
                raise OutputError(
                    f"cannot write {path}: {RETRIES + 1} workers died while writing it"
                    f" ({str(exc).partition('.')[0]}). The same command generates the missing"
                    " shards"
                ) from exc
            yield len(part)


def write_shard(shard_job: ShardJob, name: str, source: SeedLatents) -> None:
    """Write one shard, in a worker. Raises OutputError, ModelFileError and DeviceError."""
    folder, config = shard_job.folder, shard_job.config
    if not (folder / RECORD).is_file():
        raise OutputError(
            f"the machine {socket.gethostname()} does not see {folder}: give a folder that all"
            " machines of the Ray cluster share"
        )
    write_whole_tar(folder / name, Job(_open(shard_job), source, range(len(source)), config))


@functools.lru_cache(maxsize=1)
def _open(shard_job: ShardJob) -> Generator:
    """Open the model once per worker, for all its shards."""
    config = shard_job.config
    return Generator(
        shard_job.model,
        config.device,
        shard_job.threads,
        foreign=config.foreign,
        allow_random=config.allow_random,
        compute=config.compute,
    )


@contextmanager
def _cluster() -> Iterator[Any]:
    """Connect to Ray; a cluster that was started for this job is ended with the block."""
    with needs_extra("ray", purpose="sampling on a Ray cluster"):
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray sends reports by default
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
    local: dict[str, Any] = {
        "num_cpus": usable_cores(),
        "include_dashboard": False,
        "_node_ip_address": "127.0.0.1",
    }
    for attempt in range(1, CONNECT_ATTEMPTS + 1):
        try:
            ray.init(
                address,
                **(local if address == "local" else {}),
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            return
        except Exception as exc:  # Ray raises plain Exception if a cluster starts too slowly
            ray.shutdown()
            if attempt == CONNECT_ATTEMPTS:
                raise DeviceError(
                    f"the Ray cluster {address!r} cannot be reached: {first_line(exc)}"
                ) from exc
