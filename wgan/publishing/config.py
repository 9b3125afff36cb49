"""The options of `wgan publish`."""

import os
import re
from dataclasses import MISSING, dataclass
from pathlib import Path

from wgan.errors import OutputError
from wgan.export.config import PRECISIONS
from wgan.model_file.published import PUBLISHED_FILES
from wgan.options import check, option
from wgan.runs import Run
from wgan.training.execution import CheckpointConfig

CARD = "README.md"

APP = ("app.py", "requirements.txt")
"""Files of the Gradio app, as they are in `wgan.publishing`."""

WRITTEN = (
    *(CARD, "config.json", "samples.png", "interpolation.webp", *APP),
    *PUBLISHED_FILES.values(),
)
"""Everything that `wgan publish` writes."""

_NAME = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
"""A name on the Hub, as a regular expression."""


@dataclass(frozen=True, kw_only=True)
class PublishConfig(CheckpointConfig):
    """What `wgan publish` writes, and where.

    Raises:
        UsageError: a value is not allowed.
        OutputError: the folder is a run, or holds files that would be replaced.
    """

    folder: Path = option(MISSING, "The folder to write.", argument=True, metavar="FOLDER")
    exports: tuple[Path, ...] = option(
        (),
        "ONNX exports of one generator, or a run to export.",
        argument=True,
        metavar="[EXPORT...|RUN]",
        shown_default="the latest run",
    )
    precisions: tuple[str, ...] = option(
        (),
        "What to export of a run; can be repeated.",
        flags=("--precision",),
        choices=PRECISIONS,
        shown_default="each that matches PyTorch",
        group="Options",
    )
    repository: str | None = option(
        None,
        "Where it will be uploaded, for the card's examples.",
        flags=("--repo",),
        pattern=rf"{_NAME}/{_NAME}",
        form="USER/NAME of ASCII letters, digits, '.', '_' and '-'",
        metavar="USER/NAME",
        shown_default="your-name/ and the folder's name",
    )
    license: str | None = option(
        None,
        "Licence of the generator, by its name on the Hub, as in apache-2.0.",
        pattern=r"[a-z0-9][a-z0-9.-]*",
        form="lower-case letters, digits, '.' and '-', as in apache-2.0 or cc-by-4.0",
        metavar="NAME",
        shown_default="the card says that none is stated",
    )
    evaluation: Path | None = option(
        None,
        "What wgan eval --json printed, for the card's metrics.",
        flags=("--eval",),
        metavar="FILE",
    )
    overwrite: bool = option(False, "Replace files that are there.")

    def __post_init__(self) -> None:
        """Check each option, and that nothing is lost in the folder."""
        check(self)
        if Run(self.folder).checkpoints():
            raise OutputError(f"{self.folder} is a run: name another folder")
        # A link that leads nowhere would be written through.
        there = [name for name in WRITTEN if os.path.lexists(self.folder / name)]
        if there and not self.overwrite:
            raise OutputError(
                f"{self.folder} already holds {', '.join(there)}, perhaps with your own words: add"
                " --overwrite to replace all of these, or name another folder"
            )

    @property
    def title(self) -> str:
        """The generator's name: NAME of the repository, or the folder's."""
        return self.repository.partition("/")[2] if self.repository else self.folder.absolute().name

    @property
    def address(self) -> str:
        """USER/NAME for the card's examples."""
        return self.repository or f"your-name/{slug(self.title)}"


def slug(text: str) -> str:
    """Return a text as the Hub writes names: letters, digits, '.', '_' and '-'."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII).strip("-.") or "generator"
