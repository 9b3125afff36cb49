"""What a user says of a generator from another project, where its file does not."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from wgan.errors import UsageError
from wgan.model_file import FILE_SIDE_LIMIT, LATENT_DIM_LIMIT
from wgan.options import advanced, check, flag, parse_value_range
from wgan.text import shorten

_GROUP = "Files of other projects"


@dataclass(frozen=True, kw_only=True)
class ForeignOptions:
    """How to use a generator from another project.

        Generator("theirs.onnx", foreign=ForeignOptions(value_range=(0, 1), inputs=("psi=0.7",)))

    Every command that opens an ONNX file has these options; a file that wgan wrote needs none.
    """

    value_range: tuple[float, float] | None = advanced(
        None,
        "The values of black and white, if the generator does not tell them.",
        parse=parse_value_range,
        metavar="LOW,HIGH",
        group=_GROUP,
    )
    inputs: tuple[str, ...] = advanced(
        (),
        "A further input's value: a number, numbers as in 0,1,0, or a .npy file; repeatable.",
        flags=("--input",),
        metavar="NAME=VALUE",
    )
    fixed_class: int | None = advanced(
        None,
        "Class of all images, for a generator with classes.",
        flags=("--class",),
        low=0,
        metavar="K",
    )
    label_input: str | None = advanced(
        None,
        "An input that stays the label of each image, and the number of classes.",
        metavar="NAME[:COUNT]",
    )
    image_output: str | None = advanced(
        None,
        "The output that holds the images, by name.",
        flags=("--output-name",),
        metavar="NAME",
        shown_default="found",
    )
    image_shape: tuple[int, int, int] | None = advanced(
        None,
        "Height, width and channels of flat images.",
        separator="x",
        low=1,
        high=FILE_SIDE_LIMIT,
        metavar="HxWxC",
        example="32x32x3",
        shown_default="as the file says",
    )
    latent_shape: tuple[int, ...] | None = advanced(
        None,
        "Latents of one image, without the batch.",
        separator="x",
        low=1,
        high=LATENT_DIM_LIMIT,
        metavar="SIZE[xSIZE...]",
        example="100x1x1",
        shown_default="as the file says",
    )

    def __post_init__(self) -> None:
        """Check each option. Raises UsageError."""
        check(self)
        if self.value_range is not None and not self.value_range[0] < self.value_range[1]:
            raise UsageError(f"value_range {self.value_range} is not allowed: black is below white")

    @property
    def given_inputs(self) -> dict[str, str]:
        """Name -> value, as text, of the inputs that the user fixes. Raises UsageError."""
        found = {}
        for text in self.inputs:
            name, equals, value = text.partition("=")
            if not (name and equals and value):
                raise UsageError(
                    f"--input {shorten(text)} is not allowed: write NAME=VALUE, as in"
                    " truncation=0.7"
                )
            found[name] = value
        return found

    @property
    def input_files(self) -> list[tuple[str, Path]]:
        """The .npy files of `inputs`, as `wgan.files.check_keeps_inputs` takes them."""
        values = self.given_inputs.values()
        return [("the value of --input", Path(text)) for text in values if text.endswith(".npy")]

    @property
    def foreign(self) -> "ForeignOptions":
        """These options without those of a config that has more."""
        names = [field.name for field in fields(ForeignOptions)]
        return ForeignOptions(**{name: getattr(self, name) for name in names})

    @property
    def given(self) -> Mapping[str, object]:
        """Flag -> value of the options that differ from their defaults."""
        return {
            flag(field.name, self): getattr(self, field.name)
            for field in fields(ForeignOptions)
            if getattr(self, field.name) != field.default
        }

    def to_json(self) -> str:
        """These options as text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ForeignOptions":
        """Read what `to_json` wrote."""
        fields: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in json.loads(text).items()
        }
        return cls(**fields)

    def check_own(self) -> None:
        """Check the options for a file that wgan wrote, which needs none. Raises UsageError."""
        for name in self.given:
            if name != "--value-range":  # which is compared with the file's
                raise UsageError(
                    f"{name} is for files of other projects: wgan wrote this one, and its manifest"
                    " says what it takes and gives"
                )
