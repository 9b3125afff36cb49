"""`wgan serve`."""

import logging

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import fast_exit
from wgan.server import ServeConfig
from wgan.server import serve as run_server


@click.command(cls=ConfigCommand)
@config_options(ServeConfig)
def serve(given: Given) -> None:
    """Serve exported generators over HTTP and gRPC, without PyTorch.

    Each FILE is an ONNX export, a published folder, hf://USER/NAME, or builtin; its model is
    called NAME, or by the file's stem.
    Without a FILE the latest export is served, or the built-in generator if there is none.
    /v2 is the Open Inference Protocol v2, /v1 returns images, / is a page to try them, /docs the
    documentation; with --grpc-port the protocol is served over gRPC too. SIGHUP loads changed
    files, SIGTERM stops after the running requests.
    """
    if not run_server(given.make(ServeConfig)):
        logging.shutdown()
        fast_exit()
