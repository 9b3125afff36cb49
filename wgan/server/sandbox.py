"""A model file tried in a process of its own before the server opens it.

A file may come from anyone, and native code that reads it may crash, which no Python can catch.
What crashes here is refused in a sentence, and the server and its other models live on.
"""

import asyncio
import contextlib
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE

from wgan.errors import ModelFileError

_CODE = "from wgan.server.sandbox import open_and_draw; open_and_draw()"


async def try_out(data: bytes) -> None:
    """Open a model and draw one image in a process of its own, on the CPU.

    Raises:
        ModelFileError: that process crashed. Whatever else is wrong is told by who opens the model
            afterwards.
    """
    # Of the same packages; -P keeps the working folder out, in which anything may lie.
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _CODE),
            env={**os.environ, "PYTHONPATH": path},
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
    except OSError as exc:
        raise ModelFileError(f"there can be no process to try it in: {exc}") from exc
    try:
        # Whoever crashes early does not read it all.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            await process.communicate(data)
        code = await process.wait()
    finally:
        if process.returncode is None:  # the server is told to stop
            process.kill()
            await process.wait()
    if -code == getattr(signal, "SIGKILL", None):
        raise ModelFileError(
            "the process that tried it was killed (SIGKILL), most likely for lack of memory: a"
            " second copy of the model has to fit beside the one at work"
        )
    if code < 0 or code > 255:  # a signal, or one of Windows' exceptions
        raise ModelFileError(
            f"ONNX Runtime crashes on this model ({_name(code)}): the file is damaged, or not made"
            " for it"
        )


def open_and_draw() -> None:
    """What the process of its own does, with the model on its standard input."""
    from wgan.errors import WganError
    from wgan.runtime.generator import Generator

    with contextlib.suppress(WganError, MemoryError):
        Generator(sys.stdin.buffer.read(), "cpu").sample(range(1))
    os._exit(0)


def _name(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"{code:#x}"
