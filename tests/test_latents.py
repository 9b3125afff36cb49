import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wgan.errors import UsageError
from wgan.latents import format_seeds, labels_from_seeds, latents_from_seeds, parse_seeds


def test_a_seeds_latent_is_that_of_randomstate() -> None:
    drawn = latents_from_seeds([7, 0], 16)
    assert drawn.dtype == np.float32
    expected = np.random.RandomState(7).standard_normal(16).astype(np.float32)
    assert np.array_equal(drawn[0], expected)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8), st.integers(1, 40))
def test_a_seeds_latent_does_not_depend_on_its_neighbours(seeds: list[int], dim: int) -> None:
    together = latents_from_seeds(seeds, dim)
    alone = np.concatenate([latents_from_seeds([seed], dim) for seed in seeds])
    assert np.array_equal(together, alone)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_out_of_range_is_refused(seed: int) -> None:
    with pytest.raises(UsageError, match=f"seed {seed} is not allowed"):
        latents_from_seeds([seed], 4)


@pytest.mark.parametrize(
    ("text", "seeds"),
    [("0", [0]), ("0,1,4-6", [0, 1, 4, 5, 6]), (" 3 , 1", [3, 1]), ("7-7", [7])],
)
def test_seeds_are_parsed_in_the_order_given(text: str, seeds: list[int]) -> None:
    assert list(parse_seeds(text)) == seeds


def test_a_single_range_takes_no_memory() -> None:
    assert isinstance(parse_seeds("0-4294967295"), range)


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1,,2", "3-1", "4294967296", "1.5"])
def test_other_texts_are_refused_in_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"seed|range"):
        parse_seeds(text)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=30))
def test_formatted_seeds_parse_back(seeds: list[int]) -> None:
    assert list(parse_seeds(format_seeds(seeds))) == seeds


def test_a_seed_without_a_label_has_its_remainder_by_the_classes() -> None:
    labels = labels_from_seeds([0, 9, 10, 2**32 - 1], 10)
    assert labels.dtype == np.int64
    assert labels.tolist() == [0, 9, 0, 5]
