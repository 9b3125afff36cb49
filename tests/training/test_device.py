"""Precisions: what is computed in lower precision, and what never is."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from wgan.errors import UsageError
from wgan.training.config import TrainConfig
from wgan.training.data import Batch
from wgan.training.device import autocast_fn, pick_device, resolve_precision, tf32_mode
from wgan.training.loop import train_steps, update_critic
from wgan.training.losses import gradient_norms
from wgan.training.networks import build
from wgan.training.state import TrainState

CPU = torch.device("cpu")
BF16 = TrainConfig(width=4, latent_dim=8, batch_size=8, n_critic=2, precision="bf16")
TF32 = TrainConfig(width=4, latent_dim=8, batch_size=8, n_critic=2, precision="tf32")


def real_images() -> Tensor:
    return torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1


def test_bf16_computes_in_bfloat16_and_returns_float32() -> None:
    seen: list[torch.dtype] = []
    _, critic = build(BF16)
    layer = critic.get_submodule("layers.2")
    layer.register_forward_hook(lambda module, inputs, output: seen.append(output.dtype))
    scores = autocast_fn("bf16", critic, CPU)(real_images())
    assert seen == [torch.bfloat16]
    assert scores.dtype == torch.float32
    assert autocast_fn("tf32", critic, CPU) is critic


def test_with_bf16_the_gradient_norm_is_float32() -> None:
    _, critic = build(BF16)
    run = autocast_fn("bf16", critic, CPU)
    images = real_images()
    norms = gradient_norms(run, images)
    exact = gradient_norms(critic, images)
    assert norms.dtype == torch.float32
    assert not torch.equal(norms, exact), "the critic did not compute in bfloat16"
    assert torch.allclose(norms, exact, rtol=0.05)


@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_a_bf16_update_is_close_to_that_of_float32(norm: str) -> None:
    gradients = []
    for precision in ("tf32", "bf16"):
        config = TrainConfig(width=4, batch_size=8, precision=precision, critic_norm=norm)
        state = TrainState(*build(config), config, CPU)
        update_critic(state, Batch(real_images()), config)
        found = [parameter.grad for parameter in state.critic.parameters()]
        gradients.append(torch.cat([g.flatten() for g in found if g is not None]))
    exact, rounded = gradients
    assert rounded.dtype == torch.float32
    assert float((exact - rounded).norm() / exact.norm()) < 0.1


def test_with_bf16_weights_optimisers_and_the_ema_stay_float32() -> None:
    state = TrainState(*build(BF16), BF16, CPU)
    step = next(train_steps(state, real_images, BF16))
    assert step.generator_loss.dtype == step.critic.loss.dtype == torch.float32
    networks: tuple[nn.Module, ...] = (state.generator, state.critic, state.generator_ema)
    kinds = {value.dtype for network in networks for value in network.state_dict().values()}
    assert kinds <= {torch.float32, torch.int64}
    for optimizer in (state.generator_optimizer, state.critic_optimizer):
        for tensors in optimizer.state.values():
            assert {value.dtype for value in tensors.values()} == {torch.float32}


@pytest.fixture
def no_tf32() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.mark.usefixtures("no_tf32")
@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_tf32_mode_sets_the_flags_and_restores_them(precision: str, allowed: bool) -> None:
    with tf32_mode(precision):
        assert torch.backends.cuda.matmul.allow_tf32 is allowed
        assert torch.backends.cudnn.allow_tf32 is allowed
    assert torch.backends.cuda.matmul.allow_tf32 is False
    assert torch.backends.cudnn.allow_tf32 is False


@pytest.mark.parametrize(
    ("found", "precision"),
    [({"amx_bf16": True}, "bf16"), ({"avx512_bf16": True}, "bf16"), ({"avx2": True}, "tf32")],
)
def test_auto_is_bf16_where_the_processor_has_it(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], precision: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    assert resolve_precision("auto", CPU) == precision


@pytest.mark.parametrize(("capability", "precision"), [((7, 5), "tf32"), ((8, 0), "bf16")])
def test_auto_is_bf16_on_gpus_since_ampere(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], precision: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert resolve_precision("auto", torch.device("cuda")) == precision


@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16"])
def test_a_precision_that_is_named_stays(precision: str) -> None:
    assert resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize("name", ["cpu:", "cuda:", "mps:", "cpu:0", "cuda:x", "tpu", ""])
def test_other_names_are_no_devices(name: str) -> None:
    with pytest.raises(UsageError, match="is not one of auto, cpu, cuda"):
        pick_device(name)


def test_a_number_of_a_device_may_begin_with_0(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert pick_device("cuda:00") == torch.device("cuda:0")
