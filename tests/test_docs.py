"""What the documentation shows is run as it stands."""

import re
import sys
from pathlib import Path

import pytest

from tests.processes import ROOT, run, wgan_command


def code_blocks(page: str, language: str) -> list[str]:
    text = (ROOT / "docs" / page).read_text()
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture
def own_networks(tmp_path: Path) -> Path:
    networks, training = code_blocks("own-networks.md", "python")
    (tmp_path / "my_networks.py").write_text(networks)
    (tmp_path / "training.py").write_text(training)
    return tmp_path


def test_training_ones_own_networks_from_python_is_what_the_page_shows(own_networks: Path) -> None:
    result = run([sys.executable, "training.py"], own_networks)
    assert result.returncode == 0, result.stderr
    assert [line.split()[0] for line in result.stdout.splitlines()] == [
        str(step) for step in range(1, 21)
    ]


def test_training_ones_own_networks_from_the_command_line_resumes_and_asks_before_running_code(
    own_networks: Path,
) -> None:
    short = ("--run", "run", "--batch-size", 16, "--steps")
    named = ("--arch", "my_networks:build")
    first = run(wgan_command("train", *named, *short, 2), own_networks)
    assert first.returncode == 0, first.stderr
    unnamed = run(wgan_command("train", *short, 3), own_networks)
    assert unnamed.returncode == 2
    assert "give --arch my_networks:build to allow that code to run" in unnamed.stderr
    again = run(wgan_command("train", *named, *short, 3), own_networks)
    assert again.returncode == 0, again.stderr
    exported = run(wgan_command("export", "run", *named), own_networks)
    assert exported.returncode == 0, exported.stderr
    drawn = run(wgan_command("sample", "a.png"), own_networks)
    assert drawn.returncode == 0, drawn.stderr
