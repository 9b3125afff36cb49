"""Conditional runs: images of the class that is asked for, and resumed bit for bit."""

import dataclasses
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.processes import RunWgan
from tests.test_docs import code_blocks
from tests.training.data.conftest import save_image
from tests.training.test_trainer import state
from tests.training.tiny_run import tiny_config
from wgan.errors import DataError, SettingChanged
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.data import ArraySource, Batch, InMemoryDataset
from wgan.training.data.shard_writer import write_shards
from wgan.training.loop import train_steps, training_step
from wgan.training.memory import step_memory
from wgan.training.monitoring.previews import generate_fn, generate_pixels
from wgan.training.networks import load_architecture
from wgan.training.state import TrainState
from wgan.training.time_budget import plan
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")
CLASSES = ("dark", "light")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def images(count: int = 64) -> InMemoryDataset:
    """Noisy images: dark ones of class 0 and light ones of class 1, three to one."""
    random = np.random.RandomState(0)
    labels = (np.arange(count) % 4 == 0).astype(np.int64)
    pixels = np.where(labels, 200, 55)[:, None, None, None] + random.randint(
        -40, 41, (count, 32, 32, 1)
    )
    return InMemoryDataset.from_array(pixels.astype(np.uint8), labels=labels, class_names=CLASSES)


def make_trainer(folder: str, data: InMemoryDataset | None = None, **settings: Any) -> Trainer:
    given = {"conditional": True, "classes": CLASSES, "log_every": 1, "checkpoint_every": 3}
    config = tiny_config(**{**given, **settings})
    return Trainer(Run(Path(folder)), config, data or images(), CPU)


def train(folder: str, data: InMemoryDataset | None = None, **settings: Any) -> Trainer:
    with make_trainer(folder, data, **settings) as trainer:
        list(trainer.train())
    return trainer


def test_a_short_run_learns_its_classes() -> None:
    trainer = train("run", steps=180, width=4, batch_size=16, n_critic=1, ema_half_life=0)
    pixels = generate_pixels(trainer.state.generator_ema, 4, CPU, range(32), classes=2)
    means = pixels.reshape(32, -1).mean(axis=1)  # seed k has label k % 2
    assert means[0::2].max() < 100 < 155 < means[1::2].min()


