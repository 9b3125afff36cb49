"""Preparation: the options of a training that decide how its images became pixels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, Self

from wgan.image_shape import to_size
from wgan.options import check_value
from wgan.training.config import TrainConfig
from wgan.training.data.data_range import parse_data_range
from wgan.training.data.transform import Transform, parse_colour

PARSERS: Mapping[str, Callable[[str], object]] = MappingProxyType(
    {"background": parse_colour, "data_range": parse_data_range}
)
"""What turns the text of an option into its value."""


@dataclass(frozen=True)
class Preparation:
    """How other images have to be prepared to compare with those of a training."""

    crop: int = TrainConfig.crop
    background: str = TrainConfig.background
    fit: str = TrainConfig.fit
    data_range: str = TrainConfig.data_range
    frames: str = TrainConfig.frames

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any]) -> Self:
        """Read the settings of a checkpoint, or of a manifest, which anyone can write.

        A setting that is missing has its default.

        Raises:
            UsageError: a setting has a value that `wgan train` refuses.
        """
        known = [field.name for field in fields(cls) if field.name in settings]
        for name in known:
            check_value(TrainConfig, name, settings[name])
        found = cls(**{name: settings[name] for name in known})
        for name in known:
            found.parsed(name)
        return found

    def parsed(self, name: str) -> object:
        """Return what an option means: "white" and "#ffffff" mean the same."""
        text = getattr(self, name)
        return PARSERS[name](text) if name in PARSERS else text

    def transform(self, shape: tuple[int, int, int]) -> Transform:
        """Return the transform to images of `shape`: height, width and channels."""
        height, width, channels = shape
        return Transform.from_config(self, to_size(height, width), channels)
