"""HTTP and gRPC server of exported generators, without PyTorch.

A request passes through these files in order: `connection` (bytes, time limits), `asgi` (request
id, API key, routes), `oip` or `image_routes` (validation, with `bodies` and `inference`) and
`batcher` (admission, queueing, batches). Over gRPC it passes through `grpc`, which shares
`inference` and `batcher`. `model_repository` holds the models; `main` starts and stops the server.
"""

from wgan.errors import needs_extra
from wgan.server.config import ServeConfig

__all__ = ["ServeConfig", "serve"]


def serve(config: ServeConfig) -> bool:
    """Serve generators over HTTP, and gRPC, until SIGTERM or SIGINT; call it from the main thread.

    Returns whether all threads have ended. If one is still inside ONNX Runtime, which cannot be
    interrupted, end the process with `os._exit`: finalising the interpreter would abort it.

    Raises:
        UsageError: the address cannot be bound, or a model name or the key file is not allowed.
        WganError: a model cannot be loaded.
        Stopped: a signal came before the server was started.
        MissingExtra: a package of the extras `cpu` (or `gpu`) and `serve`, or of `grpc` for
            `grpc_port`, is not installed.
    """
    with needs_extra("cpu", "serve", purpose="serving"):
        from wgan.server import main
    return main.run(config)
