"""A batch that does not fit: the message names one that does."""

import re
import sys
from pathlib import Path

import pytest
import torch

from tests.processes import Finished, run
from wgan.errors import OutOfMemory
from wgan.host import MIB
from wgan.training.config import TrainConfig
from wgan.training.device import free_memory
from wgan.training.memory import step_memory
from wgan.training.networks import build
from wgan.training.oom import advice, explain_oom, is_oom, largest_microbatch
from wgan.training.state import TrainState

CPU = torch.device("cpu")

FREE = 700  # MiB

TRAINING = """
import resource, sys
from pathlib import Path
import numpy as np
import torch
from wgan.errors import WganError
from wgan.runs import Run
from wgan.training.config import TrainConfig
from wgan.training.data import Images
from wgan.training.data.sources.source import ArraySource
from wgan.host import MIB, _proc_status, resident_memory, peak_memory
from wgan.training.resolve import ResolvedRun
from wgan.training.trainer import Trainer

torch.set_num_threads(1)
batch_size, free = map(int, sys.argv[1:])
pixels = np.zeros((batch_size, 64, 64, 3), np.uint8)
given = {"size": 64, "width": 16, "n_critic": 1, "steps": 1, "batch_size": batch_size}
config, source = TrainConfig.resolve(given), ArraySource("", pixels)
resolved = ResolvedRun(Run(Path(sys.argv[1])), config, source, False)
with Trainer(resolved, Images(pixels, [], ""), torch.device("cpu")) as trainer:
    held = resident_memory()
    if free:
        limit = _proc_status("VmSize") + free * MIB
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    steps = trainer.train()
    try:
        next(steps)
    except WganError as exc:
        sys.exit(str(exc))
    print((peak_memory() - held) // MIB)
"""


def players_of(config: TrainConfig) -> TrainState:
    return TrainState(*build(config), config, CPU)


def test_what_fits_is_as_large_as_can_be() -> None:
    config = TrainConfig(width=8, batch_size=512)
    players = players_of(config)
    free = 64 * MIB
    fits = largest_microbatch(players, config, free)
    assert 0 < fits < 512

    def needed(batch_size: int) -> int:
        memory = step_memory(players, TrainConfig(width=8, batch_size=batch_size))
        assert memory is not None
        return memory

    assert needed(fits) < free < needed(int(1.25 * fits))


def test_pytorchs_errors_about_memory_become_a_sentence_and_others_stay() -> None:
    config = TrainConfig(width=2, batch_size=12)
    players = players_of(config)
    with (
        pytest.raises(OutOfMemory, match=r"a batch of 12 images of 32x32 does not fit .* --"),
        explain_oom(players, config, 2 * MIB),
    ):
        torch.empty(2**60)  # more than any machine has
    with (
        pytest.raises(OutOfMemory, match="and neither does one image: lower --width"),
        explain_oom(players, config, 0),
    ):
        raise torch.OutOfMemoryError("CUDA out of memory")
    with (
        pytest.raises(OutOfMemory, match="with a lower --batch-size, or a higher --accumul"),
        explain_oom(players, config, None),
    ):
        raise MemoryError
    with pytest.raises(RuntimeError, match="another"), explain_oom(players, config, None):
        raise RuntimeError("another")
    with (
        pytest.raises(OutOfMemory, match=r"with --data-on-device no$"),
        explain_oom(players, config, None, resident=True),
    ):
        raise RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB")
    assert is_oom(RuntimeError("DefaultCPUAllocator: not enough memory: you tried to"))
    assert not is_oom(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_batch_and_the_parts_that_are_advised_are_accepted_settings() -> None:
    config = TrainConfig(width=8, batch_size=512, accumulate=4)
    sentence = advice(players_of(config), config, 10 * MIB)
    named = re.search(r"in 4 parts .* --batch-size (\d+), or with --accumulate (\d+)", sentence)
    assert named is not None, sentence
    batch_size, parts = map(int, named.groups())
    assert 4 < batch_size < 512
    assert parts > 4
    TrainConfig.resolve({"batch_size": batch_size, "accumulate": 4})
    TrainConfig.resolve({"batch_size": 512, "accumulate": parts})


def test_what_is_free_of_a_cpu_is_less_than_it_has() -> None:
    free = free_memory(CPU)
    assert free is None or 0 < free < 2**50


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits of memory are Linux's here")
def test_the_batch_that_the_message_names_fits(tmp_path: Path) -> None:
    def train(batch_size: int, free: int) -> Finished:
        return run([sys.executable, "-c", TRAINING, str(batch_size), str(free)], tmp_path)

    failed = train(1024, FREE)
    named = re.search(r"about (\d+) would: .* --batch-size \1, or with --accumulate", failed.stderr)
    assert named is not None, failed.stderr
    assert 1 < int(named[1]) < 1024
    # Without a limit, which is one of addresses: threads take of those what they never use.
    fits = train(int(named[1]), 0)
    assert fits.returncode == 0, fits.stderr
    assert FREE / 4 < int(fits.stdout) < FREE
