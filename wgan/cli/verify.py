"""`wgan verify`."""

import dataclasses
import json
from pathlib import Path

import click

from wgan.cli.process import guard

MARKS = {True: "ok", False: "FAILED", None: "not tried"}


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the checks as JSON.")
@click.pass_obj
def verify(owns_process: bool | None, file: Path, as_json: bool) -> None:
    """Check that an exported file still draws what PyTorch drew.

    Structure, checksums, the golden images that PyTorch drew, images that do not depend on
    their batch, and runs that repeat to the bit: on every provider that works here, with ONNX
    Runtime's optimizations on and off, with one thread and many. The exit status is 1 when
    anything differs.
    """
    guard(owns_process)
    from wgan.errors import ModelFileError
    from wgan.runtime.verification import verify as checks_of

    checks = []
    for check in checks_of(file):
        checks.append(check)
        if not as_json:
            click.echo(f"{MARKS[check.passed]:10}{check}")
    failed = [check for check in checks if check.passed is False]
    if as_json:
        told = [dataclasses.asdict(check) for check in checks]
        click.echo(json.dumps({"file": str(file), "passed": not failed, "checks": told}))
    if failed:
        raise ModelFileError(f"{file} is not what was proved: {failed[0]}")
