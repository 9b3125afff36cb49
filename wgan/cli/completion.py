"""`wgan completion`."""

import click
from click.shell_completion import get_completion_class


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a script: the tab key then completes in your shell.

    \b
    wgan completion bash >> ~/.bashrc
    wgan completion zsh >> ~/.zshrc
    wgan completion fish > ~/.config/fish/completions/wgan.fish

    A new shell then completes commands, options and choices.
    """  # noqa: D301 - click's \b is a real backspace
    from wgan.cli import cli

    made = get_completion_class(shell)
    assert made is not None  # click knows these three
    # Not `source`, which asks the installed bash for its version: the script may be for elsewhere.
    script = made(cli, {}, "wgan", "_WGAN_COMPLETE")
    click.echo(script.source_template % script.source_vars())
