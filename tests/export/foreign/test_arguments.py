"""Arguments of a module besides the latents: labels, classes, numbers, and what a call says."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.export.foreign.test_modules import LATENT_DIM, Several, Small
from wgan.errors import ExportError, UsageError
from wgan.export import ExportConfig, export_module
from wgan.export.foreign.arguments import check_arguments, make_inputs, make_labels
from wgan.export.foreign.module import ForeignGenerator, draw
from wgan.export.modules import export_named_module
from wgan.latents import latents_from_seeds
from wgan.runtime import Generator


class Growing(Small):
    """Takes a number of steps, as progressive generators do, and a direction."""

    def forward(self, z: Tensor, step: int = 0, direction: Tensor | None = None) -> Any:
        """Draw images."""
        for _ in range(step):
            z = z + (0 if direction is None else direction[:, :, None, None])
        return self.main(z)


def test_whole_numbers_and_arrays_are_arguments(tmp_path: Path) -> None:
    network = Growing().eval()
    direction = np.linspace(-1, 1, LATENT_DIM)[None]
    np.save(tmp_path / "d.npy", direction)
    inputs = make_inputs(network, {"step": "2", "direction": f"{tmp_path / 'd.npy'}"}, None)
    z = torch.ones(1, LATENT_DIM, 1, 1)
    moved = z + 2 * torch.from_numpy(direction.astype(np.float32))[:, :, None, None]
    torch.testing.assert_close(network(z, **inputs), network(moved))
    with pytest.raises(UsageError, match=r"--input .*none.npy cannot be read"):
        make_inputs(network, {"direction": f"{tmp_path / 'none.npy'}"}, None)


@pytest.mark.parametrize("text", ["nan", "-inf", "1e999", "0,nan,1", "d.npy"])
def test_numbers_that_are_not_finite_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("d.npy", np.array([[np.inf]]))
    with pytest.raises(UsageError, match=r"--input direction=.* is not finite"):
        make_inputs(Growing(), {"direction": text}, None)


class OneHot(nn.Module):
    """Takes a class as one-hot."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.linear = Small().main, nn.Linear(4, LATENT_DIM)

    def forward(self, z: Tensor, c: Tensor) -> Any:
        """Draw images."""
        return self.main((z + self.linear(c))[:, :, None, None])


@pytest.mark.parametrize(
    ("module", "text", "classes"),
    [(Several(), "y", 10), (Several(), "y:3", 3), (OneHot(), "c:4", 4)],
)
def test_labels_stay_an_input(tmp_path: Path, module: nn.Module, text: str, classes: int) -> None:
    inputs = {"noise_mode": "const"} if isinstance(module, Several) else {}
    path = tmp_path / "g.onnx"
    manifest = export_module(
        module,
        (LATENT_DIM,),
        path,
        inputs=inputs,
        output="images" if inputs else None,
        label_input=text,
    )
    assert manifest.classes == tuple(map(str, range(classes)))
    latents, labels = latents_from_seeds(range(3), LATENT_DIM), np.array([2, 0, 1])
    given = torch.from_numpy(labels) if inputs else torch.eye(4)[labels]
    with torch.no_grad():
        result = module(torch.from_numpy(latents), given, **inputs)
    expected = (result["images"] if inputs else result).numpy()
    with Generator(path) as generator:
        assert np.abs(generator.images(latents, labels) - expected).max() < 1e-5


def test_labels_of_an_unknown_number_of_classes_are_refused() -> None:
    with pytest.raises(UsageError, match="--labels c: how many classes it has is unknown"):
        make_labels(OneHot(), "c")
    with pytest.raises(UsageError, match="forward of the generator takes no x, only c"):
        make_labels(OneHot(), "x:3")


@pytest.mark.parametrize(
    ("given", "label", "message"),
    [
        ({"sigma": "1"}, None, r"--input sigma: forward of the generator takes z, y, truncation"),
        ({"y": "1"}, 2, r"--class 2: .* none of these is clearly a class"),
    ],
)
def test_arguments_that_do_not_exist_are_named(
    given: dict[str, str], label: int | None, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        make_inputs(Several(), given, label)


def test_an_argument_without_a_value_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"takes z, y, .* y has no value: give  --labels y:COUNT"):
        export_module(Several(), (LATENT_DIM,), tmp_path / "g.onnx", output="images")


class Indices(nn.Module):
    """Takes a class as an index, by position only."""

    def __init__(self) -> None:
        super().__init__()
        self.main, self.embedding = Small().main, nn.Embedding(5, LATENT_DIM)

    def forward(self, z: Tensor, y: Tensor, /) -> Any:
        """Draw images."""
        return self.main((z * self.embedding(y))[:, :, None, None])


def drawn_with(
    module: nn.Module, labels: str | None = None, label: int | None = None, **given: str
) -> Tensor:
    inputs, argument = make_inputs(module, given, label), make_labels(module, labels)
    check_arguments(module, inputs, argument)
    return draw(ForeignGenerator(module.eval(), (LATENT_DIM,), inputs, labels=argument))


def test_arguments_by_position_are_given() -> None:
    assert drawn_with(Indices(), labels="y:5").shape == (8, 3, 8, 8)
    assert drawn_with(Indices(), label=3).shape == (8, 3, 8, 8)


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (Indices(), {"labels": "y:6"}, "--labels y:6: .* neither indices from 0 to 5 .*has 5 rows"),
        (OneHot(), {"labels": "c:5"}, r"neither indices .* nor one-hot labels \[n, 5\] .*shapes"),
        (Indices(), {"label": 7}, "with y=7: index out of range.*below their number,  --class K"),
        (Indices(), {"y": "3"}, "with y=3: .*must be Tensor, not int.*,  --class K"),
        (OneHot(), {"label": 3}, "with c=3: .*one-hot,  --input c=0,0,1"),
        (
            Indices(),
            {"z": "1", "label": 3},
            "--input z: .* these, z, takes the latents",
        ),
        (Indices(), {"labels": "y", "y": "1"}, "--labels keeps y, --input fixes it: give one"),
    ],
)
def test_values_that_do_not_fit_are_explained(
    module: nn.Module, given: dict[str, Any], message: str
) -> None:
    with pytest.raises((UsageError, ExportError), match=message) as caught:
        drawn_with(module, **given)
    assert "Python `if`" not in str(caught.value)


def test_a_label_is_kept_or_fixed(tmp_path: Path) -> None:
    config = ExportConfig(
        module="torch.nn:Identity", latent_shape=(6,), label_input="y", fixed_class=1
    )
    with pytest.raises(UsageError, match="--labels keeps the label, --class fixes it: give one"):
        export_named_module(config, tmp_path / "g.onnx")
