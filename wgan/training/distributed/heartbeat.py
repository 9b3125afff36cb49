"""Heartbeat of life: while processes prepare, and may take days, each learns in time who is gone.

Every process but the leader leaves a mark in the store at each beat. The leader calls the roll:
it reads all marks at once, and counts one more call as soon as each has moved since the last. The
others look at that count alone, so that a beat costs each process a request or two, however many
there are. Who has seen nothing move for the time-out ends itself: by its own clock, so that those
of the machines need not agree.
"""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from torch._C._distributed_c10d import Store  # as torch.distributed does

from wgan.training.distributed.watchdog import Watchdog

BEATS = 20
"""The beats of a time-out."""

PATIENCE = 16
"""Beats without a sign. With the beats that a sign takes to go round, less than the time-out."""

FAILED = "failed"
"""The note in the store of a process that stopped with an error, and has said why."""

STOPPED = "another process of this training stopped; it has said why"


class Heartbeat:
    """The signs of life of one process, and its watch over those of the others.

    From threads of its own, whatever the main one does: a process that decodes is alive, one that
    waits for a machine that is gone may not even be able to give up waiting.
    """

    def __init__(
        self,
        store: Store,
        rank: int,
        size: int,
        timeout: float,
        sentence: Callable[[Sequence[int]], str],
    ) -> None:
        """Begin.

        Args:
            store: where the marks are left, by all.
            rank: which process this is, from 0, which leads.
            size: how many there are, 2 at least.
            timeout: seconds within which the loss of any is told, and this process ended.
            sentence: what to say of the loss of these ranks.
        """
        # A client of its own: one that waits, as the main thread's does, lets no other thread in.
        self._store = store.clone()
        self._rank, self._size, self._sentence = rank, size, sentence
        self._interval = timeout / BEATS
        self._over = threading.Event()
        self._watchdog = Watchdog(self._interval * PATIENCE, sentence([] if rank == 0 else [0]))
        self._watchdog.feed()
        threading.Thread(target=self._keep, daemon=True).start()

    def stop(self) -> None:
        """Leave no more marks and expect none."""
        self._over.set()
        self._watchdog.stop()

    def _keep(self) -> None:
        # Where the store is gone, who waits for it is told at once, and who works by the watchdog.
        with contextlib.suppress(RuntimeError):
            if self._rank == 0:
                self._monitor()
            else:
                self._beat()

    def _beats(self) -> Iterator[None]:
        while not self._over.wait(self._interval):
            yield

    def _monitor(self) -> None:
        names = [self._mark(rank) for rank in range(1, self._size)]
        for name in names:
            self._store.add(name, 0)  # there, whoever has come already
        before, calls = self._store.multi_get(names), 0
        for _ in self._beats():
            marks = self._store.multi_get(names)
            pairs = zip(before, marks, strict=True)
            silent = [rank for rank, (old, new) in enumerate(pairs, 1) if old == new]
            if not silent:
                before, calls = marks, calls + 1
                self._watchdog.feed()
            self._expect(silent)
            self._store.set("roll", " ".join(map(str, [calls, *silent])))

    def _beat(self) -> None:
        heard = 0
        for _ in self._beats():
            self._store.add(self._mark(self._rank), 1)
            call, *silent = map(int, self._store.get("roll").split())
            if call > heard:
                heard = call
                self._watchdog.feed()
            self._expect(silent or [0])

    def _expect(self, silent: Sequence[int]) -> None:
        """Have the right sentence ready, should these ranks stay silent."""
        told = self._store.check([FAILED])
        self._watchdog.sentence = STOPPED if told else self._sentence(silent)

    @staticmethod
    def _mark(rank: int) -> str:
        return f"alive/{rank}"
