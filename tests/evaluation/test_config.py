"""Options of an evaluation."""

from pathlib import Path
from typing import Any

import pytest

from wgan.errors import OutputError, UsageError
from wgan.evaluation.config import MIN_IMAGES, EvalConfig
from wgan.evaluation.feature_metrics import ROBUST_K
from wgan.evaluation.statistics import SPLITS


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 9}, "-n 9 is not allowed: it must be an integer at least 10"),
        ({"repeats": 0}, "--repeats 0"),
        ({"n": 2**31, "repeats": 3}, "6442450944 images go beyond the last seed"),
        ({"data_n": 9}, "--data-n 9 is not allowed: it must be an integer at least 10"),
        ({"seed": -1}, "seed -1 is not allowed"),
        ({"n": 100, "repeats": 2, "seed": 2**32 - 199}, "200 images go beyond the last seed"),
        ({"metrics": ("fid", "swd")}, "--metrics swd is not one of"),
    ],
)
def test_a_value_that_is_not_allowed_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EvalConfig(**options)


def test_the_last_seed_is_allowed() -> None:
    config = EvalConfig(n=100, repeats=2, seed=2**32 - 200)
    assert config.seeds == [range(2**32 - 200, 2**32 - 100), range(2**32 - 100, 2**32)]


def test_neighbours_are_for_one_generator_in_a_folder_that_exists(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--neighbours is for one generator"):
        EvalConfig(generators=(Path("a"), Path("b")), neighbours=tmp_path / "out.png")
    with pytest.raises(OutputError, match="no does not exist"):
        EvalConfig(neighbours=tmp_path / "no" / "out.png")


def test_neighbours_replace_no_file_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"run\.pt is not allowed: its name must end in \.png"):
        EvalConfig(neighbours=tmp_path / "run.pt")


def test_the_least_number_of_images_suits_every_metric() -> None:
    assert max(SPLITS, ROBUST_K + 1) == MIN_IMAGES
