"""A server process: bind, load the models, serve, drain, stop."""

import asyncio
import contextlib
import functools
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import uvicorn

from wgan.errors import UsageError, WganError, needs_extra
from wgan.server.asgi import ApiKeys, make_app, read_keys
from wgan.server.batcher import Scheduler
from wgan.server.config import ServeConfig
from wgan.server.connection import connection_type
from wgan.server.model_repository import ModelRepository, model_files
from wgan.server.telemetry import Metrics, configure_logs
from wgan.stop import STOP_SIGNALS, Stopped, check_stop, install_stop_handler

if TYPE_CHECKING:
    from wgan.server.grpc.server import GrpcServer

logger = logging.getLogger("wgan.server")

BACKLOG = 2048
"""Connections that the kernel queues until they are accepted."""

GC_THRESHOLD = 20_000
"""Allocations between two garbage collections. A request allocates some hundred objects, so that
Python's default of 700 would run a collection every few requests."""

FD_RESERVE = 100
"""File descriptors needed beside those of connections."""

FD_MINIMUM = 32
"""File descriptors without which no server starts: its event loop would end the process."""

_POLL_SECONDS = 0.1
"""How soon a second signal is noticed, as in uvicorn."""

_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run(config: ServeConfig) -> bool:
    """Do the work of `wgan.server.serve`, which documents it."""
    with install_stop_handler(), thread_errors():  # signals: until the loop has its own
        files = model_files(config.files)
        keys = ApiKeys(read_keys(config.api_key_file) if config.api_key_file else ())
        configure_logs(as_json=config.log_format == "json")
        # The batcher thread needs the GIL between two runs; by default the event loop's thread
        # would keep it for 5 ms.
        sys.setswitchinterval(0.0005)
        raise_fd_limit(config.max_connections + FD_RESERVE)
        with contextlib.closing(_bind(config.host, config.port)) as listener:
            logger.info("listening at %s; loading %s", _url(listener), ", ".join(files))
            if config.host not in _LOOPBACK and config.api_key_file is None:
                logger.warning(
                    "warning: %s can be reached from other machines, and no API key is needed: set"
                    " --api-key-file",
                    config.host,
                )
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(_serve(listener, config, files, keys))


@contextlib.contextmanager
def thread_errors() -> Iterator[None]:
    """Turn Python's error for a refused thread into a sentence."""
    try:
        yield
    except RuntimeError as exc:
        if "can't start new thread" not in str(exc):
            raise
        raise WganError(
            "the system refuses another thread: raise the limit on processes (ulimit -u, or that of"
            " the container)"
        ) from exc


async def _serve(
    listener: socket.socket, config: ServeConfig, files: Mapping[str, Path], keys: ApiKeys
) -> bool:
    metrics = Metrics()
    repository = ModelRepository(files, config, metrics)
    scheduler = Scheduler(config, metrics)
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)  # this package logs what matters
    server = _Server(
        uvicorn.Config(
            make_app(config, repository, scheduler, keys, metrics),
            http=connection_type(config),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client must not choose its own address
            timeout_keep_alive=int(config.idle_seconds),
            timeout_graceful_shutdown=config.drain_seconds,
            backlog=BACKLOG,
        )
    )
    if config.grpc_port is not None:
        with needs_extra("grpc", purpose="--grpc-port"):
            from wgan.server.grpc.server import GrpcServer
        server.grpc = GrpcServer(config, repository, scheduler, keys, metrics)
        await server.grpc.start()
        logger.info("gRPC at %s", server.grpc.address)
    metrics.connections.set_function(lambda: len(server.server_state.connections))
    with _signal_handlers(server, repository):
        loading = asyncio.create_task(_load(repository, server, listener))
        try:
            await server.serve([listener])
            if loading.done():
                loading.result()  # raises the reason if a model could not be loaded
            elif server.stopped_by:
                raise Stopped(server.stopped_by)
        finally:
            loading.cancel()
            await asyncio.sleep(0)  # requests that uvicorn has cancelled leave the queues
            ended = repository.close()
    logger.info("stopped")
    return ended


