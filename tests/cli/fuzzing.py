"""Command lines with hostile values: each must end in a sentence, or do what it says.

    python -m tests.cli.fuzzing --count 100 --first 0

The options come from the commands themselves. Each case is a function of its number alone. It runs
in a fork of this process, which has imported PyTorch, in a folder of its own.
"""

# ruff: noqa: T201 - a command of its own, which prints

import argparse
import contextlib
import functools
import multiprocessing
import os
import random
import resource
import shutil
import signal
import stat
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from tests.processes import obey_permissions
from wgan.cli import COMMANDS, cli

MEMORY = 8 * 2**30
"""Bytes of address space of a case: what asks for all memory fails early."""

SECONDS = 30.0
"""A case that takes longer, such as a long training, is ended and counts as done."""

NOT_FUZZED = (
    *("--download", "--ray", "--tracker", "--help", "--help-all", "--trust"),
    *("--host", "--port"),
)
"""Options that reach for other machines or let them in, or run code in files."""

SERVES_S = 2.0
"""Time until a server is stopped."""

NUMBERS = (
    *("0", "-1", "1", "2", "3", "64", "nan", "inf", "-inf", "1e308", "1e-320", "-0.0", "1e999"),
    *("9" * 20, "9" * 5000, "4294967295", "4294967296", "-9223372036854775809", "0x10", "1_0"),
    *("\u0663", "\u00b2", "1,2", "1/0", "0/0", "3/2", "8x8", "0x0", "-1,1", "nan,1", "1,1", ","),
)

TEXTS = (
    *("", " ", "-", "--", "\x1b[31m", "a\nb", "\u202e", "\udc80", "x" * 300, "x/" * 3000, "%s{}"),
    *("latest", "best", "builtin", "glyphs", "auto", "cpu", "cuda:99", "a:b", "os:nothing", "*"),
    *("inception", "fid", "fid,kid,", "onnx", "0,1,4-6", "5-1", "0-99999999999", "{000..999}.tar"),
)

PATHS = (
    *("good.onnx", "endless.onnx", "damaged.onnx", "empty", "text.txt", "runs/first", "runs"),
    *("checkpoint.pt", "damaged.pt", "images", "gone", "gone/", "out/", "out.png", "out.npy"),
    *("out.tar", "out.gif", "loop", "pipe", "device", "device/x", "unreadable", "closed/x"),
    *("good.toml", "damaged.toml", os.fsdecode(b"latin\xe9"), "/", ".", "..", "/proc/self/mem"),
)


def command_line(number: int) -> list[str]:
    """The arguments of a case."""
    chance = random.Random(number)
    name = chance.choice(list(COMMANDS))
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    parameters = [each for each in command.params if not set(each.opts) & set(NOT_FUZZED)]
    count = min(len(parameters), chance.choice((1, 1, 2, 3, 5)))
    words: list[str] = []
    for parameter in chance.sample(parameters, count):
        if isinstance(parameter, click.Argument):
            times = chance.choice((1, 1, 2)) if parameter.nargs == -1 else 1
            words += [_value(chance, parameter) for _ in range(times)]
        elif isinstance(parameter, click.Option) and parameter.is_flag:
            words.append(chance.choice([*parameter.opts, *parameter.secondary_opts]))
        else:
            words += [chance.choice(parameter.opts), _value(chance, parameter)]
    # Work without end says nothing about the other options: the first case of a name wins.
    small = ["--steps", "2", "--width", "4", "--batch-size", "8"] if name == "train" else []
    if name == "serve":
        small = ["--host", "127.0.0.1", "--port", "0"]
    return [name, *small, *words]


def _value(chance: random.Random, parameter: click.Parameter) -> str:
    if chance.random() < 0.5:
        if isinstance(parameter.type, click.Choice):
            return str(chance.choice(parameter.type.choices))
        if parameter.type in (click.INT, click.FLOAT):
            return chance.choice(NUMBERS)
        if isinstance(parameter.type, click.Path):
            return chance.choice(PATHS)
    return chance.choice([*NUMBERS, *TEXTS, *PATHS])


@functools.cache
def contents() -> dict[str, bytes]:
    """The regular files of a case's folder."""
    # In a fork: threads that PyTorch starts here would be missing in the forks of the cases.
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(_make_contents).result()


