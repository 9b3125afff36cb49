"""Who takes part in the race of training loops, and that they do the same work."""

from copy import deepcopy
from functools import partial

import pytest
import torch

from benchmarks.rivals.functional import FunctionalGradients
from benchmarks.training import Workload, contenders
from wgan.training.loop import TrainState, critic_terms, differentiate, generator_terms
from wgan.training.networks import build


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_whose_operations_are_a_twins_has_that_twin_beside_it(device: str) -> None:
    taking_part = contenders(torch.device(device))
    counted = {each.name for each in taking_part if each.twin is None}
    twins = {each.twin for each in taking_part if each.twin is not None}
    assert twins
    assert twins <= counted
    assert len({each.name for each in taking_part}) == len(taking_part)


def test_gradients_taken_by_torch_func_are_those_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function: function)  # it takes half a minute
    config = Workload(4, 8, 1, torch.device("cpu"), size=32, latent_dim=8).config()
    players = TrainState(*build(config), config, torch.device("cpu"))
    others = deepcopy(players)
    functional = FunctionalGradients(others.generator, others.critic, config.gp_weight)
    random = torch.Generator().manual_seed(0)
    real = torch.rand(4, 3, 32, 32, generator=random) * 2 - 1
    latents = torch.randn(4, 8, generator=random)
    epsilon = torch.rand(4, 1, 1, 1, generator=random)

    critic = partial(critic_terms, players, config, config.gp_weight), (real, latents, epsilon), 1.0
    torch.testing.assert_close(functional(*critic), differentiate(*critic))
    generator = partial(generator_terms, players, config), (latents,), 1.0
    torch.testing.assert_close(functional(*generator), differentiate(*generator))
    for network in ("generator", "critic"):
        expected, found = getattr(players, network), getattr(others, network)
        for name, weight in expected.named_parameters():
            torch.testing.assert_close(
                found.get_parameter(name).grad, weight.grad, rtol=1e-3, atol=1e-5
            )