def test_a_resumed_conditional_run_equals_an_uninterrupted_one_bit_for_bit() -> None:
    settings: dict[str, Any] = {"flip": True, "holdout": 0.2}
    train("whole", steps=6, **settings)
    train("parts", steps=3, **settings)
    train("parts", steps=6, **settings)
    one, other = state("whole", 6), state("parts", 6)
    for part in ("generator", "critic", "average"):
        for name, value in one[part].items():
            assert torch.equal(other[part][name], value), name
    assert torch.equal(one["noise"], other["noise"])
    lines = (Path("whole") / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["held_out_score"] is not None


def test_a_run_does_not_resume_with_other_labels() -> None:
    train("run", steps=3)
    data = images()
    assert data.labels is not None
    swapped = dataclasses.replace(data, labels=1 - data.labels)
    with pytest.raises(SettingChanged, match="the images or classes of noise are not those"):
        train("run", swapped, steps=6)


def test_labels_do_not_count_in_an_unconditional_run() -> None:
    settings: dict[str, Any] = {"conditional": False, "classes": ()}
    train("with", steps=3, **settings)
    plain = dataclasses.replace(images(), labels=None, class_names=())
    train("with", plain, steps=6, **settings)
    train("without", plain, steps=6, **settings)
    for name, value in state("with", 6)["generator"].items():
        assert torch.equal(state("without", 6)["generator"][name], value)


def test_other_classes_than_those_of_the_run_are_refused() -> None:
    with pytest.raises(DataError, match="has the classes cat, dog, but the data has dark, light"):
        make_trainer("run", classes=("cat", "dog"))


class LabelGenerator(nn.Module):
    """Draws images whose values are a tenth of their label."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, latents: Tensor, labels: Tensor) -> Tensor:
        return self.weight + 0.1 * labels[:, None, None, None].expand(-1, 1, 4, 4)


class LabelCritic(nn.Module):
    """Checks that every image has the value of its label; counts the images."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(16))
        self.seen = 0

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        torch.testing.assert_close(images.detach().mean(dim=(1, 2, 3)), 0.1 * labels)
        self.seen += len(images)
        return images.flatten(1) @ self.weight


@pytest.mark.parametrize(
    ("settings", "seen"),
    [
        ({}, 3 * 8 * 3 + 8),  # three updates, each real + generated + between; the generator's
        ({"accumulate": 2, "critic_norm": "batch"}, 3 * 8 * 3 + 8),
        ({"constraint": "zero-centred", "loss": "relativistic"}, 3 * 8 * 4 + 2 * 8),
    ],
    ids=str,
)
def test_real_and_generated_images_and_those_between_have_the_same_label(
    settings: dict[str, Any], seen: int
) -> None:
    config = TrainConfig(batch_size=8, n_critic=3, latent_dim=4, learning_rate=0.0, **settings)
    state = TrainState(LabelGenerator(), critic := LabelCritic(), config, CPU)
    random = torch.Generator().manual_seed(0)

    def next_batch() -> Batch:
        labels = torch.randint(5, (8,), generator=random)
        return Batch(0.1 * labels[:, None, None, None].expand(-1, 1, 4, 4), labels)

    training_step(state, next_batch, config)
    assert critic.seen == seen


def test_a_preview_has_the_label_that_a_sample_has() -> None:
    generator = LabelGenerator().eval()
    pixels = generate_pixels(generator, 4, CPU, [5, 6, 7, 300], classes=3)
    assert pixels[:, 0, 0, 0].tolist() == [round(127.5 + 12.75 * k) for k in (2, 0, 1, 0)]
    batches = generate_fn(generator, 4, CPU, batch_size=3, classes=3)(range(5, 8))
    assert np.array_equal(np.concatenate(list(batches)), pixels[:3])


def test_the_memory_of_a_conditional_step_is_estimated() -> None:
    trainer = make_trainer("run", holdout=0.2)
    assert (step_memory(trainer.state, trainer.config) or 0) > 0


def test_a_conditional_run_can_be_planned_by_time() -> None:
    config = tiny_config(conditional=True, classes=CLASSES, minutes=30, augment="none")
    assert plan(config, CPU, ["width", "batch_size"]).steps > 0


def test_a_conditional_step_that_is_measured_trains() -> None:
    assert make_trainer("run").measure_step() > 0


def test_own_networks_without_labels_still_train_unconditionally() -> None:
    generator = nn.Sequential(nn.Linear(4, 16), nn.Unflatten(1, (1, 4, 4)))
    critic = nn.Sequential(nn.Flatten(), nn.Linear(16, 1), nn.Flatten(0))
    config = TrainConfig(batch_size=8, latent_dim=4)
    state = TrainState(generator, critic, config, CPU)
    step = next(train_steps(state, lambda: torch.zeros(8, 1, 4, 4), config))
    assert torch.isfinite(step.generator_loss)


def test_the_conditional_networks_of_the_page_train(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, conditional, _ = code_blocks("docs/own-networks.md", "python")
    (tmp_path / "my_conditional_networks.py").write_text(conditional)
    monkeypatch.syspath_prepend(tmp_path)
    name = "my_conditional_networks:build"
    config = tiny_config(arch=name, steps=2, conditional=True, classes=CLASSES)
    architecture = load_architecture(name)
    with Trainer(Run(Path("run")), config, images(), CPU, architecture) as trainer:
        list(trainer.train())
    assert Run(Path("run")).preview(2).is_file()
    sys.modules.pop("my_conditional_networks")


def test_the_command_names_the_classes_of_shards_and_resumes(
    tmp_path: Path, run_wgan: RunWgan
) -> None:
    source = ArraySource("noise", images(40).pixels[..., 0])
    source.labels, source.class_names = images(40).labels, CLASSES
    written = write_shards(source, tmp_path / "shards", shard_size=20)
    command = ("train", written.pattern, "--conditional", "--run", "run", "--width", 2,
               "--batch-size", 8, "--device", "cpu", "--steps")  # fmt: skip
    first = run_wgan(*command, 2)
    assert first.returncode == 0, first.stderr
    assert "classes   2: dark 30, light 10" in first.stdout
    assert run_wgan(*command, 3).returncode == 0
    assert json.loads((tmp_path / "run" / "config.json").read_text())["classes"] == list(CLASSES)
    changed = run_wgan("train", "--run", "run", "--no-conditional")
    assert changed.returncode == 2


def test_data_without_classes_is_refused_with_what_to_do(tmp_path: Path, run_wgan: RunWgan) -> None:
    save_image(tmp_path / "flat" / "0.png")
    refused = run_wgan("train", "flat", "--conditional", "--steps", 1)
    assert refused.returncode == 1
    assert "--conditional: flat has no classes. Put the images of each class" in refused.stderr
