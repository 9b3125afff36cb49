import pytest
import torch
from torch import nn

from wgan.training.state import ema_decay, make_ema, update_ema


def test_an_average_moves_by_its_share_and_copies_batch_norms_buffers() -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    average = make_ema(network)
    before = [parameter.detach().clone() for parameter in average.parameters()]
    network(torch.randn(8, 2))  # moves the running statistics
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1)
    update_ema(average, network, decay=0.75)
    for old, moved in zip(before, average.parameters(), strict=True):
        assert torch.allclose(moved, old + 0.25)
    for new, source in zip(average.buffers(), network.buffers(), strict=True):
        assert torch.equal(new, source)


def test_an_average_draws_in_eval_mode_and_takes_no_gradient() -> None:
    average = make_ema(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
    assert not any(module.training for module in average.modules())
    assert not any(parameter.requires_grad for parameter in average.parameters())


def test_after_its_half_life_in_images_half_of_the_old_is_left() -> None:
    kept = 1.0
    for step in range(100):  # 100 steps of 10 images
        kept *= ema_decay(half_life=1000, images_seen=10**6 + step, batch_size=10)
    assert kept == pytest.approx(0.5)


def test_a_young_average_forgets_sooner() -> None:
    decays = [ema_decay(10_000, images, 64) for images in (0, 64, 6_400, 64_000, 640_000)]
    assert decays == sorted(decays)
    assert decays[0] == 0


def test_a_half_life_of_nothing_turns_averaging_off() -> None:
    assert ema_decay(0, 10**6, 64) == 0
