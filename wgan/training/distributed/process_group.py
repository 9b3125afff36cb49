"""The ranks that train one run together, as torchrun or another launcher starts them.

Each rank trains on its shard of every batch and gradients are averaged before each update, so all
ranks hold the same weights. Latents, epsilon, order and flips are drawn for the whole batch by
every rank, from the same seed: the result does not depend on the number of ranks, except for
rounding. DistributedDataParallel is not used, because it does not support the double backward of
the gradient penalty (pytorch issues 47562 and 63812).
"""

import contextlib
import os
import secrets
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from typing import Literal, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store  # where torch.distributed imports them
from torch.distributed.rendezvous import rendezvous

from wgan.errors import RankFailed, RankLost, UsageError
from wgan.text import first_line
from wgan.training.device import pick_device
from wgan.training.distributed import is_launched
from wgan.training.distributed.heartbeat import FAILED, RANK_FAILED, Heartbeat, rank_lost

GLOO_SHUTDOWN_DELAY_S = 0.2

STORE_POLL = timedelta(seconds=5)
"""A rank that waits for another one looks this often whether a rank has failed."""

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""Longest time between the start of the first rank and that of the last."""

Stage = Literal["open", "decode"]
"""What the first rank of a machine does before the machine's other ranks."""

T = TypeVar("T")


