import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

from wgan.cli import COMMANDS, cli


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_of_a_shell_can_be_read_by_it(shell: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli, ["completion", shell])
    assert (result.exit_code, result.stderr) == (0, "")
    assert "_WGAN_COMPLETE" in result.stdout
    if shutil.which(shell) is None:
        return  # this machine cannot try it
    script = tmp_path / "script"
    script.write_text(result.stdout)
    done = subprocess.run([shell, "-n", script], capture_output=True, text=True, env={**os.environ})
    assert (done.returncode, done.stderr) == (0, "")


def completed(*words: str) -> list[str]:
    """What the tab key offers for the last of the words."""
    complete = BashComplete(cli, {}, "wgan", "_WGAN_COMPLETE")
    return [item.value for item in complete.get_completions(list(words[:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("",), list(COMMANDS)),
        (("sa",), ["sample"]),
        (("train", "--learning-r"), ["--learning-rate"]),
        (("train", "--recipe", ""), ["wgan-gp", "resnet"]),
        (("sample", "--device", "cu"), ["cuda"]),
        (("export", "--precision", "i"), ["int8"]),
        (("cache", ""), ["clear", "list"]),
    ],
)
def test_commands_options_and_choices_are_completed(
    words: tuple[str, ...], offered: list[str]
) -> None:
    assert set(offered) <= set(completed(*words))
