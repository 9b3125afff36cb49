"""Runs on disk: how they stop, and that they resume without a loss."""

import dataclasses
import itertools
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from tests.training.tiny_run import tiny_config
from wgan.errors import (
    CheckpointError,
    RankLost,
    RunError,
    SettingChanged,
    TrainingDiverged,
    UsageError,
)
from wgan.images import Pixels
from wgan.runs import Run, latest_run
from wgan.training import train as train_run
from wgan.training.checkpoint import Checkpoint
from wgan.training.config import TrainConfig
from wgan.training.data import InMemoryDataset, Transform, load_images
from wgan.training.data.sources import ArraySource
from wgan.training.distributed.process_group import ProcessGroup
from wgan.training.execution import ExecutionConfig
from wgan.training.monitoring.history import StepMetrics
from wgan.training.trainer import Trainer

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def source(seed: int = 0) -> ArraySource:
    pixels = np.random.RandomState(seed).randint(0, 256, (10, 32, 32)).astype(np.uint8)
    return ArraySource("noise", pixels)


def images(seed: int = 0) -> InMemoryDataset:
    return load_images(source(seed), Transform(size=32, channels=1))


def make_trainer(folder: str = "run", data_seed: int = 0, **settings: Any) -> Trainer:
    run = Run(Path(folder))
    every = {"log_every": 1, "checkpoint_every": 3, "preview_every": 4}
    config = tiny_config(**{**every, **settings})
    return Trainer(run, config, images(data_seed), CPU)


def train(folder: str = "run", data_seed: int = 0, **settings: Any) -> Trainer:
    with make_trainer(folder, data_seed, **settings) as running:
        list(running.train())
    return running


def logged(folder: str) -> list[dict[str, float]]:
    lines = (Path(folder) / "metrics.jsonl").read_text().splitlines()
    measured = {"seconds_per_step", "images_per_second", "memory_mib"}
    return [
        {name: value for name, value in json.loads(line).items() if name not in measured}
        for line in lines
    ]


def state(folder: str, step: int) -> dict[str, Any]:
    fields: dict[str, Any] = torch.load(Run(Path(folder)).checkpoint(step), weights_only=True)
    del fields["config"]  # its `steps` differs
    return fields


