"""What malloc is told to keep."""

import platform
import sys

import pytest

from tests.processes import ROOT, run

STEPS = """
import resource, sys, torch
from wgan.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def step():  # blocks of 40 MiB, which glibc always gives back by itself
    blocks = [torch.ones(10 * 2**20) for _ in range(2)]
for _ in range(3):  # until the holes that alignment leaves are large enough
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc is what is told")
def test_freed_memory_is_kept_for_the_next_step() -> None:
    faults = {}
    for what in ("keep", "give"):
        done = run([sys.executable, "-c", STEPS, what], ROOT)
        assert done.returncode == 0, done.stderr
        faults[what] = int(done.stdout)
    assert 2 * faults["keep"] < faults["give"]
