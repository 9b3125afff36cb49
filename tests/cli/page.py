"""Write docs/cli.md from the commands' help texts: python -m tests.cli.page."""

import click

from tests.processes import ROOT
from wgan.cli import COMMANDS, cli
from wgan.cli.click_options import ConfigCommand

PAGE = ROOT / "docs" / "cli.md"

HEAD = """# Commands

<!-- Written by `make docs` from the commands' help: change the help texts, not this page. -->

Every command has `--help`, which leaves out the advanced options of the larger commands;
`--help-all` shows all, as this page does. Most commands take `--config FILE`, a TOML file whose
keys are the names of their options (`batch_size = 32`, `format = ["onnx", "pt2"]`, `flip = false`);
the command line has precedence over the file. The keys of the arguments are `data` (train,
prepare), `source` (export), `file` (optimize, info, verify, bench), `generators` (eval), `out`
(sample, directions), `images` (project), `folder` and `exports` (publish), `files` (serve) and
`shards` (prepare). `wgan train --dry-run` prints such a file.
"""


def page() -> str:
    """Return docs/cli.md as it should be."""
    parent = cli.make_context("wgan", ["--help"], resilient_parsing=True, terminal_width=100)
    sections = [HEAD]
    for name in COMMANDS:
        command = cli.get_command(parent, name)
        assert command is not None
        with click.Context(command, parent, info_name=name) as context:
            if isinstance(command, ConfigCommand):
                shown = command.full_help(context)
            else:
                shown = command.get_help(context)
        text = "\n".join(line.rstrip() for line in shown.splitlines())
        sections.append(f"## wgan {name}\n\n```text\n{text}\n```\n")
    return "\n".join(sections)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
