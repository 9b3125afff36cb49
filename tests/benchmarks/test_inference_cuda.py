"""The engines of the GPU benchmark give the same images; tested on the CPU."""

import numpy as np
import torch

from benchmarks.inference_cuda import ENGINES, make_engines
from tests.checkpoints import SMALL, trained_checkpoint
from wgan.latents import latents_from_seeds
from wgan.training.networks import build


def test_all_engines_give_the_same_images() -> None:
    generator, _ = build(SMALL)
    generator.load_state_dict(trained_checkpoint().average)
    engines = make_engines(generator.eval().requires_grad_(False), "cpu", SMALL.latent_dim)
    drawn = latents_from_seeds(range(3), SMALL.latent_dim)
    assert len(engines) == ENGINES
    del engines["PyTorch, torch.compile"]  # compiling takes long
    images = {name: np.asarray(draw(drawn)) for name, draw in engines.items()}
    expected = images.pop("PyTorch, eager")
    assert expected.shape == (3, 3, 32, 32)
    assert np.ptp(expected) > 1  # the images are not flat
    assert len(images) == 6
    for name, found in images.items():
        few_digits = "16" in name
        assert np.abs(found - expected).max() < (0.1 if few_digits else 1e-4), name
    assert not torch.from_numpy(images["PyTorch, bfloat16"]).equal(torch.from_numpy(expected))
