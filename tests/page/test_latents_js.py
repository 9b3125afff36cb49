"""The browser's latents are NumPy's."""

import base64
from pathlib import Path

import numpy as np
import pytest

from tests.page.scripts import run_script
from wgan.latents import latents_from_seeds
from wgan.runtime.latent_sources import slerp

SEEDS = [*range(990), 2**16, 2**31 - 1, 2**31, 2**31 + 1, *range(2**32 - 6, 2**32)]


def ulps(ours: np.ndarray, theirs: np.ndarray) -> int:
    """How many float32 numbers two arrays lie apart at most; -0 and 0 are one."""
    steps = [
        np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)
        for bits in (array.view(np.int32).astype(np.int64) for array in (ours, theirs))
    ]
    return int(np.abs(steps[0] - steps[1]).max())


@pytest.mark.parametrize("latent_dim", [1, 128, 129])
def test_a_thousand_seeds_give_numpys_latents_but_for_the_last_bit(
    tmp_path: Path, latent_dim: int
) -> None:
    rows = run_script(
        tmp_path,
        f"""
        import {{ latents }} from "./latents.js";
        const rows = {SEEDS}.map((seed) => Buffer.from(latents(seed, {latent_dim}).buffer));
        console.log(JSON.stringify(Buffer.concat(rows).toString("base64")));
        """,
        "latents.js",
    )
    drawn = np.frombuffer(base64.b64decode(rows), np.float32).reshape(len(SEEDS), latent_dim)
    expected = latents_from_seeds(SEEDS, latent_dim)
    assert len(SEEDS) == 1000
    assert ulps(drawn, expected) <= 1
    assert np.mean(drawn == expected) > 0.999


@pytest.mark.parametrize("ends", [(3, 4), (5, 5)])
def test_the_way_between_two_seeds_is_that_of_the_runtime(
    tmp_path: Path, ends: tuple[int, int]
) -> None:
    frames = run_script(
        tmp_path,
        f"""
        import {{ latents, slerp }} from "./latents.js";
        const [start, end] = {list(ends)}.map((seed) => latents(seed, 128));
        const parts = [0, 0.25, 0.5, 1];
        console.log(JSON.stringify(parts.map((part) => [...slerp(start, end, part)])));
        """,
        "latents.js",
    )
    start, end = latents_from_seeds(ends, 128)
    expected = np.stack([slerp(start, end, part) for part in (0, 0.25, 0.5, 1)])
    assert np.abs(np.array(frames) - expected).max() < 1e-6
