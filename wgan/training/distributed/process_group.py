"""Processes that train one run together, as torchrun or another launcher starts them.

Each process takes its rows of every batch, and gradients are averaged before each update, so that
all hold the same weights. Latents, epsilon, order and flips are drawn for the whole batch by
everyone, from the same seed: the result does not depend on how many processes share the work,
but for rounding. DistributedDataParallel is not used, since it does not go with the gradient
penalty's double backward (pytorch issues 47562 and 63812).

What is agreed on before the first step goes through the launcher's store, where waiting for one
who still decodes may take long, while signs of life tell who is gone. From then on an answer must
come within the time-out.
"""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Literal, TypeVar, get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import PrefixStore, Store  # as torch.distributed does
from torch.distributed.rendezvous import rendezvous

from wgan.errors import RankFailed, RankLost, UsageError
from wgan.training.device import pick_device
from wgan.training.distributed.heartbeat import FAILED, STOPPED, Heartbeat
from wgan.training.distributed.rendezvous import rendezvous_store
from wgan.training.distributed.watchdog import Watchdog

LAST_WORD = 0.2
"""Seconds for other threads at the end."""

LAST_QUESTION = 5.0
"""Seconds for asking a store that may be gone why all ended."""

PREPARING = timedelta(days=365)
"""How long others may take to fetch and decode their data, as long as they give signs of life."""

CONNECTING = timedelta(minutes=10)
"""How long the processes may take to find each other: the first of them to start, the last."""

NAMED = 8
"""So many of those lost are named."""

Stage = Literal["open", "decode"]
"""What one process of a machine does before its others."""

Result = TypeVar("Result")


