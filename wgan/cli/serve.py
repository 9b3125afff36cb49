"""`wgan serve`."""

import logging
import os
from pathlib import Path
from typing import Literal

import click


@click.command()
@click.argument("files", nargs=-1, metavar="[[NAME=]FILE ...]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at.")
@click.option("--port", default=8000, show_default=True, help="Port; 0 takes any that is free.")
@click.option("--device", default="auto", show_default=True, help="As in wgan sample.")
@click.option("--threads", type=int, help="CPU threads of a run.  [default: the usable cores]")
@click.option("--max-batch", default=64, show_default=True, help="Images of a run.")
@click.option(
    "--max-wait", default=4.0, show_default=True, help="Milliseconds to wait for others to join."
)
@click.option("--max-images", default=256, show_default=True, help="Images of a request.")
@click.option("--max-queue", default=512, show_default=True, help="Images that may wait.")
@click.option("--max-body", default=8 * 2**20, show_default=True, help="Bytes of a body.")
@click.option("--max-connections", default=1000, show_default=True, help="Connections at once.")
@click.option(
    "--header-seconds", default=10.0, show_default=True, help="Time for a request's headers."
)
@click.option("--body-seconds", default=30.0, show_default=True, help="Time for a request's body.")
@click.option(
    "--send-seconds", default=30.0, show_default=True, help="Time for a client to take its answer."
)
@click.option(
    "--drain-seconds", default=30, show_default=True, help="Time to finish in after SIGTERM."
)
@click.option(
    "--api-key-file",
    type=click.Path(path_type=Path),
    help="A file of keys, one a line; without it everyone may ask.",
)
@click.option(
    "--cors-origin", multiple=True, help="A web site whose pages may ask; may be repeated."
)
@click.option(
    "--log-format",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="json logs each request, with its id.",
)
def serve(
    files: tuple[str, ...],
    host: str,
    port: int,
    device: str,
    threads: int | None,
    max_batch: int,
    max_wait: float,
    max_images: int,
    max_queue: int,
    max_body: int,
    max_connections: int,
    header_seconds: float,
    body_seconds: float,
    send_seconds: float,
    drain_seconds: int,
    api_key_file: Path | None,
    cors_origin: tuple[str, ...],
    log_format: Literal["text", "json"],
) -> None:
    """Serve exported generators over HTTP, with no PyTorch.

    Each FILE is an ONNX export, called by its stem or by NAME, or builtin; without any, the latest
    export, and where there is none, the built-in generator.
    Speaks the Open Inference Protocol v2 at /v2, has images at /v1, a page at / and its
    documentation at /docs. SIGHUP takes up changed files, SIGTERM finishes what is running.
    """
    from wgan import server

    config = server.ServeConfig(
        files=files,
        host=host,
        port=port,
        device=device,
        threads=threads,
        max_batch=max_batch,
        max_wait=max_wait,
        max_images=max_images,
        max_queue=max_queue,
        max_body=max_body,
        max_connections=max_connections,
        header_seconds=header_seconds,
        body_seconds=body_seconds,
        send_seconds=send_seconds,
        drain_seconds=drain_seconds,
        api_key_file=api_key_file,
        cors_origin=cors_origin,
        log_format=log_format,
    )
    if not server.serve(config):
        logging.shutdown()
        os._exit(0)
