"""Ends a process that waits for ever for another one, where no library would say so."""

import os
import threading


class Watchdog:
    """Ends the process with a sentence unless it is fed again within so many seconds.

    A thread of its own: while a GPU waits for a collective that never ends, or a socket for a
    machine that is gone, the main thread sits in a call that nothing can interrupt.

    Attributes:
        sentence: what is said at the end; may be changed meanwhile.
    """

    def __init__(self, seconds: float, sentence: str) -> None:
        """Begin at the first `feed`."""
        self.sentence = sentence
        self._seconds = seconds
        self._fed = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def feed(self) -> None:
        """Say that all is well."""
        self._fed.set()
        if not self._thread.is_alive() and not self._over:
            self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over = True
        self._fed.set()

    def _watch(self) -> None:
        while not self._over:
            self._fed.clear()
            if not self._fed.wait(self._seconds) and not self._over:
                # Not sys.stderr, which may lead elsewhere while the process does not lead.
                os.write(2, f"Error: {self.sentence}\n".encode())
                os._exit(1)