class ProcessGroup:
    """The processes that share a run, seen from one of them; by itself the only one there is.

    Args:
        rank: which process this is, from 0; 0 leads: it alone writes and speaks.
        size: how many there are.
        local_rank: which of this machine's processes it is; None where no launcher says so.
        store: where the processes leave each other notes; None for a process alone.
        timeout: seconds in which an answer must come.

    Attributes:
        signs: the signs of life until all are ready to train; None where there is nobody to see.
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
        self._watchdog: Watchdog | None = None
        self.signs: Heartbeat | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files and speaks."""
        return self.rank == 0

    @property
    def shard(self) -> slice:
        """Which rows of a batch are this process's: every `size`-th one.

        Taken so, a share of each part of a batch (`--accumulate`) is the part of each share.
        """
        return slice(self.rank, None, self.size)

    def device(self, name: str) -> torch.device:
        """The device called `name`, a GPU of its own for each process of a machine.

        Raises:
            UsageError: it names one device for all, or LOCAL_RANK is not set.
            DeviceError: it is not there.
        """
        if self._store is None:
            return pick_device(name)
        if name not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"--device {name} is not allowed for {self.size} processes: it is auto, cpu or"
                " cuda, and each process takes the GPU of its LOCAL_RANK"
            )
        if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
            return torch.device("cpu")
        if self.local_rank is None and self.size > 1:
            raise UsageError(
                f"LOCAL_RANK is not set, and {self.size} processes cannot all take cuda:0: set it"
                " to each process's number on its machine, from 0, as torchrun does"
            )
        return pick_device(f"cuda:{self.local_rank or 0}")

    # Before the first step: notes in the store.

    def store_set(self, key: str, text: str) -> None:
        """Leave a note, not an empty one, that the others `read`. Raises RankLost."""
        if self._store is not None:
            with self._asking():
                self._store.set(key, text)

    def store_get(self, key: str) -> str:
        """A note that another process leaves, waiting for it as long as all give signs of life.

        Raises:
            RankFailed: a process stopped with an error meanwhile.
            RankLost: the store is gone.
        """
        assert self._store is not None, "a process alone has nobody to hear from"
        with self._asking():
            self._store.wait([key], PREPARING)
            text: str = self._store.get(key).decode()
        if not text:
            raise RankFailed(STOPPED)
        return text

    def local_main_first(self, stage: Stage, work: Callable[[], Result]) -> Result:
        """Do some work in one process of each machine, then in its others, who find it done.

        So that a machine fetches and decodes its data once; the others read what was kept.

        Args:
            stage: which work it is.
            work: it.

        Raises:
            RankFailed, RankLost: as `read`.
        """
        if self._store is None:
            return work()
        if self.local_rank:
            self.store_get(self._done(stage))
        result = work()
        if not self.local_rank:
            self.store_set(self._done(stage), "yes")
        return result

    def _done(self, stage: Stage) -> str:
        return f"done/{stage}/{self._machine}"

    def connect(self, device: torch.device) -> None:
        """Wait until all are ready to train, then open the ways between them.

        Raises:
            RankFailed: a process stopped with an error meanwhile.
            RankLost: a process is gone.
        """
        if self._store is None:
            return
        with self._asking():
            if self._store.add("arrived", 1) == self.size:
                self._store.set("ready", "yes")
        self.store_get("ready")
        self._need_no_signs()
        on_gpu = device.type == "cuda"
        if on_gpu:
            torch.cuda.set_device(device)
            # NCCL's own end after a time-out is an abort without a sentence; ours comes first.
            self._watchdog = Watchdog(self.timeout, _lost(None, self.timeout))
            self._watchdog.feed()
        with self._asking():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if on_gpu else "gloo",
                store=PrefixStore("group", self._store),
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.timeout * (2 if on_gpu else 1)),
            )

    @contextlib.contextmanager
    def _asking(self) -> Iterator[None]:
        """Say what it means where the store gives no answer."""
        try:
            yield
        except RuntimeError as exc:
            raise RankLost(_lost(exc, self.timeout)) from exc

    # From the first step on: collectives. All processes call the same ones in the same order.

    def average(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor by its mean over all processes, with one all-reduce of them all.

        Raises:
            RankLost: a process is gone.
        """
        if self.size == 1:
            return
        parts = list(tensors)
        flat = torch.cat([part.reshape(-1) for part in parts])
        sum_over_all(flat)
        flat /= self.size
        means = flat.split([part.numel() for part in parts])
        torch._foreach_copy_(
            parts, [mean.view_as(part) for mean, part in zip(means, parts, strict=True)]
        )

    def any(self, flag: bool) -> bool:
        """Whether `flag` is true in any process; asked once a step."""
        if self._watchdog is not None:
            self._watchdog.feed()
        return self.any_of([flag])[0]

    def any_of(self, flags: list[bool]) -> list[bool]:
        """Which flags are true in any process. Hosts wait for each other; devices do not."""
        if self.size == 1:
            return flags
        votes = torch.tensor(flags, dtype=torch.int32)
        sum_over_all(votes)
        return [bool(vote) for vote in votes.tolist()]

    def broadcast_bytes(self, data: bytes | None) -> bytes:
        """Give everyone the leader's `data`; the others hand in None."""
        if self.size == 1:
            assert data is not None
            return data
        length = torch.tensor([len(data or b"")])
        _collective(lambda: dist.broadcast(length, 0))
        content = torch.empty(int(length), dtype=torch.uint8)
        if data is not None:
            content = torch.frombuffer(bytearray(data), dtype=torch.uint8)
        _collective(lambda: dist.broadcast(content, 0))
        return content.numpy().tobytes()

    # The end.

    def _need_no_signs(self) -> None:
        if self.signs is not None:
            self.signs.stop()

    def stop_watching(self) -> None:
        """Expect nothing more of the others: what is left to do may take its time."""
        self._need_no_signs()
        if self._watchdog is not None:
            self._watchdog.stop()

    def announce_failure(self) -> None:
        """Wake up who waits for this process; to be called once it has failed."""
        if self._store is None:
            return
        with contextlib.suppress(RuntimeError):  # the store went with the process that kept it
            done = (self._done(stage) for stage in get_args(Stage))
            for key in (FAILED, "ready", *done, *["plan"] * self.is_main):
                self._store.set(key, "")

    def failure_announced(self) -> bool:
        """Whether another process has said why it failed."""
        if self._store is None:
            return False
        try:
            return bool(self._store.check([FAILED]))
        except RuntimeError:  # the store went with the process that kept it
            return False

    def close(self) -> None:
        """Close the ways to the others, all work done."""
        self.stop_watching()
        if dist.is_initialized():
            dist.destroy_process_group()
            # A thread of gloo's lets go of the last tensors under the interpreter's lock. Where it
            # gets that only when the interpreter is being taken down, the process aborts.
            time.sleep(LAST_WORD)


SINGLE_PROCESS = ProcessGroup()
"""The group of a process that no launcher started."""


def is_launched() -> bool:
    """Whether a launcher has set this process's place among others."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


@contextlib.contextmanager
def join(timeout: float) -> Iterator[ProcessGroup]:
    """Join the process group that the launcher, such as torchrun, describes in the environment.

    Args:
        timeout: seconds in which the others must answer once training has begun.

    Raises:
        UsageError: the time-out is not positive.
        RankLost: another process is gone, or cannot be found.
        RankFailed: another process stopped with an error, and has said so.
    """
    if not 0 < timeout <= 1e6:
        raise UsageError(f"--dist-timeout {timeout:g} is not allowed: it is above 0, in seconds")
    if not is_launched():
        yield SINGLE_PROCESS
        return
    group = _find(timeout)
    try:
        yield group
    except RankLost as exc:
        group.stop_watching()
        asking = Watchdog(LAST_QUESTION, str(exc))
        asking.feed()
        told = group.failure_announced()
        asking.stop()
        if told:
            raise RankFailed(STOPPED) from exc
        raise
    except BaseException:  # a bug as well: others would wait for days
        group.stop_watching()
        group.announce_failure()
        raise
    group.close()


def _find(timeout: float) -> ProcessGroup:
    local_rank = os.environ.get("LOCAL_RANK")
    try:
        store, rank, size = next(rendezvous("env://", timeout=CONNECTING))
        store = rendezvous_store(store, rank, size)
        group = ProcessGroup(
            rank, size, None if local_rank is None else int(local_rank), store, timeout
        )
        if size > 1:
            group.signs = Heartbeat(
                store, rank, size, timeout, lambda lost: _lost(None, timeout, lost)
            )
    except (RuntimeError, ValueError) as exc:
        raise RankLost(
            f"the processes of this training cannot find each other: {_first_line(exc)}"
        ) from exc
    return group


def check_divides(size: int, batch_size: int, accumulate: int) -> None:
    """Raise UsageError unless a batch, or each part of it, can be shared out evenly."""
    part = batch_size // accumulate
    if part % size:
        least = size * accumulate
        near = max(least, batch_size // least * least)
        of_part = f" in {accumulate} parts" if accumulate > 1 else ""
        raise UsageError(
            f"--batch-size {batch_size}{of_part} cannot be shared out among {size} processes: it"
            f" counts the images of all of them, so give a multiple of {least}, such as {near}"
        )


def gradients(network: nn.Module) -> list[Tensor]:
    """The gradients that the last backward pass left."""
    return [weight.grad for weight in network.parameters() if weight.grad is not None]


def sum_over_all(tensor: Tensor) -> None:
    """Replace a tensor by its sum over all processes. Raises RankLost."""
    _collective(lambda: dist.all_reduce(tensor))


def _collective(work: Callable[[], object]) -> None:
    try:
        work()
    except torch.OutOfMemoryError:  # this process's own
        raise
    except RuntimeError as exc:  # gloo's for a closed connection and for a time-out
        raise RankLost(_lost(exc)) from exc


def _lost(cause: Exception | None, timeout: float | None = None, ranks: Sequence[int] = ()) -> str:
    within = "" if timeout is None else f" of {timeout:g} s"
    said = _first_line(cause) if cause else ""
    names = ", ".join(map(str, ranks[:NAMED])) + ", ..." * (len(ranks) > NAMED)
    named = f" (RANK {names})" if ranks else ""
    return (
        f"another process of this training{named} was killed, or gave no answer within the"
        f" --dist-timeout{within}. The same command goes on from the last checkpoint; torchrun"
        " --max-restarts gives it by itself" + (f" ({said})" if said else "")
    )


def _first_line(error: Exception) -> str:
    """What PyTorch says before it lists the C++ functions that it came through."""
    return str(error).partition("\n")[0]
