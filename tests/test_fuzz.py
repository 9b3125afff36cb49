"""A little of what `make fuzz` does for minutes."""

import sys
from pathlib import Path

import pytest

from tests.cli import fuzzing as commands
from tests.processes import ROOT, run
from tests.server import fuzzing as requests
from tests.server import grpc_fuzzing as calls


@pytest.mark.parametrize("make", [commands.command_line, requests.request, calls.message])
def test_a_case_is_a_function_of_its_number(make: object) -> None:
    assert callable(make)
    assert [make(number) for number in range(50)] == [make(number) for number in range(50)]


@pytest.mark.skipif(sys.platform != "linux", reason="forks and limits of Linux")
def test_hostile_command_lines_end_in_a_sentence() -> None:
    # In a process of its own, in which no thread of PyTorch runs when the cases are forked.
    done = run([sys.executable, "-m", "tests.cli.fuzzing", "--count", "6"], Path(ROOT))
    assert done.returncode == 0, done.stdout + done.stderr


def test_hostile_requests_are_refused_or_answered() -> None:
    done, fault = requests.run_cases(range(150))
    assert (done, fault) == (150, None)