def _make_contents() -> dict[str, bytes]:
    import numpy as np

    from tests.checkpoints import trained_checkpoint
    from tests.runtime import models
    from wgan.images import encode, to_pixels

    checkpoint = trained_checkpoint(data="images", steps=1).to_bytes()
    good = bytes(models.generator().SerializeToString())
    noise = np.random.RandomState(0).uniform(-1, 1, (16, 3, 32, 32)).astype(np.float32)
    images = {f"images/{k}.png": encode(pixels) for k, pixels in enumerate(to_pixels(noise))}
    return {
        "good.onnx": good,
        "endless.onnx": models.sealed(models.endless()),
        "damaged.onnx": good[:-40] + bytes(40),
        "checkpoint.pt": checkpoint,
        "damaged.pt": checkpoint[:-100],
        "runs/first/checkpoints/step-00000001.pt": checkpoint,
        "runs/first/config.json": b"{}",
        "runs/latest": b"first\n",
        "empty": b"",
        "text.txt": b"hello\x1b[31m\n",
        "good.toml": b"seed = 1\n",
        "damaged.toml": b"seed = \x00\n",
        "unreadable": b"x",
        "closed/x": b"x",
        **images,
    }


SPECIAL = {"loop": stat.S_IFLNK, "pipe": stat.S_IFIFO, "device": stat.S_IFCHR}


def make_folder(folder: Path) -> None:
    """Fill the folder of a case."""
    for name, content in contents().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    (folder / "loop").symlink_to("loop")
    os.mkfifo(folder / "pipe")
    with contextlib.suppress(PermissionError):  # only root makes a device: like /dev/null
        os.mknod(folder / "device", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (folder / "unreadable").chmod(0)
    (folder / "closed").chmod(0)


def run_case(number: int) -> str | None:
    """Run a case; return what went wrong, or None."""
    words = command_line(number)
    with TemporaryDirectory() as name:
        folder = Path(name)
        work = folder / "work"
        work.mkdir()
        make_folder(work)
        child = os.fork()
        if child == 0:
            _run_in_child(words, folder)
        status = _wait(child, SERVES_S if words[0] == "serve" else None)
        (work / "closed").chmod(0o700)
        said = (folder / "stderr").read_text(errors="replace")
        stopped = 128 + signal.SIGTERM  # a server that was still loading
        ended = 0 if words[0] == "serve" and status == stopped else status
        fault = _fault(ended, said) or _damage(work)
        if status is None and words[0] == "serve":
            fault = "a server that does not stop"
        if status is None and "pipe" in words and words[0] != "train":
            fault = "it waits for a pipe"
        shutil.rmtree(work, ignore_errors=True)
    if fault is None:
        return None
    return f"case {number}: wgan {' '.join(map(repr, words))}\n{fault}\n{said[-3000:]}"


def _run_in_child(words: list[str], folder: Path) -> None:
    os.setsid()  # so that a case is ended with the children that it has
    os.chdir(folder / "work")
    os.environ["WGAN_CACHE"] = str(folder / "cache")
    for descriptor, name in ((0, os.devnull), (1, folder / "stdout"), (2, folder / "stderr")):
        opened = os.open(name, os.O_RDWR | os.O_CREAT)
        os.dup2(opened, descriptor)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**28, 2**28))
    obey_permissions()
    sys.argv = ["wgan", *words]
    status = 0
    try:
        from wgan.cli import main

        main()
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:  # noqa: BLE001 - what is looked for
        import traceback

        traceback.print_exc()
        status = 99
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def _wait(child: int, stop_after: float | None) -> int | None:
    """Return the exit status; None if the case took too long. SIGTERM comes after some seconds."""
    started = time.monotonic()
    while (waited := time.monotonic() - started) < SECONDS:
        if stop_after is not None and waited > stop_after:
            os.kill(child, signal.SIGTERM)
            stop_after = None
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None


def _fault(status: int | None, said: str) -> str | None:
    if "Traceback" in said:
        return "a traceback"
    if status not in (None, 0, 1, 2):
        return f"exit status {status}"
    if status == 1 and "Error" not in said:
        return "status 1 without a sentence"
    if "\x1b" in said:
        return "an escape sequence"
    return None


def _damage(work: Path) -> str | None:
    for name, kind in SPECIAL.items():
        path = work / name
        if not os.path.lexists(path):
            if name != "device" or os.geteuid() == 0:
                return f"{name} is gone"
        elif stat.S_IFMT(path.lstat().st_mode) != kind:
            return f"{name} was replaced"
    return None


def run_cases(numbers: range, until: float = float("inf")) -> tuple[int, str | None]:
    """Run cases until a time of `time.monotonic`; return their number and the first fault."""
    preload()
    for done, number in enumerate(numbers):
        if time.monotonic() >= until:
            return done, None
        fault = run_case(number)
        if fault is not None:
            return done, fault
    return len(numbers), None


def preload() -> None:
    """Import, once and before the forks, what takes seconds to import."""
    from importlib import import_module

    from tests.processes import PRELOADED

    for name in PRELOADED:
        import_module(name)
    contents()


def main() -> int:
    """Run cases and print the first fault."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--count", type=int, default=100)
    options = parser.parse_args()
    done, fault = run_cases(range(options.first, options.first + options.count))
    print(fault or f"{done} command lines: each ended in a sentence, or did what it says")
    return fault is not None


if __name__ == "__main__":
    sys.exit(main())
