"""Weights of other projects' generators: files, keys inside them, and prefixes of names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.export.foreign.test_modules import Small, drawn
from wgan.errors import UsageError
from wgan.export.foreign.weights import load_weights, put_weights


@pytest.fixture
def module() -> Small:
    torch.manual_seed(0)
    return Small()


def saved(tmp_path: Path, name: str, content: Any) -> str:
    torch.save(content, tmp_path / name)
    return str(tmp_path / name)


@pytest.mark.parametrize("prefix", ["", "module.", "generator.", "module.generator."])
def test_prefixes_of_wrappers_are_left_out(tmp_path: Path, module: Small, prefix: str) -> None:
    state = {prefix + name: value for name, value in module.state_dict().items()}
    if prefix.endswith("generator."):
        state["critic.weight"] = torch.zeros(3)
    other = Small()
    put_weights(other, load_weights(saved(tmp_path, "w.pth", state)))
    np.testing.assert_array_equal(drawn(other), drawn(module))


def test_weights_are_found_under_a_key(tmp_path: Path, module: Small) -> None:
    content = {"g": Small().state_dict(), "g_ema": module.state_dict(), "step": 3}
    path = saved(tmp_path, "all.pt", content)
    other = Small()
    put_weights(other, load_weights(f"{path}:g_ema"))
    np.testing.assert_array_equal(drawn(other), drawn(module))
    with pytest.raises(UsageError, match=r"several weights: g, g_ema; .*all.pt:g_ema"):
        load_weights(path)
    with pytest.raises(UsageError, match=r"has no 'ema', only g, g_ema, step"):
        load_weights(f"{path}:ema")


def test_of_a_generator_and_its_ema_one_must_be_named(tmp_path: Path, module: Small) -> None:
    state = module.state_dict()
    both = {f"generator.{name}": torch.zeros_like(value) for name, value in state.items()}
    both |= {f"generator_ema.{name}": value for name, value in state.items()}
    path = saved(tmp_path, "w.pth", both)
    other = Small()
    with pytest.raises(UsageError, match=r"generator, generator_ema; name one.*:generator_ema"):
        put_weights(other, load_weights(path))
    put_weights(other, load_weights(f"{path}:generator_ema"))
    torch.testing.assert_close(other.state_dict(), module.state_dict())


def test_a_key_may_be_that_of_an_object_and_of_the_weights_in_it(
    tmp_path: Path, module: Small
) -> None:
    state = module.state_dict()
    both = {f"online.{name}": torch.zeros_like(value) for name, value in state.items()}
    both |= {f"ema.{name}": value for name, value in state.items()}
    text, other = f"{saved(tmp_path, 'w.pth', {'ema': both})}:ema", Small()
    put_weights(other, load_weights(text), text)
    torch.testing.assert_close(other.state_dict(), state)


def test_weights_without_names_are_refused(tmp_path: Path, module: Small) -> None:
    """As torch_ema saves them."""
    ema = {"num_updates": torch.tensor(3), "shadow_params": list(module.parameters())}
    for content in (ema, {"ema": ema}):
        with pytest.raises(UsageError, match=r"weights without names, in 'shadow_params'.*save"):
            load_weights(saved(tmp_path, "w.pth", content))


@pytest.mark.parametrize("losses", [[torch.tensor(0.5)], [torch.zeros(3)]], ids=["0d", "1d"])
def test_lists_of_tensors_beside_the_weights_are_ignored(
    tmp_path: Path, module: Small, losses: list[torch.Tensor]
) -> None:
    other = Small()
    content = {**module.state_dict(), "losses": losses}
    put_weights(other, load_weights(saved(tmp_path, "w.pth", content)))
    torch.testing.assert_close(other.state_dict(), module.state_dict())


def test_weights_are_found_below_several_keys_and_beside_numbers(
    tmp_path: Path, module: Small
) -> None:
    state = {**module.state_dict(), "step": 7}
    path = saved(tmp_path, "w.pth", {"epoch": 3, "state_dict": {"generator": state}})
    assert set(load_weights(path)) == set(module.state_dict())
    several = saved(tmp_path, "s.pth", {"nets": {"g": state, "g_ema": state}})
    with pytest.raises(UsageError, match=r"several weights: nets\.g, nets\.g_ema"):
        load_weights(several)


def test_weight_norm_of_older_releases_is_loaded(tmp_path: Path) -> None:
    def network() -> nn.Sequential:
        return nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(3, 4)))

    made, other = network(), network()
    renamed = {"original0": "0.weight_g", "original1": "0.weight_v", "bias": "0.bias"}
    old = {renamed[name.split(".")[-1]]: value for name, value in made.state_dict().items()}
    put_weights(other, load_weights(saved(tmp_path, "w.pth", old)))
    torch.testing.assert_close(other.state_dict(), made.state_dict())


def test_the_only_weights_need_no_key(tmp_path: Path, module: Small) -> None:
    path = saved(tmp_path, "one.pt", {"epoch": 3, "netG": module.state_dict()})
    assert set(load_weights(path)) == set(module.state_dict())


def test_safetensors_are_read(tmp_path: Path, module: Small) -> None:
    save_file(module.state_dict(), tmp_path / "w.safetensors")
    other = Small()
    put_weights(other, load_weights(str(tmp_path / "w.safetensors")))
    np.testing.assert_array_equal(drawn(other), drawn(module))


class Unsafe:
    def __reduce__(self) -> Any:
        return print, ("code ran",)


def test_files_that_could_run_code_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds more than tensors"):
        load_weights(saved(tmp_path, "w.pth", {"a": Unsafe()}))


def test_missing_and_unknown_weights_are_named(module: Small) -> None:
    state = module.state_dict()
    state["main.9.weight"] = state.pop("main.0.weight")
    with pytest.raises(UsageError, match=r"lacks 1 of the .*: main.0.weight, .*: main.9.weight"):
        put_weights(Small(), dict(state))


def test_weights_of_another_shape_are_named(module: Small) -> None:
    state = dict(module.state_dict())
    state["main.0.weight"] = torch.zeros(2, 2)
    with pytest.raises(UsageError, match=r"does not fit the network: .*main.0.weight"):
        put_weights(Small(), state)


def test_unknown_weights_alone_are_a_warning(
    module: Small, caplog: pytest.LogCaptureFixture
) -> None:
    put_weights(Small(), dict(module.state_dict()) | {"noise": torch.zeros(3)})
    assert "does not use these weights: noise" in caplog.text


def weights(value: float) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(each, value) for name, each in Small().state_dict().items()}


def prefixed(prefix: str, value: float) -> dict[str, torch.Tensor]:
    return {prefix + name: each for name, each in weights(value).items()}


@pytest.mark.parametrize(
    ("content", "suggested"),
    [
        (
            {"state_dict": prefixed("generator.", 1) | prefixed("generator_ema.", 2), "epoch": 3},
            "generator_ema",
        ),
        (
            {"nets": {"g": prefixed("net.", 1) | prefixed("net_ema.", 2)}, "d": weights(1)},
            "nets.g",
        ),
        ({0: weights(2), 1: weights(1)}, "0"),
        ({"a.b": weights(1), "a.ema": weights(2)}, "a.ema"),
        ({"a": {"b.c": weights(1), "c.ema": weights(2)}}, "a.c.ema"),
    ],
)  # fmt: skip
def test_the_key_that_a_message_names_is_one(tmp_path: Path, content: Any, suggested: str) -> None:
    path, network = saved(tmp_path, "w.pth", content), Small()
    with pytest.raises(UsageError, match=rf":{suggested}$"):
        put_weights(network, load_weights(path))
    if suggested == "nets.g":
        with pytest.raises(UsageError, match=r":net_ema$"):
            put_weights(network, load_weights(f"{path}:nets.g"))
        suggested = "net_ema"
    put_weights(network, load_weights(f"{path}:{suggested}"))
    assert all((value == 2).all() for value in network.state_dict().values())


@pytest.mark.parametrize(
    ("content", "held"),
    [
        ([{"w": torch.ones(1)}], "a list"),
        ((1, 2), "a tuple"),
        (torch.ones(2), "a Tensor"),
        ({}, "an empty dict"),
        ({"epoch": 3}, "epoch"),
    ],
)
def test_where_no_key_can_help_none_is_named(tmp_path: Path, content: Any, held: str) -> None:
    message = f"holds {held}, in which there are no weights by name: save .*state_dict"
    with pytest.raises(UsageError, match=message):
        load_weights(saved(tmp_path, "w.pth", content))


def test_a_pickled_module_says_how_to_save_its_weights(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"save  content\.state_dict\(\)  if it is a whole module"):
        load_weights(saved(tmp_path, "w.pth", Small()))


@pytest.mark.parametrize("content", [b"", b"junk" * 100, b"<html>"])
def test_files_of_something_else_are_not_called_weights(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(UsageError, match="cannot be read: it is damaged, or no file that torch"):
        load_weights(str(tmp_path / "w.pth"))


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_torchscript_program_and_sparse_weights_are_read_without_warnings(tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    torch.jit.save(torch.jit.trace(nn.Identity(), torch.ones(1)), path)
    with pytest.raises(UsageError, match="is a TorchScript program, not weights"):
        load_weights(str(path))
    loaded = load_weights(saved(tmp_path, "s.pth", {"w": torch.ones(2, 2).to_sparse()}))
    assert loaded["w"].is_sparse
