"""`wgan export`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.export import ExportConfig, ExportedFile
from wgan.export import export as export_generator
from wgan.model_file.manifest import Manifest
from wgan.progress import Stages
from wgan.stop import Stopped
from wgan.text import printable


@click.command(cls=ConfigCommand)
@protected("PyTorch or ONNX Runtime")
@config_options(ExportConfig)
def export(given: Given) -> None:
    """Export a generator as one file that is proved to match PyTorch.

    With --module it is a generator of another project (docs/bring-your-own.md).
    The source is a run's folder or a checkpoint, by default the latest run. Of a run, the newest
    checkpoint is exported unless --checkpoint names another. The weights are the moving average
    (EMA). An export whose images differ from PyTorch's by more than the tolerance is refused and
    not written. docs/exporting.md lists the tolerances; the manifest records looser ones.
    """
    written: list[ExportedFile] = []

    def show(file: ExportedFile) -> None:
        written.append(file)
        manifest = file.manifest
        stages.clear()
        step = "" if manifest.step is None else f"step {manifest.step}, "
        click.echo(f"{printable(file.path)}: {step}{proof_text(manifest, 'PyTorch')}")

    with stages_shown() as stages:
        try:
            export_generator(given.make(ExportConfig), on_file=show)
        except Stopped as exc:
            complete = ", ".join(str(file.path) for file in written) or "nothing"
            raise Stopped(exc.number, f"stopped; {complete} was written") from None


def proof_text(manifest: Manifest, original: str) -> str:
    """Return the precision of a file, and how close its images are to those of the original."""
    seen, kept = manifest.receipt.seen, ", ".join(manifest.float_layers)
    return (
        f"{manifest.precision} for {manifest.target}; within {seen.images:.1e} of {original} in"
        f" float, {seen.pixels} of 255 in pixels, PSNR {seen.psnr:.0f} dB"
        + (f"; in float: {printable(kept)}" if kept else "")
    )


@contextmanager
def stages_shown() -> Iterator[Stages]:
    """Show the stages that `wgan.export` logs while the block runs."""
    with Stages() as stages:
        handler = _StageHandler(stages)
        logging.getLogger("wgan").addHandler(handler)
        logging.getLogger("wgan.export").setLevel(logging.INFO)
        try:
            yield stages
        finally:
            logging.getLogger("wgan").removeHandler(handler)
            logging.getLogger("wgan.export").setLevel(logging.NOTSET)


class _StageHandler(logging.Handler):
    """Shows what the export logs at the level INFO: which stage it is in."""

    def __init__(self, stages: Stages) -> None:
        super().__init__(logging.INFO)
        self._stages = stages

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno == logging.INFO:
            self._stages.show(record.getMessage())
        else:  # a warning, which the root logger prints
            self._stages.clear()
