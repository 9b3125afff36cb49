"""How the ranks that a launcher starts together find each other."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store  # where torch.distributed imports them
from torch.distributed.rendezvous import rendezvous

from wgan.errors import RankFailed, RankLost
from wgan.text import first_line
from wgan.training.distributed.heartbeat import RANK_FAILED, Heartbeat
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup

RENDEZVOUS_TIMEOUT = timedelta(minutes=10)
"""Longest time between the start of the first rank and that of the last."""


@contextlib.contextmanager
def join(timeout: float) -> Iterator[ProcessGroup]:
    """Join the process group that torchrun or another launcher describes in the environment.

    Args:
        timeout: seconds within which a lost rank is noticed and a collective must complete.

    Raises:
        RankLost: another rank is gone, or cannot be found.
        RankFailed: another rank stopped with an error.
    """
    if "RANK" not in os.environ or os.environ.get("WORLD_SIZE", "1") == "1":
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

    Args:
        store: the launcher's store; its timeout limits the wait.
        rank: this rank.
        size: number of ranks.

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
