"""Settings of the smallest run, for tests that train one."""

from typing import Any

from wgan.training.config import TrainConfig


def tiny_config(**settings: Any) -> TrainConfig:
    """Settings for grey images of 32x32 pixels in batches of 4."""
    defaults = {
        "data": "noise",
        "channels": 1,
        "width": 2,
        "latent_dim": 4,
        "batch_size": 4,
        "precision": "tf32",  # the same on every processor
        "decay_steps": 0,  # so that a longer run begins like a shorter one
        "n_critic": 2,
    }
    return TrainConfig.resolve({**defaults, **settings})
