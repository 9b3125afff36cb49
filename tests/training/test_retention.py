"""Retention of checkpoints: --keep and --keep-every."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.checkpoints import trained_checkpoint
from wgan.runs import Run
from wgan.training.checkpoint import expired, prune
from wgan.training.config import TrainConfig


@pytest.mark.parametrize(
    ("keep", "keep_every", "removed"),
    [
        (0, 0, []),
        (1, 0, [10, 20, 30, 40]),
        (2, 0, [10, 20, 30]),
        (2, 20, [10, 30]),
        (1, 30, [10, 20, 40]),
        (9, 0, []),
    ],
)
def test_the_newest_and_every_nth_are_kept(keep: int, keep_every: int, removed: list[int]) -> None:
    assert expired([30, 10, 50, 20, 40], keep, keep_every) == removed


@given(
    st.lists(st.integers(1, 10**6), unique=True, min_size=1), st.integers(1, 9), st.integers(0, 9)
)
def test_pruning_after_each_step_equals_pruning_at_the_end(
    steps: list[int], keep: int, keep_every: int
) -> None:
    steps.sort()
    kept: list[int] = []
    for step in steps:
        kept.append(step)
        removed = expired(kept, keep, keep_every)
        kept = [each for each in kept if each not in removed]
    removed = expired(steps, keep, keep_every)
    assert kept == [step for step in steps if step not in removed]
    assert steps[-1] in kept


def make_run(folder: Path, steps: tuple[int, ...]) -> Run:
    run = Run(folder)
    run.make()
    checkpoint = trained_checkpoint(steps=1)
    for step in steps:
        checkpoint.save(run.checkpoint(step))
    return run


def test_nothing_is_removed_while_the_newest_checkpoint_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = make_run(tmp_path, (1, 2, 3))
    damaged = run.checkpoint(3)
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with caplog.at_level(logging.WARNING):
        prune(run, TrainConfig(keep=1))
    assert [run.step_of(path) for path in run.checkpoints()] == [1, 2, 3]
    assert "step-00000003.pt is damaged" in caplog.text


def test_prune_keeps_the_newest_and_every_second_checkpoint(tmp_path: Path) -> None:
    run = make_run(tmp_path, (5, 10, 15, 20, 25, 27))
    prune(run, TrainConfig(keep=1, keep_every=2, checkpoint_every=5))
    assert [run.step_of(path) for path in run.checkpoints()] == [10, 20, 27]
