"""Run the command `wgan`, also as `python -m wgan`."""

import os
import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _end(number: int, frame: FrameType | None) -> None:
    os.write(2, b"stopped\n")
    os._exit(128 + number)


def main() -> None:
    """Run the command line; a signal that comes before a command handles it ends the process."""
    # A rank of a training waits in native code, where no handler of Python runs.
    for number in STOP_SIGNALS if "RANK" not in os.environ else ():
        if signal.getsignal(number) != signal.SIG_IGN:  # as of a script's background jobs
            signal.signal(number, _end)
    from wgan.cli import main as run

    run()


if __name__ == "__main__":
    main()
