"""Child processes for native code that may crash: a crash becomes one sentence.

A model file can come from anyone, and native code that reads it can crash, which Python cannot
catch. The command line works in a child process from its first moment; the server, which has
threads and cannot fork, opens each new model once in a process that is thrown away.
"""

import contextlib
import os
import signal
import sys
import time
from typing import NoReturn

from wgan.errors import ModelFileError
from wgan.stop import SAME_SIGNAL_S, STOP_SIGNALS, Stopped

GRACE_S = 10.0
"""Seconds that a child has to end after a signal: one native call can run without end."""

_PR_SET_PDEATHSIG = 1  # from <sys/prctl.h>

_PROBE = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's handler would wait for native code
from wgan.sandbox import die_with_parent
die_with_parent()
from wgan.runtime import ForeignOptions, Generator
foreign = ForeignOptions.from_json(sys.argv[1])
Generator(sys.stdin.buffer.read(), "cpu", foreign=foreign).sample(range(1))
"""


def continue_in_child(engine: str) -> None:
    """Fork: return in a child process, while the parent waits and ends as the child does.

    If the child crashes, the parent says in a sentence that `engine`, native code, crashed. To be
    called before large imports: the fork then takes about a millisecond, and no thread exists
    that a fork would lose. Only on Linux; elsewhere a fork without exec is not safe, and this
    does nothing.
    """
    if sys.platform != "linux":
        return
    parent = os.getpid()
    # Blocked until sigtimedwait: a signal that arrives before it must not be lost.
    awaited = (*STOP_SIGNALS, signal.SIGCHLD)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # if ignored, no exit status would be kept
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, awaited)
    child = os.fork()
    if child:
        _wait_for(child, engine)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    die_with_parent()
    if os.getppid() != parent:  # the parent died before
        os._exit(1)


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent ends, even by SIGKILL. Only on Linux."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _wait_for(child: int, engine: str) -> NoReturn:
    """Forward signals to the child and end as it does; kill it if it does not stop in time."""
    received: dict[int, float] = {}  # signal -> when it came first
    ended, status = 0, 0
    while not ended:
        info = signal.sigtimedwait((*STOP_SIGNALS, signal.SIGCHLD), 1.0)
        now = time.monotonic()
        impatient = False
        if info is not None and info.si_signo in STOP_SIGNALS:
            impatient = now - received.setdefault(info.si_signo, now) >= SAME_SIGNAL_S
            os.kill(child, info.si_signo)
        if impatient or (received and now - min(received.values()) >= GRACE_S):
            os.kill(child, signal.SIGKILL)
        ended, status = os.waitpid(child, os.WNOHANG)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        os._exit(code)
    if received:  # it did not stop in time
        os.write(2, b"stopped; no incomplete file has a final name\n")
        os._exit(128 + next(iter(received)))
    message = _explain_crash(
        -code, engine, "free memory, or use a smaller --batch-size where there is one"
    )
    os.write(2, f"Error: {message}; no incomplete file has a final name\n".encode())
    os._exit(1)


async def probe(model: bytes, options: str = "{}") -> None:
    """Open a model and draw one image in a new process, on the CPU.

    `options` are those of a file of another project, as `ForeignOptions.to_json` writes them.

    Python errors in that process are ignored: opening the model afterwards raises them again.
    Cancelling this kills the process: a model can run without end.

    Raises:
        ModelFileError: the process crashed or was killed.
        Stopped: it was stopped by SIGINT or SIGTERM, which a terminal sends to all processes of
            a command, and systemd to all of a service.
    """
    import asyncio  # not at the top: the command line forks before large imports
    from asyncio.subprocess import DEVNULL, PIPE

    # The same packages; -P keeps the working folder, which may hold anything, off the path.
    path = os.pathsep.join(map(os.path.abspath, sys.path))
    try:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-c", _PROBE, options),
            env={**os.environ, "PYTHONPATH": path},
            stdin=PIPE,
            stdout=DEVNULL,
            stderr=DEVNULL,
        )
    except OSError as exc:
        raise ModelFileError(f"no process can be started to test the model in: {exc}") from exc
    try:
        # A process that ends early does not read all of its input. Writing to it then fails; in
        # uvloop with a RuntimeError, where the event loop has noticed its end.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
            await process.communicate(model)
        code = await process.wait()
    finally:
        if process.returncode is None:  # cancelled
            process.kill()
            await process.wait()
    if -code in STOP_SIGNALS:
        raise Stopped(-code)
    if code < 0:
        hint = "a second copy of the model has to fit beside the one in use"
        raise ModelFileError(_explain_crash(-code, "ONNX Runtime", hint))
    if code > 255:  # a Windows exception code
        raise ModelFileError(f"ONNX Runtime crashed ({code:#x}): the model file is damaged")


def _explain_crash(number: int, engine: str, memory_hint: str) -> str:
    name = signal.Signals(number).name
    if number == getattr(signal, "SIGKILL", None):  # what Linux sends when memory runs out
        return f"the process was killed (SIGKILL), most likely for lack of memory: {memory_hint}"
    return (
        f"{engine} crashed ({name}), most likely on a model file that is damaged or not made for it"
    )
