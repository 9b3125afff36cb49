"""What `wgan train` says, in this process: estimates, notes, what to run next, moved data."""

import json
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from wgan.cli import cli
from wgan.errors import CheckpointError, DataError, SettingChanged, UsageError

TINY = (
    *("--width", "2", "--latent-dim", "4", "--batch-size", "4", "--n-critic", "1"),
    *("--device", "cpu", "--no-cache"),
)

NETWORKS = """
from torch import nn
from wgan.training.networks.dcgan import DCGANCritic, DCGANGenerator

def build(config):
    return (
        DCGANGenerator(config.size, config.channels, config.latent_dim, config.width),
        DCGANCritic(config.size, config.channels, config.width, "none"),
    )
"""


def make_images(folder: Path, count: int, seed: int = 0) -> None:
    folder.mkdir(parents=True)
    random = np.random.RandomState(seed)
    for index in range(count):
        pixels = random.randint(0, 256, (32, 32, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wgan(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result


def train(*arguments: object) -> str:
    return wgan("train", *arguments).stdout


def test_a_run_that_is_done_says_so(here: Path) -> None:
    make_images(here / "faces", 4)
    assert "at step 3 of 3; images: run/previews" in train(
        "faces", *TINY, "--run", "run", "--steps", 3
    )
    assert "nothing to do: the run is done, at step 3" in train("--run", "run", "--steps", 2)


def test_the_hint_for_a_longer_run_works_as_printed(here: Path) -> None:
    make_images(here / "own images", 4)
    (here / "own_networks.py").write_text(NETWORKS)
    first = train(
        *("own images", *TINY, "--run", "it's a run", "--arch", "own_networks:build"),
        *("--steps", 1, "--tracker", "tensorboard"),
    )
    (hint,) = re.findall("^Longer:  (.*)$", first, re.MULTILINE)
    program, *words = shlex.split(hint)
    assert program == "wgan"
    assert "--tracker tensorboard" in hint
    again = wgan(*words).stdout
    assert "at step 10 of 10" in again
    assert "it's a run  (resumed)" in again


def test_another_working_folder_finds_the_data(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(here / "faces", 4)
    train("faces", *TINY, "--run", "run", "--steps", 1)
    (here / "elsewhere").mkdir()
    monkeypatch.chdir(here / "elsewhere")
    assert "at step 2 of 2" in train("--run", "../run", "--steps", 2, "--no-cache")


def test_a_run_whose_data_moved_resumes_if_the_images_are_the_same(here: Path) -> None:
    make_images(here / "faces", 4)
    train("faces", *TINY, "--run", "run", "--steps", 1)
    shutil.move(here / "faces", here / "people")
    with pytest.raises(DataError, match="has moved, run  wgan train DATA --run run"):
        train("--run", "run", "--steps", 2)
    assert "at step 2 of 2" in train("people", "--run", "run", "--steps", 2, "--no-cache")
    assert json.loads((here / "run" / "config.json").read_text())["data"] == str(here / "people")
    make_images(here / "others", 4, seed=1)
    with pytest.raises(SettingChanged, match=r"data: the images of .*others are not those"):
        train("others", "--run", "run", "--steps", 3, "--no-cache")


def test_a_run_without_its_config_file_keeps_its_settings(here: Path) -> None:
    make_images(here / "faces", 4)
    train("faces", *TINY, "--run", "run", "--steps", 1, "--seed", 3)
    before = json.loads((here / "run" / "config.json").read_text())
    (here / "run" / "config.json").unlink()
    with pytest.raises(SettingChanged, match=r"--learning-rate was 0\.004 when this run began"):
        train("--run", "run", "--steps", 2, "--lr", 0.1)
    with pytest.raises(SettingChanged, match="--seed was 3"):
        train("--run", "run", "--steps", 2, "--seed", 5)
    again = train("--run", "run", "--steps", 2, "--no-cache")
    assert "run  (resumed)" in again
    assert "at step 2 of 2" in again
    after = json.loads((here / "run" / "config.json").read_text())
    assert after == {**before, "steps": 2}
    (here / "run" / "config.json").unlink()
    for path in (here / "run" / "checkpoints").iterdir():
        path.write_bytes(b"x")
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints of run can be read"):
        train("--run", "run", "--steps", 3)


def test_a_run_in_its_data_folder_resumes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_images(here / "faces", 4)
    monkeypatch.chdir(here / "faces")
    train(".", *TINY, "--steps", 1)
    again = train(".", *TINY, "--steps", 2)
    assert "at step 2 of 2" in again
    assert re.search(r"^data .*: 4 images, ", again, re.MULTILINE)


@pytest.mark.parametrize(
    ("data", "run"),
    [
        ("faces", "faces"),
        ("faces", "faces/../faces"),
        ("faces", "faces/cats"),
        ("faces/previews", "faces"),
        ("arrays", "arrays"),
    ],
)
def test_a_folder_of_the_data_is_no_run_folder(here: Path, data: str, run: str) -> None:
    make_images(here / "faces" / "cats", 4)
    make_images(here / "faces" / "previews", 4)
    (here / "arrays").mkdir()
    np.savez(here / "arrays" / "faces.npz", np.zeros((4, 16, 16), np.uint8))
    before = sorted(here.rglob("*"))
    with pytest.raises(UsageError, match=f"--run {run} holds images of the data"):
        train(data, *TINY, "--run", run)
    assert sorted(here.rglob("*")) == before


def test_a_run_of_idx_data_in_its_folder_still_resumes(here: Path) -> None:
    (here / "data").mkdir()
    header = bytes([0, 0, 8, 3]) + np.array([4, 16, 16], ">i4").tobytes()
    (here / "data" / "train-images-idx3-ubyte").write_bytes(header + bytes(4 * 16 * 16))
    train("data", *TINY, "--run", "other", "--steps", 1)
    shutil.copytree(here / "other", here / "data", dirs_exist_ok=True)
    assert "at step 2 of 2" in train("data", *TINY, "--run", "data", "--steps", 2)


def test_the_pointer_to_the_latest_run_names_it(here: Path) -> None:
    train("letters", *TINY, "--run", "runs/one", "--steps", 1)
    assert "at step 2 of 2" in train("--run", "runs/latest", "--steps", 2)


def test_a_run_may_be_named_like_a_data_set(here: Path) -> None:
    train("letters", *TINY, "--run", "letters", "--steps", 1)
    assert "at step 2 of 2" in train("letters", *TINY, "--run", "letters", "--steps", 2)


def test_a_dry_run_estimates_time_and_memory_as_text_and_as_json(here: Path) -> None:
    make_images(here / "faces", 4)
    text = train("faces", *TINY, "--dry-run", "--steps", 50)
    assert re.search(r"^# memory    about [\d,]+ MiB on the cpu$", text, re.MULTILINE)
    assert re.search(r"^# time      about \d+:\d\d:\d\d for 50 steps, ", text, re.MULTILINE)
    document = json.loads(train("faces", *TINY, "--dry-run", "--steps", 50, "--json"))
    assert document["images"] == 4
    assert document["memory_bytes"] > 2**20
    assert document["seconds_left"] == 50 * document["seconds_per_step"] > 0
    assert (document["config"]["data"], document["config"]["n_critic"]) == ("faces", 1)
    assert [path.name for path in here.iterdir()] == ["faces"]


def test_json_without_a_dry_run_is_refused() -> None:
    with pytest.raises(UsageError, match="--json prints what --dry-run finds out"):
        train("--json")


def test_a_run_says_when_it_ends(here: Path) -> None:
    make_images(here / "faces", 4)
    text = train("faces", *TINY, "--run", "run", "--steps", 4, "--log-every", 2)
    assert re.search(r"^end       about \d\d:\d\d, in 0:00:\d\d$", text, re.MULTILINE)


@pytest.mark.parametrize(("count", "noted"), [(5, True), (1000, False)])
def test_small_data_is_told_what_to_expect(here: Path, count: int, noted: bool) -> None:
    make_images(here / "faces", count)
    text = train("faces", *TINY, "--dry-run")
    assert (f"# note      {count} images are few: the generator will repeat" in text) == noted
    assert "# augment   color, translation, cutout" in text


def test_a_resumed_run_gets_no_advice_that_it_refuses(here: Path) -> None:
    make_images(here / "faces", 4)
    options = ("faces", *TINY, "--run", "run", "--augment", "none")
    first = train(*options, "--steps", 1)
    assert all(flag in first for flag in ("--flip", "--holdout", "--augment"))
    again = train(*options, "--steps", 2)
    assert "4 images are few: the generator will repeat them" in again
    assert not any(flag in again for flag in ("--flip", "--holdout", "--augment"))
