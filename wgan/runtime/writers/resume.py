"""The settings of an interrupted folder or archive: only the same settings resume it."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan.errors import OutputError
from wgan.files import write_whole
from wgan.text import shorten

RECORD = ".wgan-sample.json"
"""The file in a folder that holds the settings of its images."""


def to_text(settings: Mapping[str, Any]) -> str:
    """Format settings as one line of JSON; equal settings give equal text."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def check_same(text: str | bytes, settings: Mapping[str, Any], path: str) -> None:
    """Compare the settings that `path` was started with, as text, with those of this command.

    Raises:
        OutputError: they differ, or the text is damaged.
    """
    try:
        before = json.loads(text)
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise OutputError(f"{path} has a damaged record: add --overwrite to start again")
    now = json.loads(to_text(settings))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise OutputError(
                f"{path} was started with {name} {_shown(before.get(name))}, now it is"
                f" {_shown(now.get(name))}: choose another name, or add --overwrite"
            )


def make_output_folder(path: Path) -> None:
    """Create a folder unless it exists; its parent must exist.

    Raises:
        OutputError: it cannot be created.
    """
    try:
        path.mkdir(exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {exc.strerror}") from exc


def can_resume(folder: Path, settings: Mapping[str, Any], *, overwrite: bool) -> bool:
    """Return whether the folder was started with these settings; otherwise record them.

    With `overwrite` the settings are always recorded.

    Raises:
        OutputError: the folder was started with other settings.
    """
    record = folder / RECORD
    try:
        if not overwrite and record.exists():
            check_same(record.read_bytes(), settings, str(folder))
            return True
    except OSError as exc:
        raise OutputError(f"cannot read {record}: {exc.strerror}") from exc
    write_whole(record, (to_text(settings) + "\n").encode())
    return False


def _shown(value: object) -> str:
    return "absent" if value is None else shorten(value, 20)
