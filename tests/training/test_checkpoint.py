import dataclasses
import os
import random
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch

from wgan.errors import CheckpointError, DeviceError, UsageError
from wgan.runs import Run
from wgan.training.checkpoint import Checkpoint, load_checkpoint, load_weights
from wgan.training.config import TrainConfig
from wgan.training.networks import build
from wgan.training.state import TrainState

TINY = TrainConfig(width=1, latent_dim=2, batch_size=2)


def make_checkpoint() -> Checkpoint:
    state = TrainState(*build(TINY), TINY, torch.device("cpu"))
    return Checkpoint(
        step=7,
        config=TINY,
        generator=state.generator.state_dict(),
        critic=state.critic.state_dict(),
        average=state.generator_ema.state_dict(),
        generator_optimizer=state.generator_optimizer.state_dict(),
        critic_optimizer=state.critic_optimizer.state_dict(),
        noise=state.rng.get_state(),
        batches_drawn=35,
        data_sha256="0" * 64,
    )


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "step-00000007.pt"
    make_checkpoint().save(path)
    return path


def test_a_loaded_checkpoint_equals_the_saved_one(saved: Path) -> None:
    before, after = make_checkpoint(), Checkpoint.load(saved)
    assert (after.step, after.config, after.batches_drawn) == (7, TINY, 35)
    assert torch.equal(after.noise, before.noise)
    for name, tensor in before.average.items():
        assert torch.equal(after.average[name], tensor)


@pytest.mark.parametrize(("size", "trained_on"), [(16, "cuda"), (77, "another type of device")])
def test_a_run_resumes_only_on_its_type_of_device(size: int, trained_on: str) -> None:
    state = TrainState(*build(TINY), TINY, torch.device("cpu"))
    make_checkpoint().restore(state)
    elsewhere = dataclasses.replace(make_checkpoint(), noise=torch.zeros(size, dtype=torch.uint8))
    with pytest.raises(
        DeviceError, match=f"was trained on {trained_on} and cannot be resumed on cpu"
    ):
        elsewhere.restore(state)


def test_torch_load_opens_a_checkpoint_with_weights_only(saved: Path) -> None:
    assert torch.load(saved, weights_only=True)["step"] == 7


def test_the_ema_generator_is_in_eval_mode(saved: Path) -> None:
    generator = Checkpoint.load(saved).ema_generator()
    assert not any(module.training for module in generator.modules())


def test_a_truncated_checkpoint_is_refused_by_name(saved: Path) -> None:
    data = saved.read_bytes()
    for length in {0, 1, 100, *range(1000, len(data), 1000), len(data) - 1}:
        saved.write_bytes(data[:length])
        with pytest.raises(CheckpointError, match=saved.name):
            Checkpoint.load(saved)


