import pytest
import torch
from torch import nn

from wgan.training.state import ema_decay, make_ema, update_ema


def test_the_ema_moves_its_parameters_and_copies_batch_norm_buffers() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = make_ema(network)
    before = [parameter.detach().clone() for parameter in ema.parameters()]
    network(torch.randn(8, 2))  # moves the running statistics
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    update_ema(ema, network, decay=0.75)
    for old, moved in zip(before, ema.parameters(), strict=True):
        assert torch.allclose(moved, old + 0.25)
    for new, source in zip(ema.buffers(), network.buffers(), strict=True):
        assert torch.equal(new, source)


def test_the_ema_is_in_eval_mode_and_has_no_gradients() -> None:
    ema = make_ema(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert not any(module.training for module in ema.modules())
    assert not any(parameter.requires_grad for parameter in ema.parameters())


def test_after_a_half_life_in_images_half_of_the_old_weights_remain() -> None:
    kept = 1.0
    for step in range(100):  # 100 steps of 10 images
        kept *= ema_decay(half_life=1000, images_seen=10**6 + step, batch_size=10)
    assert kept == pytest.approx(0.5)


def test_the_half_life_ramps_up() -> None:
    decays = [ema_decay(10_000, images, 64) for images in (0, 64, 6_400, 64_000, 640_000)]
    assert decays == sorted(decays)
    assert decays[0] == 0


def test_a_half_life_of_zero_turns_averaging_off() -> None:
    assert ema_decay(0, 10**6, 64) == 0
