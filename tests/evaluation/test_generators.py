"""What is judged, opened from files that may come from anyone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.evaluation.generators import EvaluatedGenerator, open_candidate


def opened(folder: Path, config: dict[str, Any]) -> EvaluatedGenerator:
    path = folder / "elsewhere.onnx"
    path.write_bytes(models.sealed(models.generator(told=models.manifest(config=config))))
    return open_candidate(path, torch.device("cpu"), 4, provider="cpu")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"crop": "x"}, "crop is 'x', not a number of pixels"),
        ({"crop": -1}, "crop is '-1', not"),
        ({"crop": True}, "crop is 'True', not"),
        ({"background": 7}, "background is '7', not a colour"),
        ({"background": f"rgb({10**30},0,0)"}, "background is .rgb.*, not a colour"),
        ({"background": "no colour"}, "background is 'no colour', not a colour"),
    ],
)
def test_a_manifest_that_says_nonsense_of_the_data_is_refused(
    tmp_path: Path, config: dict[str, Any], said: str
) -> None:
    with pytest.raises(ModelFileError, match=f"elsewhere.onnx cannot be judged: .*{said}"):
        opened(tmp_path, config)


def test_a_manifest_says_how_the_data_is_prepared(tmp_path: Path) -> None:
    found = opened(tmp_path, {"crop": 5, "background": "#00ff00"})
    assert found.settings == {"crop": 5, "background": "#00ff00"}