def test_a_flipped_bit_is_refused_or_harmless(saved: Path) -> None:
    data = saved.read_bytes()
    before = make_checkpoint()
    choose = random.Random(0)
    refused = 0
    for _ in range(200):
        damaged = bytearray(data)
        damaged[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
        saved.write_bytes(damaged)
        try:
            after = Checkpoint.load(saved)
        except CheckpointError:
            refused += 1
            continue
        for part in ("generator", "critic", "average"):
            for name, tensor in getattr(before, part).items():
                assert torch.equal(getattr(after, part)[name], tensor)
    assert refused > 100


def test_a_bit_that_claims_an_encrypted_record_is_refused(saved: Path) -> None:
    damaged = bytearray(saved.read_bytes())
    damaged[damaged.index(b"PK\x01\x02") + 8] |= 1  # the first flag of the zip's directory
    saved.write_bytes(damaged)
    with pytest.raises(CheckpointError, match=rf"{saved.name} is damaged: .* encrypted"):
        Checkpoint.load(saved)


def test_a_bit_that_claims_compression_is_damage(saved: Path) -> None:
    data = bytearray(saved.read_bytes())
    entry = data.index(b"PK\x01\x02")  # the archive's directory
    data[entry + 10] ^= 8  # "stored" becomes "deflated"
    saved.write_bytes(data)
    with pytest.raises(CheckpointError, match="is damaged"):
        Checkpoint.load(saved)


class RunsCode:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("place", ["step", "config", "average", "all"])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(
    tmp_path: Path, place: str
) -> None:
    marker, path = tmp_path / "ran", tmp_path / "evil.pt"
    evil: object = RunsCode(marker)
    torch.save(evil if place == "all" else {"format": "wgan-checkpoint-1", place: evil}, path)
    with pytest.raises(CheckpointError, match=r"evil\.pt"):
        Checkpoint.load(path)
    assert not marker.exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.pt"
    torch.save({"weights": torch.zeros(3)}, path)
    with pytest.raises(CheckpointError, match=r"other\.pt is not a wgan checkpoint"):
        Checkpoint.load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")
    with pytest.raises(CheckpointError, match=r"other\.pt"):
        Checkpoint.load(path)


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("step", "seven", "its step is 'seven'"),
        ("step", True, "its step is True"),
        ("step", -1, "its step is -1"),
        ("batches_drawn", 10**30, "its batches_drawn is 1"),
        ("generator", [1.0], "its generator is list"),
        ("noise", {}, "its noise is dict"),
        ("data_sha256", None, "its data_sha256 is NoneType"),
        ("surplus", 1, "lacks a part of"),
    ],
)
def test_a_field_of_another_type_is_refused(
    saved: Path, field: str, value: object, sentence: str
) -> None:
    fields = torch.load(saved, weights_only=True)
    torch.save({**fields, field: value}, saved)
    with pytest.raises(CheckpointError, match=re.escape(sentence)):
        Checkpoint.load(saved)


@pytest.mark.parametrize(
    "changes",
    [
        {"critic_optimizer": {}},
        {"critic_optimizer": {"state": {0: {"exp_avg": 1}}}},
        {"critic_optimizer": {"state": {99: {}}}},
        {"critic_optimizer": {"state": {0: {"step": torch.zeros(()), "exp_avg": torch.zeros(9)}}}},
        {"noise": torch.zeros(5056, dtype=torch.float32)},
    ],
    ids=["nothing", "number", "index", "shape", "random"],
)
def test_a_part_that_cannot_be_resumed_is_refused(changes: dict[str, Any]) -> None:
    state = TrainState(*build(TINY), TINY, torch.device("cpu"))
    with pytest.raises(CheckpointError, match="the checkpoint of step 7 cannot be resumed"):
        dataclasses.replace(make_checkpoint(), **changes).restore(state)


def test_weights_that_are_no_tensors_are_refused() -> None:
    generator, _ = build(TINY)
    weights = dict.fromkeys(generator.state_dict(), "text")
    with pytest.raises(UsageError, match="is a str in the checkpoint"):
        load_weights(generator, weights, "the generator")


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"there is no checkpoint .*gone\.pt"):
        Checkpoint.load(tmp_path / "gone.pt")


def test_weights_of_other_networks_are_refused_with_the_first_tensor_that_differs() -> None:
    generator, critic = build(TINY)
    wider, _ = build(dataclasses.replace(TINY, width=2))
    with pytest.raises(UsageError, match=r"do not fit the generator: \S+ is \[.*\] in the check"):
        load_weights(generator, wider.state_dict(), "the generator")
    with pytest.raises(UsageError, match="is missing in the checkpoint and"):
        load_weights(generator, {}, "the generator")
    load_weights(critic, build(TINY)[1].state_dict(), "the critic")


def test_a_newest_checkpoint_that_the_system_refuses_is_not_passed_over(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.make()
    make_checkpoint().save(run.checkpoint(1))
    run.checkpoint(2).mkdir()  # in the place of a file without permission, which root may read
    with pytest.raises(CheckpointError, match="cannot be read: Is a directory"):
        load_checkpoint(run)