class ProcessGroup:
    """The ranks of a run, seen from one of them; by default a single process.

    Until `connect`, ranks exchange text through the launcher's store, where waiting may take as
    long as decoding does. From then on they use collectives, which must complete within the
    timeout. With a single process every method returns at once.

    Args:
        rank: this rank, from 0; only rank 0, the main process, writes files and reports.
        size: number of ranks.
        local_rank: number of this rank on its machine; None if the launcher does not say.
        store: store that the ranks share; None for a single process.
        timeout: seconds within which a collective must complete.
    """

    def __init__(
        self,
        rank: int = 0,
        size: int = 1,
        local_rank: int | None = 0,
        store: Store | None = None,
        timeout: float = 600.0,
    ) -> None:
        self.rank, self.size, self.local_rank, self.timeout = rank, size, local_rank, timeout
        self._store = store
        self._machine = os.environ.get("GROUP_RANK") or socket.gethostname()

    @property
    def is_main(self) -> bool:
        """Whether this is the main process, which writes the run's files and reports."""
        return self.rank == 0

    @property
    def shard(self) -> slice:
        """The rows of a batch that this rank trains on: every `size`-th one.

        Interleaved rather than contiguous, so that sharding a microbatch (`--accumulate`) and
        taking a microbatch of a shard give the same rows.
        """
        return slice(self.rank, None, self.size)

    def device(self, name: str) -> torch.device:
        """Return the device called `name`; with several ranks each takes its own GPU.

        Raises:
            UsageError: `name` is one device for all ranks, or LOCAL_RANK is not set.
            DeviceError: the device is not available.
        """
        if self.size == 1:
            return pick_device(name)
        if name not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {name} is not allowed with {self.size} ranks: use auto, cpu or cuda,"
                " and each rank takes the GPU of its LOCAL_RANK"
            )
        if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        if self.local_rank is None:
            raise UsageError(
                f"LOCAL_RANK is not set, and {self.size} ranks cannot share cuda:0: set it to each"
                " rank's number on its machine, from 0, as torchrun does"
            )
        return pick_device(f"cuda:{self.local_rank}")

    def store_set(self, key: str, text: str) -> None:
        """Set a key of the shared store. Raises RankLost."""
        if self._store is not None:
            with _rank_errors(self.timeout):
                self._store.set(key, text)

    def store_get(self, key: str) -> str:
        """Return the value of a key, waiting until a rank sets it.

        Raises:
            RankFailed: a rank stopped with an error.
            RankLost: the store is gone.
        """
        assert self._store is not None, "a single process has no store"
        with _rank_errors(self.timeout):
            while True:
                with contextlib.suppress(dist.DistStoreError):  # not set yet
                    self._store.wait([key], STORE_POLL)
                    text: str = self._store.get(key).decode()
                    return text
                if self.failure_announced():
                    raise RankFailed(RANK_FAILED)

    def local_main_first(self, stage: Stage, work: Callable[[], T]) -> T:
        """Do some work in the first rank of each machine, then in the machine's other ranks.

        So that each machine downloads and decodes its data once; the other ranks read the cache.

        Raises:
            RankFailed, RankLost: as `store_get`.
        """
        if self.size == 1:
            return work()
        done = f"done/{stage}/{self._machine}"
        if self.local_rank:
            self.store_get(done)
        result = work()
        if not self.local_rank:
            self.store_set(done, "yes")
        return result

    def connect(self, device: torch.device) -> None:
        """Wait until every rank is ready to train, then open connections for collectives.

        Raises:
            RankFailed: a rank stopped with an error.
            RankLost: a rank is gone.
        """
        store = self._store
        if store is None:
            return
        # Not left to init_process_group: its timeout is that of a collective, not of decoding.
        with _rank_errors(self.timeout):
            if store.add("ready", 1) == self.size:  # the last one to come
                store.set("all ready", "yes")
        self.store_get("all ready")
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
        with _rank_errors():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=PrefixStore("collectives", store),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.timeout),
            )

    # Collectives: every rank calls the same ones in the same order. They raise RankLost.

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all ranks, with a single flat all-reduce."""
        if self.size == 1:
            return
        parts = list(tensors)
        # Flat: a collective costs its latency, however small the tensor.
        flat = torch.cat([part.reshape(-1) for part in parts])
        all_reduce_sum(flat)
        flat /= self.size
        means = flat.split([part.numel() for part in parts])
        torch._foreach_copy_(
            parts, [mean.view_as(part) for mean, part in zip(means, parts, strict=True)]
        )

    def any(self, flag: bool) -> bool:
        """Return whether `flag` is true on any rank."""
        return self.any_of([flag])[0]

    def any_of(self, flags: list[bool]) -> list[bool]:
        """Return which flags are true on any rank. On the CPU: GPUs are not waited for."""
        if self.size == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)
        all_reduce_sum(votes)
        return [bool(vote) for vote in votes.tolist()]

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """Return the main process's `data` on every rank; the other ranks pass None."""
        if self.size == 1:
            assert data is not None
            return data
        length = torch.tensor([len(data or b"")])
        with _rank_errors():
            dist.broadcast(length, 0)
            content = torch.empty(int(length), dtype=torch.uint8)
            if data is not None:  # in a bytearray: PyTorch warns of memory that is read-only
                content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
            dist.broadcast(content, 0)
        return content.numpy().tobytes()

    def announce_failure(self) -> None:
        """Let the other ranks know that this one stops with an error, which it reports itself."""
        with contextlib.suppress(RankLost):  # this rank's own error counts
            self.store_set(FAILED, "yes")

    def failure_announced(self) -> bool:
        """Return whether a rank has announced a failure; False if the store is gone."""
        if self._store is None:
            return False
        try:
            return bool(self._store.check([FAILED]))
        except RuntimeError:
            return False

    def close(self) -> None:
        """Close the connections to the other ranks."""
        if dist.is_initialized():
            dist.destroy_process_group()
            # A gloo thread releases its last tensors under the GIL. If it gets the GIL only when
            # the interpreter shuts down, the process aborts.
            time.sleep(GLOO_SHUTDOWN_DELAY_S)


SINGLE_PROCESS = ProcessGroup()
"""The process group of a run without a launcher."""