async def _load(
    repository: ModelRepository, server: uvicorn.Server, listener: socket.socket
) -> None:
    try:
        await repository.load()
    except BaseException:
        server.should_exit = True
        raise
    gc.collect()
    gc.freeze()  # collections need not scan objects that live as long as the server
    gc.set_threshold(GC_THRESHOLD)
    logger.info("ready at %s", _url(listener))


class _Server(uvicorn.Server):
    """uvicorn's server without its signal handlers, which end the process by the signal."""

    stopped_by = 0  # the last signal
    grpc: "GrpcServer | None" = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain HTTP and gRPC at the same time; a second signal ends both."""
        if self.grpc is None:
            await super().shutdown(sockets)
            return
        draining = asyncio.create_task(self.grpc.stop(self.config.timeout_graceful_shutdown))
        await super().shutdown(sockets)
        while not (draining.done() or self.force_exit):
            await asyncio.wait([draining], timeout=_POLL_SECONDS)
        if self.force_exit:
            await self.grpc.stop(None)
        await draining


@contextlib.contextmanager
def _signal_handlers(server: _Server, repository: ModelRepository) -> Iterator[None]:
    """Drain on SIGTERM and SIGINT, exit at once on the second; reload models on SIGHUP."""
    loop = asyncio.get_running_loop()
    reloads = set()  # the loop itself keeps weak references to tasks only

    def stop(number: int) -> None:
        logger.info("stopping")
        server.stopped_by = number
        server.force_exit = server.should_exit
        server.should_exit = True

    def reload() -> None:
        task = loop.create_task(repository.reload())
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    handlers: dict[int, Callable[[], None]] = {
        number: functools.partial(stop, number) for number in STOP_SIGNALS
    }
    if hasattr(signal, "SIGHUP"):  # not on Windows
        handlers[signal.SIGHUP] = reload
    with contextlib.ExitStack() as stack:
        for number, handler in handlers.items():
            stack.callback(_add_signal_handler(loop, number, handler))
        check_stop()  # a signal that came before these handlers were set
        yield


def _add_signal_handler(
    loop: asyncio.AbstractEventLoop, number: int, handler: Callable[[], None]
) -> Callable[[], object]:
    """Call `handler` in the loop on a signal; returns a function that removes it."""
    try:
        loop.add_signal_handler(number, handler)
    except NotImplementedError:  # Windows, where Python's own handler wakes the loop
        before = signal.signal(number, lambda *_: loop.call_soon_threadsafe(handler))
        return lambda: signal.signal(number, before)
    return lambda: loop.remove_signal_handler(number)


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        if os.name == "posix":  # on Windows this would steal another server's port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(BACKLOG)  # clients that connect before uvicorn runs wait
    except (OSError, TypeError, ValueError) as exc:  # the last two: a name that is not text
        listener.close()
        raise UsageError(f"cannot listen at {host} port {port}: {exc}") from exc
    return listener


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def raise_fd_limit(needed: int) -> None:
    """Raise the limit on open files to `needed`, or as far as the system allows with a warning.

    Each connection is an open file, and systems start a process with a limit of 256 to 1024.

    Raises:
        WganError: the system allows fewer than any server needs.
    """
    try:
        import resource
    except ModuleNotFoundError:  # Windows, whose sockets are not files
        logger.info("this system has no limit on open files that could be raised")
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    limit = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (ValueError, OSError):  # macOS reports no hard limit and still enforces one
        limit = soft
    if limit < FD_MINIMUM:
        raise WganError(
            f"the system allows {limit} open files, and a server needs at least {FD_MINIMUM}: raise"
            " the limit (ulimit -n)"
        )
    if limit < needed:
        logger.warning(
            "warning: at most %d files may be open at once, and %d are needed: raise the limit with"
            " ulimit -n, or lower --max-connections",
            limit,
            needed,
        )


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ModuleNotFoundError:  # not available on Windows
        return None
    return uvloop.new_event_loop
