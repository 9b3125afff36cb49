"""Hostile input for everything that reads input: model files, command lines and requests.

    python -m tests.fuzz --seconds 600                  # what `make fuzz` runs
    python -m tests.fuzz --only commands --first 17     # one series, from a case on

The series take turns. Each case is a function of its number, so that a failure can be repeated.
"""

# ruff: noqa: T201 - a command of its own, which prints

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.cli import fuzzing as commands
from tests.runtime import fuzzing as files
from tests.server import fuzzing as requests
from tests.server import grpc_fuzzing as calls

FILES_AT_A_TIME = 200

Series = Callable[[range, float], tuple[int, str | None]]
"""Cases and the time to stop at -> how many ran, and the first fault."""


def run_files(numbers: range, until: float = float("inf")) -> tuple[int, str | None]:
    """Run damaged model files of every kind."""
    done = 0
    for start in range(numbers.start, numbers.stop, FILES_AT_A_TIME):
        part = range(start, min(start + FILES_AT_A_TIME, numbers.stop))
        for kind in files.KINDS:
            if time.monotonic() >= until:
                return done, None
            with TemporaryDirectory() as folder:
                fault = files.run_apart(kind, part, Path(folder))
            if fault is not None:
                return done, fault
            done += len(part)
    return done, None


SERIES: dict[str, Series] = {
    "files": run_files,
    "commands": commands.run_cases,
    "requests": requests.run_cases,
    "calls": calls.run_cases,
}

TURN_S = 60.0
"""Seconds of a series before the next one takes its turn."""


def main() -> int:
    """Run the series in turn until the time is up, or until a fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=SERIES)
    parser.add_argument("--first", type=int, help="number of the first case; by default a new one")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    chosen = [options.only] if options.only else list(SERIES)
    base = time.time_ns() // 10**9 * 1000  # other cases each time
    first = dict.fromkeys(chosen, base if options.first is None else options.first)
    counts = dict.fromkeys(chosen, 0)
    deadline = time.monotonic() + options.seconds
    turn = min(TURN_S, options.seconds / len(chosen))
    while time.monotonic() < deadline:
        for name in chosen:
            until = min(deadline, time.monotonic() + turn)
            done, fault = SERIES[name](range(first[name], first[name] + 10**6), until)
            counts[name] += done
            if fault is not None:
                print(f"{name}: {fault}")
                return 1
            first[name] += done
    print(", ".join(f"{count} {name}" for name, count in counts.items()) + ": no fault")
    return 0


if __name__ == "__main__":
    sys.exit(main())