@contextlib.contextmanager
def join(timeout: float) -> Iterator[ProcessGroup]:
    """Join the process group that torchrun or another launcher describes in the environment.

    A lost rank is noticed, and a collective must complete, within `timeout` seconds.

    Raises:
        RankLost: another rank is gone, or cannot be found.
        RankFailed: another rank stopped with an error.
    """
    if not is_launched():
        yield SINGLE_PROCESS
        return
    group, heartbeat = _find_ranks(timeout)
    try:
        yield group
    except RankLost as exc:
        if group.failure_announced():
            raise RankFailed(RANK_FAILED) from exc
        raise
    except BaseException:  # a bug as well: the other ranks must not wait for this one
        group.announce_failure()
        raise
    finally:
        heartbeat.stop()
    group.close()


def _find_ranks(timeout: float) -> tuple[ProcessGroup, Heartbeat]:
    try:
        store, rank, size = next(rendezvous("env://", timeout=RENDEZVOUS_TIMEOUT))
        local_rank = os.environ.get("LOCAL_RANK")
        store = rendezvous_store(store, rank, size)
        group = ProcessGroup(
            rank, size, None if local_rank is None else int(local_rank), store, timeout
        )
        return group, Heartbeat(store, rank, size, timeout)
    except (RuntimeError, ValueError) as exc:
        raise RankLost(
            f"the ranks of this training cannot find each other: {first_line(exc)}"
        ) from exc


def rendezvous_store(store: Store, rank: int, size: int) -> Store:
    """Return a part of the launcher's store that only the ranks of this start share.

    torchrun keeps its store when it restarts all ranks, with every key of the ranks that died. No
    variable that it sets tells one start from the next: TORCHELASTIC_RESTART_COUNT counts on each
    machine only the restarts that its own ranks caused. So rank 0 announces a random prefix. A
    rank may still read the prefix of a dead rank 0; the new rank 0 then sends it on. This relies on
    launchers that end all ranks of a start before the next start, as torchrun does.

    The timeout of `store`, the launcher's, limits the wait.

    Raises:
        RuntimeError: not all ranks came in time, or the store is gone.
    """
    while True:
        prefix = _announce_prefix(store) if rank == 0 else store.get("wgan/prefix").decode()
        part = PrefixStore(f"wgan/{prefix}", store)
        if part.add("arrived", 1) == size:
            part.set("complete", "yes")
        if rank == 0:
            part.wait(["complete"])
            store.delete_key("wgan/prefix")
            part.set("valid", "yes")
        if part.get("valid"):  # empty: the prefix of an earlier start
            return part


def _announce_prefix(store: Store) -> str:
    prefix = secrets.token_hex(8)
    earlier = store.get("wgan/prefix").decode() if store.check(["wgan/prefix"]) else None
    store.set("wgan/prefix", prefix)
    if earlier is not None:
        store.set(f"wgan/{earlier}/valid", "")
    return prefix


def check_divides(size: int, batch_size: int, accumulate: int) -> None:
    """Raise UsageError unless each microbatch can be divided evenly among `size` ranks."""
    if batch_size // accumulate % size:
        least = size * accumulate
        near = max(least, batch_size // least * least)
        microbatches = f" in {accumulate} parts" if accumulate > 1 else ""
        raise UsageError(
            f"--batch-size {batch_size}{microbatches} cannot be divided among {size} ranks: it"
            f" counts the images of all ranks, so give a multiple of {least}, such as {near}"
        )


def gradients(network: nn.Module) -> list[Tensor]:
    """Return the gradients that the last backward pass left."""
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


def all_reduce_sum(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all ranks. Raises RankLost."""
    with _rank_errors():
        dist.all_reduce(tensor)


@contextlib.contextmanager
def _rank_errors(timeout: float | None = None) -> Iterator[None]:
    """Turn PyTorch's errors of communication into RankLost, without their C++ stack trace."""
    try:
        yield
    except torch.OutOfMemoryError:  # of this rank
        raise
    except RuntimeError as exc:  # gloo and the store: a closed connection, or a timeout
        raise RankLost(rank_lost(timeout, cause=first_line(exc))) from exc
