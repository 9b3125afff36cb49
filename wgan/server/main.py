"""A server's life: bound, loaded, at work, told to stop, drained."""

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from wgan.errors import UsageError
from wgan.server import logs
from wgan.server.app import make_app
from wgan.server.connection import connection_type
from wgan.server.metrics import Metrics
from wgan.server.model_repository import ModelRepository
from wgan.server.open_files import allow_open_files
from wgan.server.settings import Settings

log = logging.getLogger("wgan.server")

BACKLOG = 2048
"""Connections that the system keeps until they are accepted."""

GARBAGE = 20_000
"""Objects made between two collections. A request makes some hundred, and Python's 700 would have
every few requests pay for one."""

_LOCAL = ("127.0.0.1", "::1", "localhost")


def serve(files: Mapping[str, Path], settings: Settings) -> bool:
    """Serve `files`, each a model's name and where it stands, until SIGTERM or SIGINT.

    Returns whether every thread has ended. Where one is still inside ONNX Runtime, which cannot
    be interrupted, the process should end with `os._exit`: it aborts if the interpreter is taken
    down under it.

    Raises:
        UsageError: the address cannot be bound.
        WganError: a model cannot be loaded.
    """
    logs.configure(settings.json_logs)
    # The thread that draws needs the interpreter between two runs, and the event loop's thread
    # would keep it for 5 ms.
    sys.setswitchinterval(0.0005)
    allow_open_files(settings.limits.max_connections + 100)
    bound = _bind(settings.host, settings.port)
    with contextlib.closing(bound):
        log.info("listening at %s; loading %s", _url(bound), ", ".join(files))
        _warn_if_open(settings)
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_serve(bound, files, settings))


async def _serve(bound: socket.socket, files: Mapping[str, Path], settings: Settings) -> bool:
    metrics = Metrics()
    shelf = ModelRepository(files, settings, metrics)
    server = _make_server(make_app(settings, shelf, metrics), settings)
    metrics.connections.set_function(lambda: len(server.server_state.connections))
    with _signals(server, shelf):
        loading = asyncio.create_task(_load(shelf, server, bound))
        try:
            await server.serve([bound])
            if loading.done():
                loading.result()  # raises what went wrong
        finally:
            loading.cancel()
            ended = shelf.close()
    log.info("stopped")
    return ended


async def _load(shelf: ModelRepository, server: uvicorn.Server, bound: socket.socket) -> None:
    try:
        await shelf.load()
    except BaseException:
        server.should_exit = True
        raise
    gc.collect()
    gc.freeze()  # what stands for good need not be looked through at each collection
    gc.set_threshold(GARBAGE)
    log.info("ready at %s", _url(bound))


def _make_server(app: ASGIApp, settings: Settings) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=connection_type(settings.limits),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # no header may say who a client is
        timeout_keep_alive=int(settings.limits.idle_seconds),
        timeout_graceful_shutdown=settings.drain_seconds,
        backlog=BACKLOG,
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # what matters is said here
    return _Server(config)


class _Server(uvicorn.Server):
    """uvicorn's, which leaves the signals to us: theirs would end the process by SIGTERM."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@contextlib.contextmanager
def _signals(server: uvicorn.Server, shelf: ModelRepository) -> Iterator[None]:
    """SIGTERM and SIGINT stop, a second one at once; SIGHUP looks for changed files."""
    loop = asyncio.get_running_loop()
    tasks = set()

    def stop() -> None:
        log.info("stopping")
        server.force_exit = server.should_exit
        server.should_exit = True

    def reload() -> None:
        task = loop.create_task(shelf.reload())
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    handlers = {signal.SIGTERM: stop, signal.SIGINT: stop}
    if hasattr(signal, "SIGHUP"):  # Windows has none
        handlers[signal.SIGHUP] = reload
    with contextlib.ExitStack() as stack:
        for number, handler in handlers.items():
            stack.callback(_listen(loop, number, handler))
        yield


def _listen(
    loop: asyncio.AbstractEventLoop, number: int, handler: Callable[[], None]
) -> Callable[[], object]:
    """Have the loop call `handler` on a signal; returns what undoes it."""
    try:
        loop.add_signal_handler(number, handler)
    except NotImplementedError:  # Windows, where Python's own handler wakes the loop
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(handler))
        return lambda: signal.signal(number, before)
    return lambda: loop.remove_signal_handler(number)


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would take the port from another server
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)  # who comes before uvicorn is up waits, and is not refused
    except (OSError, OverflowError) as exc:
        bound.close()
        raise UsageError(f"cannot listen at {host} port {port}: {exc}") from exc
    return bound


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _warn_if_open(settings: Settings) -> None:
    if settings.host not in _LOCAL and not settings.keys:
        log.warning(
            "warning: %s can be reached from other machines, and no key is asked for: give"
            " --api-key-file",
            settings.host,
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # Windows has none
        return None
    return uvloop.new_event_loop
