"""The engines that run an exported file, as messages name them."""

from wgan.host import usable_cores
from wgan.runtime.engine import DEVICE_NAMES, EngineConfig


def test_an_engine_of_any_device_has_a_text() -> None:
    texts = [str(EngineConfig(device, 3)) for device in DEVICE_NAMES]
    assert texts[:2] == [
        "auto, optimisations all, threads 3",
        "CPUExecutionProvider, optimisations all, threads 3",
    ]
    assert str(EngineConfig()).endswith(f", threads {usable_cores()}")
