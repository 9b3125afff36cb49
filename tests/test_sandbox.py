"""A model opened in a process that is thrown away."""

import asyncio
import contextlib
import os
import sys

import pytest

from tests.processes import children_of, cpu_seconds
from tests.runtime import models
from wgan.sandbox import probe
from wgan.stop import STOP_SIGNALS, Stopped


def test_a_good_model_passes() -> None:
    asyncio.run(probe(models.generator().SerializeToString()))


def test_a_python_error_is_left_to_the_process_that_opens_the_model() -> None:
    asyncio.run(probe(b"not a model"))


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which process is the probe")
def test_cancelling_ends_a_model_that_runs_without_end() -> None:
    before = children_of(os.getpid())

    async def give_up() -> None:
        await asyncio.wait_for(probe(models.slow_to_open()), 0.5)

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())
    assert set(children_of(os.getpid())) <= set(before)


@pytest.mark.skipif(sys.platform != "linux", reason="/proc tells which process is the probe")
@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_a_stop_signal_to_the_process_is_no_fault_of_the_model(number: int) -> None:
    before = children_of(os.getpid())

    def new_children() -> set[int]:
        return set(children_of(os.getpid())) - set(before)

    async def stop() -> None:
        task = asyncio.create_task(probe(models.slow_to_open()))
        # Once the model computes: a SIGINT while Python starts can be lost.
        while not task.done():
            for child in new_children():
                with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                    if cpu_seconds(child) > 1:
                        os.kill(child, number)
            await asyncio.sleep(0.05)
        await task

    with pytest.raises(Stopped) as stopped:
        asyncio.run(stop())
    assert stopped.value.number == number
