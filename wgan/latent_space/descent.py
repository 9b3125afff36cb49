"""Search for the latents of images by gradients, in PyTorch."""

import math
from collections.abc import Iterator

import numpy as np
import torch

from wgan.latent_space.checkpoint_generator import CheckpointGenerator
from wgan.latent_space.distance import distance, penalty
from wgan.latent_space.search import Search
from wgan.stop import check_stop

LEARNING_RATE = 0.1
"""First rate of Adam, as in StyleGAN's projector; it falls to 0 along half a cosine."""


def descend(search: Search) -> Iterator[int]:
    """Search by Adam on the latents; yield 1 after each step, for a progress bar."""
    model, config = search.model, search.config
    assert isinstance(model, CheckpointGenerator)
    n, restarts, latent_dim = (starts := search.starts()).shape
    latents = torch.tensor(starts.reshape(-1, latent_dim), device=model.device, requires_grad=True)
    targets = torch.from_numpy(search.targets).to(model.device)
    owners = torch.arange(n, device=model.device).repeat_interleave(restarts)
    optimizer = torch.optim.Adam([latents], lr=LEARNING_RATE)
    for step in range(config.steps):
        optimizer.param_groups[0]["lr"] = (
            LEARNING_RATE * (1 + math.cos(math.pi * step / config.steps)) / 2
        )
        optimizer.zero_grad()
        before = latents.detach().cpu().numpy().copy()
        parts = []
        # Rows do not depend on each other: the gradient of the sum is that of each row.
        for rows in torch.arange(len(latents)).split(config.batch_size):
            check_stop()
            images = model.draw(latents[rows]).float()
            apart = distance(images, targets[owners[rows]])
            (apart + config.prior * penalty(latents[rows])).sum().backward()
            parts.append(images.detach().cpu().numpy())
        drawn = np.concatenate(parts)
        for number in range(n):
            own = slice(number * restarts, (number + 1) * restarts)
            search.evaluate(number, before[own], drawn[own])
        optimizer.step()
        yield 1
