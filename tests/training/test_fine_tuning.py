"""`--from`: a new run starts from trained weights, and says what does not fit."""

import dataclasses
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.checkpoints import trained_checkpoint
from wgan.errors import CheckpointError, SettingChanged, UsageError
from wgan.images import encode
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint
from wgan.training.distributed.process_group import SINGLE_PROCESS
from wgan.training.execution import ExecutionConfig
from wgan.training.fine_tuning import initialise
from wgan.training.networks import build
from wgan.training.setup import make_trainer
from wgan.training.state import TrainState

FEW = {"batch_size": 4, "steps": 1, "checkpoint_every": 1, "learning_rate": 0.0}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(6):
        pixels = np.random.RandomState(number).randint(0, 256, (32, 32, 3), dtype=np.uint8)
        (images / f"{number}.png").write_bytes(encode(pixels))
    return tmp_path


def train(start: str, run: str = "new", **settings: Any) -> Checkpoint:
    """Train a step at rate 0 from the weights of `start`."""
    given = {"data": "images", "start_from": start, **FEW, **settings}
    execution = ExecutionConfig(run=Path(run), no_cache=True)
    for _ in make_trainer(given, execution, SINGLE_PROCESS).train():
        pass
    return Checkpoint.load(Run(Path(run)).newest_checkpoint())


def save(name: str = "old.pt", **changes: Any) -> Checkpoint:
    checkpoint = trained_checkpoint(**changes)
    checkpoint.save(Path(name))
    return checkpoint


def same_weights(a: dict[str, Any], b: dict[str, Any], names: set[str]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in names)


def test_a_new_run_has_the_networks_and_weights_of_the_checkpoint() -> None:
    old = save(width=8, latent_dim=24)
    new = train("old.pt")
    assert (new.config.width, new.config.latent_dim) == (8, 24)
    weights = {name for name in old.critic if name.endswith("weight")}
    assert weights
    assert same_weights(new.critic, old.critic, weights)
    assert new.step == 1


def test_each_network_has_its_own_trained_weights() -> None:
    old = trained_checkpoint()
    state = TrainState(*build(old.config), old.config, torch.device("cpu"))
    initialise(state, old)
    assert same_weights(state.generator.state_dict(), old.generator, set(old.generator))
    assert same_weights(state.critic.state_dict(), old.critic, set(old.critic))
    assert same_weights(state.generator_ema.state_dict(), old.average, set(old.average))
    assert not same_weights(old.generator, old.average, set(old.average))


def test_a_run_folder_is_its_newest_checkpoint() -> None:
    save()
    first = train("old.pt", "first")
    second = train("first", "second")
    assert same_weights(first.critic, second.critic, set(first.critic))


def test_the_config_keeps_where_the_run_started_and_the_same_command_resumes_it() -> None:
    save()
    train("old.pt")
    assert Path(str(train("old.pt", steps=2).config.start_from)) == Path("old.pt").absolute()
    save("other.pt")
    with pytest.raises(SettingChanged, match="--from was"):
        train("other.pt", steps=3)


def test_what_does_not_fit_starts_at_random_and_is_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    old = save(channels=1)
    with caplog.at_level(logging.WARNING):
        new = train("old.pt")  # the images have 3 channels
    assert new.config.channels == 3
    (message,) = [each for each in caplog.messages if "the critic's" in each]
    assert "do not fit and start at random" in message
    assert "[4, 3, 4, 4], which is [4, 1, 4, 4] in the checkpoint" in message
    assert "more" not in message
    kept = {name for name, value in old.critic.items() if new.critic[name].shape == value.shape}
    assert same_weights(new.critic, old.critic, {name for name in kept if "weight" in name})


def test_networks_without_a_common_weight_are_refused() -> None:
    save()
    with pytest.raises(UsageError, match=r"--from: no weight of the \w+ fits"):
        train("old.pt", width=8, arch="resnet", latent_dim=7)


def test_a_missing_checkpoint_is_named() -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*gone\.pt"):
        train("gone.pt")


def test_a_checkpoint_from_elsewhere_chooses_no_code(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(folder)
    (folder / "foreign.py").write_text("open('was_run', 'w')\ndef build(config): ...")
    old = trained_checkpoint()
    config = dataclasses.replace(old.config, arch="foreign:build")
    dataclasses.replace(old, config=config).save(Path("foreign.pt"))
    settings = {"data": "images", "start_from": "foreign.pt", "minutes": 5.0}
    with pytest.raises(UsageError, match=r"give --arch foreign:build to allow that code to run"):
        make_trainer(settings, ExecutionConfig(run=Path("new"), no_cache=True), SINGLE_PROCESS)
    assert not (folder / "was_run").exists()
