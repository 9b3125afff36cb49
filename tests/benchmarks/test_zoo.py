"""Every network of the zoo is exported, optimised and compared with itself in PyTorch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import ModelProto

from benchmarks.zoo import Variant, export_network, measure
from benchmarks.zoo_networks import NETWORKS, make_network
from wgan.export.config import OptimizeConfig
from wgan.export.foreign.normal_form import normalize
from wgan.export.formats.onnx import rewrite
from wgan.export.lowering.calibration import open_session
from wgan.export.optimizing import load_foreign
from wgan.export.parity.file_reference import ForeignFile
from wgan.latents import latents_from_seeds


def optimized(name: str, path: Path) -> ModelProto:
    """The rewritten network, before the proof, which draws hundreds of images."""
    network = NETWORKS[name]
    config = OptimizeConfig(file=path, fixed_class=network.label, value_range=network.value_range)
    model, _ = load_foreign(path)
    interface = ForeignFile.open(model, config.foreign).interface
    draft = rewrite(normalize(model, interface), config)
    lowered: ModelProto = ModelProto.FromString(draft.serialize("{}"))
    return lowered


@pytest.mark.parametrize("name", NETWORKS)
def test_the_optimised_network_draws_what_pytorch_draws(name: str, tmp_path: Path) -> None:
    network = NETWORKS[name]
    export_network(name, tmp_path / "exported.onnx")
    latents = latents_from_seeds(range(3), int(np.prod(network.latent_shape)))
    labels = () if network.label is None else (torch.full((3,), network.label),)
    z = torch.from_numpy(latents).reshape(3, *network.latent_shape)
    expected = make_network(name)(z, *labels).numpy()
    model = optimized(name, tmp_path / "exported.onnx")
    images = open_session(model).run(["images"], {"latents": latents})[0]
    assert 0.2 < expected.std() < 0.7  # neither flat nor black and white
    assert np.abs(images - expected).max() < 1e-4


def test_variants_are_measured_in_turns() -> None:
    order: list[str] = []

    class Counting:
        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, outputs: list[str], feed: dict[str, int]) -> None:
            order.append(self.name)
            sum(range(300_000))

    variants = {name: Variant(Counting(name), {}, "images") for name in "ab"}
    times = measure(variants, batch_size=2, turns=3)
    assert {name: len(each) for name, each in times.items()} == {"a": 3, "b": 3}
    changes = [name for name, before in zip(order, ["", *order], strict=False)
               if name != before]  # fmt: skip
    assert "".join(changes[-6:]) == "ababab"
