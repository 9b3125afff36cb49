"""A run that is killed repeatedly; `benchmarks/kill_and_resume.py` does it 50 times."""

import sys
from pathlib import Path

import pytest

from benchmarks.kill_and_resume import kill_and_resume, logged_steps, same_end, train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]


def test_a_run_killed_at_any_moment_resumes_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    kills = list(kill_and_resume(killed, 10))  # looks at the files after each
    assert all(kill.logged - kill.saved <= 1 for kill in kills)
    assert any(kill.partial for kill in kills if kill.moment == "writing")

    end = kills[-1].saved + 2
    train(killed, end)
    train(whole, end, checkpoint_every=end)
    assert logged_steps(killed) == list(range(1, end + 1))
    assert same_end(killed, whole, end)
    assert not list(killed.rglob(".*.partial"))
