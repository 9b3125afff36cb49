"""The engines that run an exported file, as messages name them."""

from wgan.runtime.engine import DEVICE_NAMES, EngineConfig


def test_an_engine_of_any_device_has_a_text() -> None:
    texts = [str(EngineConfig(device)) for device in DEVICE_NAMES]
    assert texts[:2] == [
        "auto, optimisations all, threads None",
        "CPUExecutionProvider, optimisations all, threads None",
    ]
