"""`wgan verify`."""

import dataclasses
import json

import click

from wgan.cli.click_options import ConfigCommand, Given, config_options
from wgan.cli.process import protected
from wgan.errors import ModelFileError
from wgan.runtime.config import VerifyConfig
from wgan.text import printable

MARKS = {True: "ok", False: "FAILED", None: "not tried"}


@click.command(cls=ConfigCommand)
@protected()
@config_options(VerifyConfig)
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
def verify(given: Given, as_json: bool) -> None:
    """Check that an exported file still draws what PyTorch drew.

    Structure, checksums, the golden images that PyTorch drew, images that do not depend on
    their batch, and runs that repeat to the bit: on every provider that works here, with ONNX
    Runtime's optimisations on and off, with one thread and many. The exit status is 1 when
    anything differs. By default the latest export. An ONNX file of another project has no images
    to compare with: everything else is checked, and the output lists what is not proved.
    """
    from wgan.runtime.model_source import find_model
    from wgan.runtime.verification import verify as run  # imports numpy and ONNX Runtime

    config = given.make(VerifyConfig)
    path = find_model(config.file, only_onnx=False)
    done = []
    for check in run(dataclasses.replace(config, file=path)):
        done.append(check)
        if not as_json:
            click.echo(printable(f"{MARKS[check.passed]:10}{check}"))
    has_receipt = not any(check.name == "receipt" for check in done)
    failed = [check for check in done if check.passed is False]
    if as_json:
        content = [dataclasses.asdict(check) for check in done]
        answer = {"file": str(path), "passed": not failed, "receipt": has_receipt}
        click.echo(json.dumps({**answer, "checks": content}))
    if failed:
        fault = "is not what was proved" if has_receipt else "fails"
        raise ModelFileError(f"{path} {fault}: {failed[0]}")