def equal(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(equal(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return all(equal(a, b) for a, b in zip(one, two, strict=True))
    return bool(one == two)


@pytest.mark.parametrize(
    "settings",
    [
        {"recipe": "wgan-gp"},
        {"recipe": "article"},
        {"recipe": "wgan-clip"},
        {"recipe": "resnet", "decay_steps": 10},
        {"constraint": "spectral", "critic_norm": "layer"},
        {"constraint": "one-sided", "accumulate": 2, "drift": 0.001, "holdout": 0.2},
    ],
    ids=str,
)
def test_a_stopped_run_resumes_bit_for_bit(settings: dict[str, Any]) -> None:
    settings = {**settings, "preview_every": 5}  # the last step always has a preview
    train("once", **settings, steps=8)
    train("twice", **settings, steps=5)
    train("twice", **settings, steps=8)
    assert equal(state("once", 8), state("twice", 8))
    assert logged("once") == logged("twice")


def test_a_run_killed_between_checkpoints_resumes_bit_for_bit() -> None:
    train("once", steps=8)
    with make_trainer("running", steps=8) as running:
        list(itertools.islice(running.train(), 5))
        shutil.copytree("running", "killed")  # the last checkpoint is that of step 3
    assert Run(Path("killed")).newest_checkpoint().name == "step-00000003.pt"
    with (Path("killed") / "metrics.jsonl").open("a") as file:
        file.write('{"step": 6, "was')  # cut off by a crash
    train("killed", steps=8)
    assert equal(state("once", 8), state("killed", 8))
    assert logged("once") == logged("killed")


def test_a_run_folder_has_exactly_the_documented_files() -> None:
    train(steps=5)
    names = {path.relative_to("run").as_posix() for path in Path("run").rglob("*.*")}
    assert names - {".lock"} == {
        "config.json",
        "curves.png",
        "metrics.jsonl",
        "reals.png",
        "checkpoints/step-00000003.pt",
        "checkpoints/step-00000005.pt",
        "previews/step-00000004.png",
        "previews/step-00000005.png",
    }
    assert latest_run().path == Path("run")
    assert TrainConfig.from_json(Path("run/config.json").read_text(), "").steps == 5


def test_a_request_to_stop_saves_after_the_step() -> None:
    with make_trainer(steps=100) as running:
        for _ in running.train(should_stop=lambda: running.step >= 2):
            pass
    assert Checkpoint.load(Run(Path("run")).newest_checkpoint()).step == 2


def test_leaving_the_loop_early_saves_the_last_step() -> None:
    train("once", steps=8)
    with make_trainer("twice", steps=8) as running:
        for _ in running.train():
            if running.step == 5:
                break
    assert Run(Path("twice")).newest_checkpoint().name == "step-00000005.pt"
    train("twice", steps=8)
    assert equal(state("once", 8), state("twice", 8))


def test_closing_the_iterator_of_a_trainer_without_a_block_saves_the_last_step() -> None:
    running = make_trainer(steps=8)
    steps = running.train()
    next(steps), next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert Checkpoint.load(Run(Path("run")).newest_checkpoint()).step == 2
    assert sum(metrics is not None for metrics in running.train()) == 6  # trains on
    assert running.step == 8


@pytest.fixture
def python_handles_sigint() -> Iterator[None]:
    """Python's own handler, which a process that was started in the background does not have."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("python_handles_sigint")
def test_an_interrupt_takes_effect_after_the_step_and_saves_it() -> None:
    train("once", steps=8)
    running = make_trainer("twice", steps=8)

    def interrupt(*_: Any) -> None:
        if running.step == 4 and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            os.kill(os.getpid(), signal.SIGINT)  # in the middle of the fifth step, once

    running.state.critic.register_forward_hook(interrupt)
    with pytest.raises(KeyboardInterrupt), running:
        list(running.train())
    assert Run(Path("twice")).newest_checkpoint().name == "step-00000005.pt"
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    train("twice", steps=8)
    assert equal(state("once", 8), state("twice", 8))


def stop_at_step_2(running: Trainer, act: Callable[[], None]) -> None:
    with running:
        for _ in running.train():
            if running.step == 2:
                act()


def test_an_interrupt_of_the_callers_own_work_saves_the_last_step() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stop_at_step_2(make_trainer(steps=8), interrupt)
    assert Checkpoint.load(Run(Path("run")).newest_checkpoint()).step == 2


def test_a_diverged_step_is_never_saved() -> None:
    running = make_trainer(steps=8, log_every=100)

    @torch.no_grad()
    def diverge_and_leave() -> None:
        next(running.state.critic.parameters()).fill_(float("nan"))
        raise KeyboardInterrupt

    with pytest.raises(TrainingDiverged):
        stop_at_step_2(running, diverge_and_leave)
    assert not Run(Path("run")).checkpoints()
    with make_trainer():  # the folder is unlocked
        pass


def test_a_finished_run_is_not_trained_or_saved_again() -> None:
    train(steps=3)
    before = Path("run/checkpoints/step-00000003.pt").stat().st_mtime_ns
    assert train(steps=3).step == 3
    assert Path("run/checkpoints/step-00000003.pt").stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["cut", "emptied", "flipped"])
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_used(
    damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    train("once", steps=8)
    train("run", steps=6)
    path = Run(Path("run")).checkpoint(6)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    damaged = {"cut": bytes(data[:-500]), "emptied": b"", "flipped": bytes(data)}
    path.write_bytes(damaged[damage])
    with caplog.at_level(logging.WARNING):
        train("run", steps=8)
    assert "step-00000006.pt" in caplog.text
    assert equal(state("once", 8), state("run", 8))


def test_a_run_whose_checkpoints_are_all_damaged_is_refused() -> None:
    train(steps=3)
    Run(Path("run")).checkpoint(3).write_bytes(b"")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        train(steps=4)


def test_a_checkpoint_of_other_networks_is_refused_with_the_first_tensor_that_differs() -> None:
    train(steps=3)
    with pytest.raises(UsageError, match=r"do not fit the generator of resize-conv: \S+ is \["):
        train(steps=4, width=3)


class FailureRecorder:
    """A tracker that records whether the run failed."""

    watches_gradients = False

    def __init__(self) -> None:
        self.failed: list[bool] = []

    def start(self, step: int, generator: nn.Module, critic: nn.Module) -> None: ...

    def log(self, metrics: StepMetrics) -> None: ...

    def show(self, step: int, preview: Pixels) -> None: ...

    def close(self, failed: bool = False) -> None:
        self.failed.append(failed)


def test_trackers_learn_whether_an_error_ended_the_run() -> None:
    good, bad = FailureRecorder(), FailureRecorder()
    config = make_trainer().config
    with Trainer(Run(Path("a")), config, images(), CPU, None, [good]):
        pass
    with (
        pytest.raises(TrainingDiverged),
        Trainer(Run(Path("b")), config, images(), CPU, None, [bad]),
    ):
        raise TrainingDiverged("diverged")
    assert (good.failed, bad.failed) == ([False], [True])


def test_trackers_are_closed_if_a_run_cannot_start() -> None:
    class BrokenGroup(ProcessGroup):
        def broadcast_bytes(self, data: bytes | None) -> bytes:
            raise RankLost("another process is gone")

    tracker, config = FailureRecorder(), make_trainer().config
    run, group = Run(Path("run")), BrokenGroup(size=2)
    with pytest.raises(RankLost), Trainer(run, config, images(), CPU, None, [tracker], group=group):
        pass
    assert tracker.failed == [True]
    with make_trainer():  # the folder's lock is free
        pass


def test_a_run_with_other_images_is_refused() -> None:
    train(steps=3)
    with pytest.raises(SettingChanged, match=r"data: .* another folder with --run"):
        train(steps=4, data_seed=1)


def test_a_second_process_on_the_same_run_is_refused() -> None:
    with (
        make_trainer(),
        pytest.raises(RunError, match="another process is training run"),
        make_trainer(),
    ):
        raise AssertionError("two processes train one run")
    with make_trainer():
        pass  # the folder is free again


def test_a_resumed_run_removes_half_written_files() -> None:
    train(steps=3)
    left = [
        Path("run/checkpoints/.step-00000006.pt.123.partial"),
        Path("run/previews/.step-00000004.png.123.partial"),
        Path("run/.metrics.jsonl.123.partial"),
        Path("run/.config.json.123.partial"),
        Path("run/.curves.png.123.partial"),
    ]
    export = Path("run/.generator.onnx.123.partial")  # an export that runs meanwhile
    for path in (*left, export):
        path.write_bytes(b"half")
    train(steps=4)
    assert not any(path.exists() for path in left)
    assert export.exists()


def test_the_newest_and_every_nth_checkpoint_are_kept() -> None:
    train(steps=13, keep=2, keep_every=2)  # checkpoints at 3, 6, 9, 12 and the end
    run = Run(Path("run"))
    assert [run.step_of(path) for path in run.checkpoints()] == [6, 12, 13]
    train(steps=14, keep=1, keep_every=0)  # may change when a run resumes
    assert [run.step_of(path) for path in run.checkpoints()] == [14]


def test_a_preview_is_logged_with_its_diversity() -> None:
    train(steps=8, log_every=5)
    lines = logged("run")
    assert [line["step"] for line in lines] == [4, 5, 8]
    assert ["diversity" in line for line in lines] == [True, False, True]
    # Of few images it is known how near a preview comes to each of them.
    assert ["novelty" in line for line in lines] == [True, False, True]


def test_a_run_keeps_how_its_images_are_augmented() -> None:
    with make_trainer(recipe="tuned") as trainer:
        assert trainer.config.augment == "color,translation,cutout"
    assert json.loads(Run(Path("run")).config.read_text())["augment"] == trainer.config.augment


def test_held_out_images_are_scored_at_each_logged_step() -> None:
    train(steps=2, holdout=0.2)
    for line in logged("run"):
        gap = line["train_score"] - line["held_out_score"]
        assert line["held_out_wasserstein"] == pytest.approx(line["wasserstein"] - gap)


def test_the_python_function_refuses_eval_every_instead_of_ignoring_it() -> None:
    with pytest.raises(UsageError, match=r"eval_every = 500: .* does not evaluate"):
        train_run(TrainConfig(eval_every=500))


@pytest.fixture
def grey_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "grey"
    folder.mkdir()
    for number, pixels in enumerate(np.random.RandomState(0).randint(0, 256, (10, 16, 16))):
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


SMALL: dict[str, Any] = {"size": 16, "width": 4, "batch_size": 4, "latent_dim": 4}


def stored_config(run: Run) -> TrainConfig:
    return TrainConfig.from_json(run.config.read_text(), str(run.config))


def test_the_python_function_trains_grey_images_as_grey_and_resumes(grey_folder: Path) -> None:
    config = TrainConfig(data=str(grey_folder), steps=2, **SMALL)
    run = train_run(config, ExecutionConfig(run=Path("r")))
    assert stored_config(run).channels == 1
    train_run(dataclasses.replace(config, steps=3), ExecutionConfig(run=Path("r")))
    assert run.checkpoints()[-1].name == "step-00000003.pt"


def test_the_python_function_trains_for_minutes(grey_folder: Path) -> None:
    config = TrainConfig(data=str(grey_folder), minutes=0.04, **SMALL)
    run = train_run(config, ExecutionConfig(run=Path("r")))
    assert stored_config(run).minutes == 0.04
    assert run.checkpoints()
    with pytest.raises(UsageError, match="--minutes sets --steps"):
        train_run(dataclasses.replace(config, steps=3), ExecutionConfig(run=Path("r")))
