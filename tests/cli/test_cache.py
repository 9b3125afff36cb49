from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from wgan.cli import cli
from wgan.training.data.pixel_cache import Cache


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("WGAN_CACHE", str(folder))
    return folder


def fill(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    pixels = np.zeros((5, 8, 8, 3), np.uint8)
    Cache(folder=folder / "images").write(
        folder / "images" / "my-photos-8-0123456789ab.npy", [(pixels, [])], (9, 8, 8, 3)
    )
    (folder / "datasets" / "cifar10").mkdir(parents=True)
    (folder / "datasets" / "cifar10" / "batch").write_bytes(bytes(3_000_000))


def test_the_cache_is_listed_with_sizes_and_what_made_each_entry(folder: Path) -> None:
    fill(folder)
    result = CliRunner().invoke(cli, ["cache", "list"])
    assert result.exit_code == 0
    lines = [line.split(maxsplit=2) for line in result.output.splitlines()]
    rows = {line[2].split("  ")[-1]: float(line[0]) for line in lines}
    assert rows["images: my-photos, 5 of 8x8, colour"] < 0.1
    assert rows["cifar10: batch"] == 3.0
    assert lines[-1] == ["3.0", "MB", f"in {folder}"]


@pytest.mark.parametrize(("channels", "told"), [(1, "grey"), (4, "alpha"), (5, "5 bands")])
def test_the_list_names_the_channels(folder: Path, channels: int, told: str) -> None:
    fill(folder)
    shape = (2, 8, 8, channels)
    Cache(folder=folder / "images").write(
        folder / "images" / "scans-8-0123456789ab.npy", [(np.zeros(shape, np.uint8), [])], shape
    )
    result = CliRunner().invoke(cli, ["cache", "list"])
    assert any("scans" in line and told in line for line in result.output.splitlines())


def test_a_cleared_cache_is_empty(folder: Path) -> None:
    fill(folder)
    result = CliRunner().invoke(cli, ["cache", "clear"])
    assert (result.exit_code, result.output) == (0, f"3.0 MB removed from {folder}\n")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("command", ["list", "clear"])
def test_a_missing_cache_is_an_empty_one(folder: Path, command: str) -> None:
    result = CliRunner().invoke(cli, ["cache", command])
    assert result.exit_code == 0
    assert "0.0 MB" in result.output
