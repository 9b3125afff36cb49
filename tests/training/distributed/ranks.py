"""Script that torchrun starts on each rank for `test_distributed`.

torchrun --nproc-per-node 2 tests/training/distributed/ranks.py FOLDER
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from wgan.training.config import TrainConfig
from wgan.training.data import Transform, load_data, open_data
from wgan.training.data.batches import Batches
from wgan.training.distributed.process_group import SINGLE_PROCESS, ProcessGroup, join
from wgan.training.distributed.sync_batch_norm import convert_sync_batchnorm
from wgan.training.loop import train_steps
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")

STEPS = 4

# With seed 0, rounding turns a ReLU on, and the difference is no longer one of rounding.
CASES: dict[str, dict[str, Any]] = {
    "wgan-gp": {"recipe": "wgan-gp", "seed": 1},
    "article": {"recipe": "article"},  # a double backward through the all-reduces of batch norm
    "parts": {
        "recipe": "wgan-gp",
        "accumulate": 2,
        "flip": True,
        "critic_norm": "layer",
        "drift": 0.001,
    },
    "clipped": {"recipe": "wgan-clip"},
    "spectral": {"recipe": "wgan-gp", "constraint": "spectral"},
    "resize-conv": {"arch": "resize-conv", "recipe": "wgan-gp"},
    "conditional": {
        "recipe": "wgan-gp",
        "accumulate": 2,
        "conditional": True,
        "classes": ("cat", "dog", "bird"),
    },
}


def trained(case: str, group: ProcessGroup = SINGLE_PROCESS) -> dict[str, Any]:
    """Train a few steps and return the weights of all networks and the losses of the last step."""
    settings = {"data": "", "channels": 1, "width": 4, "latent_dim": 8, "batch_size": 8,
                "n_critic": 2, **CASES[case]}  # fmt: skip
    config = TrainConfig.resolve(settings)
    pixels = np.random.RandomState(0).randint(0, 256, (50, 32, 32, 1)).astype(np.uint8)
    batches = Batches(
        pixels,
        config.batch_size,
        seed=0,
        device=CPU,
        flip=config.flip,
        shard=group.shard,
        labels=np.arange(len(pixels)) % 3,
    )
    next_batch = batches.next_labelled if config.classes else batches.next
    state = TrainState(*build(config), config, CPU, group)
    for step in train_steps(state, next_batch, config):
        if step.number == STEPS:
            break
    return {
        "generator": state.generator.state_dict(),
        "critic": state.critic.state_dict(),
        "average": state.generator_ema.state_dict(),
        "terms": {**step.critic._asdict(), "generator_loss": step.generator_loss},
    }


def streamed(folder: Path, group: ProcessGroup = SINGLE_PROCESS) -> Tensor:
    """Return this rank's rows of six streamed batches: `[6, n, channels, 32, 32]`."""
    data = load_data(open_data(str(folder / "shard-?.tar")), Transform(size=32, channels=1))
    batches = data.batches(8, seed=0, device=CPU, flip=True, group=group)
    return torch.stack([batches.next() for _ in range(6)])


def normalised(group: ProcessGroup = SINGLE_PROCESS) -> dict[str, Tensor]:
    """Return a batch norm's outputs, gradients, second gradients and statistics on this rank."""
    random = torch.Generator().manual_seed(1)
    shared, images = norm_and_images(group, random)
    factors = torch.randn(8, 3, 5, 5, generator=random)[group.shard]
    inputs = images[group.shard].clone().requires_grad_()
    outputs = shared(inputs)
    (gradient,) = torch.autograd.grad((outputs.sin() * factors).sum(), inputs, create_graph=True)
    (gradient.square().sum()).backward()
    assert inputs.grad is not None
    weights = [weight.grad for weight in shared.parameters() if weight.grad is not None]
    group.average(weights)
    return {
        "outputs": outputs.detach(),
        "gradient": gradient.detach(),
        "second": inputs.grad,
        "weights": torch.stack(weights) * group.size,  # the loss is a sum over the whole batch
        "running": torch.stack([shared.running_mean, shared.running_var]),  # type: ignore[list-item]
        "later": shared.eval()(images).detach(),
    }


def normalised_bf16(group: ProcessGroup = SINGLE_PROCESS) -> dict[str, Tensor]:
    """Return a batch norm's outputs and statistics on this rank, in bfloat16."""
    shared, images = norm_and_images(group, torch.Generator().manual_seed(1))
    with torch.autocast("cpu", torch.bfloat16):
        outputs = shared(images[group.shard].bfloat16())
    assert outputs.dtype == torch.bfloat16
    return {
        "outputs": outputs.detach().float(),
        "running": torch.stack([shared.running_mean, shared.running_var]),  # type: ignore[list-item]
    }


def norm_and_images(group: ProcessGroup, random: torch.Generator) -> tuple[nn.Module, Tensor]:
    """Return a batch norm with random weights, and eight images far from 0, where digits cancel."""
    norm = nn.BatchNorm2d(3)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(3, generator=random))
        norm.bias.copy_(torch.randn(3, generator=random))
    shared = convert_sync_batchnorm(norm, group.size).train()
    return shared, torch.randn(8, 3, 5, 5, generator=random) * 3 + 100


def main() -> None:
    """Run every case on this rank and save the results."""
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with join(60) as group:
        group.connect(group.device("cpu"))
        torch.save(normalised(group), folder / f"norm-{group.rank}.pt")
        torch.save(normalised_bf16(group), folder / f"norm-bf16-{group.rank}.pt")
        torch.save(streamed(folder, group), folder / f"stream-{group.rank}.pt")
        for case in CASES:
            result = trained(case, group)
            if group.is_main:
                torch.save(result, folder / f"{case}.pt")


if __name__ == "__main__":
    main()
