"""A model opened in a process that is thrown away."""

import asyncio
import sys

import pytest

from tests.runtime import models
from wgan.errors import ModelFileError
from wgan.sandbox import probe


def test_a_good_model_passes() -> None:
    asyncio.run(probe(models.generator().SerializeToString()))


def test_a_python_error_is_left_to_the_process_that_opens_the_model() -> None:
    asyncio.run(probe(b"not a model"))


@pytest.mark.skipif(sys.platform != "linux", reason="the child is killed by a signal")
def test_a_model_that_takes_too_long_is_refused() -> None:
    with pytest.raises(ModelFileError, match=r"draws no image within 0\.5 seconds"):
        asyncio.run(probe(models.slow_to_open(), timeout=0.5))
