"""Heartbeats: each rank learns within --dist-timeout that another one is gone.

They run from the start of a run to its end, beside the main thread, which may decode data for
hours or wait for a collective that never completes. Errors that collectives raise by themselves
come sooner, but only to a rank that is inside one.
"""

import contextlib
import os
import threading
from collections.abc import Sequence

from torch._C._distributed_c10d import Store  # where torch.distributed itself imports it from

HEARTBEATS_PER_TIMEOUT = 20

MAX_MISSED_HEARTBEATS = 16
"""A rank that misses more is lost. Fewer than the timeout, because others read a beat later."""

MAX_RANKS_LISTED = 8
"""An error names at most this many lost ranks."""

STORE_ANSWER_S = 5.0
"""Seconds that the end of a run waits for a store that may be gone."""

LEFT = "left"
"""The last heartbeat of a rank that has finished its work."""

FAILED = "failed"
"""Store key that a rank sets when it stops with an error."""

RANK_FAILED = "another rank of this training stopped with an error: see the message of that rank"


def rank_lost(timeout: float | None = None, ranks: Sequence[int] = (), cause: str = "") -> str:
    """Message of `RankLost`: which ranks are gone, if known, and what to run next."""
    listed = ", ".join(map(str, ranks[:MAX_RANKS_LISTED]))
    listed += ", ..." * (len(ranks) > MAX_RANKS_LISTED)
    name = f"rank {listed} of this training" if ranks else "another rank of this training"
    limit = "" if timeout is None else f" of {timeout:g} s"
    return (
        f"{name} was killed, or did not answer within the --dist-timeout{limit}. Run the same"
        " command again to resume from the last checkpoint; torchrun --max-restarts does it for"
        f" you{f' ({cause})' if cause else ''}"
    )


class Heartbeat:
    """Counts this rank's heartbeats in the store, and ends the process when another rank is lost.

    The process exits from a thread: its main thread may hang in a call that cannot be interrupted.
    """

    def __init__(self, store: Store, rank: int, size: int, timeout: float) -> None:
        """Start the threads.

        Args:
            store: the store that all ranks of this start share.
            rank: this rank.
            size: number of ranks, 2 or more.
            timeout: seconds within which a lost rank is noticed.
        """
        # A client of its own, because a client that waits for a key blocks all other threads.
        self._store = store.clone()
        self._keys = [f"heartbeat/{number}" for number in range(size)]
        self._rank, self._timeout = rank, timeout
        self._missed = [0] * size
        self._failure_announced = False
        self._stopped = threading.Event()
        self._sender = threading.Thread(target=self._beat, daemon=True)
        self._sender.start()
        threading.Thread(target=self._monitor, daemon=True).start()

    def stop(self) -> None:
        """Stop both threads. Unless a rank failed, the others no longer expect this one."""
        self._stopped.set()
        self._sender.join(STORE_ANSWER_S)

    def _wait(self) -> bool:
        """Wait for the next heartbeat; False once stopped."""
        return not self._stopped.wait(self._timeout / HEARTBEATS_PER_TIMEOUT)

    def _beat(self) -> None:
        """Send heartbeats and read those of the other ranks."""
        own = self._keys[self._rank]
        seen: list[bytes] = [b""] * len(self._keys)
        # An error means that the store is gone: then all ranks miss heartbeats in `_monitor`.
        with contextlib.suppress(RuntimeError):
            while True:
                self._store.add(own, 1)
                beats = self._store.multi_get(self._keys)  # waits for each rank's first
                for rank, (before, now) in enumerate(zip(seen, beats, strict=True)):
                    if now != before or now.decode() == LEFT:
                        self._missed[rank] = 0
                seen = beats
                self._failure_announced = self._store.check([FAILED])
                if not self._wait():
                    break
            if not self._store.check([FAILED]):
                self._store.set(own, LEFT)

    def _monitor(self) -> None:
        """Count missed heartbeats.

        A second thread, because a store whose machine is gone blocks the first. It counts waits
        rather than seconds, so that a process that was suspended does not take all others for lost.
        """
        while self._wait():
            for rank in range(len(self._missed)):
                self._missed[rank] += 1
            lost = [
                rank for rank, count in enumerate(self._missed) if count > MAX_MISSED_HEARTBEATS
            ]
            if lost:
                self._exit(lost)

    def _exit(self, lost: Sequence[int]) -> None:
        if 0 in lost:  # with the machine of rank 0 its store is gone, so all ranks appear lost
            lost = [0] if self._rank else [rank for rank in lost if rank]
        message = RANK_FAILED if self._failure_announced else rank_lost(self._timeout, lost)
        # Not sys.stderr, which is redirected on all ranks except the main one.
        os.write(2, f"Error: {message}\n".encode())
        os._exit(1)
