import dataclasses

import pytest
import torch
from torch import nn

from wgan.training.checkpoint import restore_optimizer
from wgan.training.config import TrainConfig
from wgan.training.cuda_graph import make_capturable
from wgan.training.state import (
    at_step,
    ema_decay,
    make_ema,
    make_optimizer,
    set_rates,
    update_ema,
)


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


def test_the_learning_rate_is_constant_unless_it_decays() -> None:
    config = TrainConfig(learning_rate=0.5, decay_steps=0)
    assert {at_step(config, step) for step in (1, 10, 10**6)} == {config}


def test_a_decaying_learning_rate_falls_linearly_to_zero() -> None:
    config = TrainConfig(learning_rate=0.5, decay_steps=10)
    rates = [at_step(config, step).learning_rate for step in (1, 6, 11, 12)]
    assert rates == pytest.approx([0.5, 0.25, 0, 0])


def test_the_learning_rate_falls_over_all_steps_by_default() -> None:
    config = TrainConfig(learning_rate=0.5, steps=10)
    assert at_step(config, 6).learning_rate == pytest.approx(0.25)


def test_r3gans_schedules_move_five_settings_over_half_a_cosine() -> None:
    config = TrainConfig.resolve({"recipe": "r3gan", "steps": 101, "decay_steps": 100})
    first, middle, last = (at_step(config, step) for step in (1, 51, 101))
    assert first.learning_rate == pytest.approx(config.learning_rate)
    assert middle.learning_rate == pytest.approx(config.learning_rate * (1 + 1 / 4) / 2)
    assert last.learning_rate == pytest.approx(config.learning_rate / 4)
    assert last.gp_weight == pytest.approx(config.gp_weight / 10)
    assert (first.beta2, last.beta2) == (0.9, 0.99)
    assert (first.ema_half_life, last.ema_half_life) == (0, config.ema_half_life)


def test_the_betas_of_a_step_reach_adam() -> None:
    config = TrainConfig(beta1=0.25, beta2=0.5)
    optimizer = make_optimizer(nn.Linear(2, 2), TrainConfig())
    set_rates(optimizer, config)
    assert optimizer.param_groups[0]["betas"] == (0.25, 0.5)


@pytest.mark.parametrize(
    ("name", "kind"), [("adam", torch.optim.Adam), ("rmsprop", torch.optim.RMSprop)]
)
def test_the_config_chooses_the_optimiser(name: str, kind: type) -> None:
    optimizer = make_optimizer(nn.Linear(2, 2), TrainConfig(optimizer=name))
    assert isinstance(optimizer, kind)


def test_fused_adam_takes_the_textbook_step() -> None:
    config = TrainConfig(learning_rate=0.1, beta1=0.5, beta2=0.9)
    layer = nn.Linear(1, 1, bias=False)
    start = float(layer.weight.detach())
    optimizer = make_optimizer(layer, config)
    set_rates(optimizer, dataclasses.replace(config, learning_rate=0.01))
    layer.weight.grad = torch.full((1, 1), 3.0)
    optimizer.step()
    # Kingma and Ba 2015: the first step is the rate times the gradient's sign.
    assert float(layer.weight.detach()) == pytest.approx(start - 0.01, abs=1e-6)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_a_restored_optimiser_keeps_its_own_options(name: str) -> None:
    config = TrainConfig(optimizer=name)
    saved, restored = torch.nn.Linear(2, 1), torch.nn.Linear(2, 1)
    before, after = make_optimizer(saved, config), make_optimizer(restored, config)
    saved(torch.ones(1, 2)).sum().backward()
    before.step()
    make_capturable(after, torch.device("cpu"))
    restore_optimizer(after, before.state_dict())
    set_rates(after, dataclasses.replace(config, learning_rate=0.5))
    (group,) = after.param_groups
    assert group["capturable"] is True
    assert isinstance(group["lr"], torch.Tensor)
    assert float(group["lr"]) == 0.5
    for old, new in zip(saved.parameters(), restored.parameters(), strict=True):
        for key, value in before.state[old].items():
            assert torch.equal(after.state[new][key], value)
