"""What a folder or archive was drawn with, so that it is gone on with by the same settings only."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from wgan.errors import OutputError
from wgan.files import write_whole

RECORD = ".wgan-sample.json"
"""Says what the images of a folder were drawn with."""


def to_text(settings: Mapping[str, Any]) -> str:
    """Write the settings as one line of JSON; equal settings give equal text."""
    return json.dumps(settings, sort_keys=True, separators=(",", ":"))


def check_same(text: str | bytes, settings: Mapping[str, Any], place: str) -> None:
    """Compare what `place` was begun with to the settings now.

    Raises:
        OutputError: they differ, or the text is no record.
    """
    try:
        before = json.loads(text)
    except ValueError:
        before = None
    if not isinstance(before, dict):
        raise OutputError(f"{place} has a damaged record: add --overwrite to draw it anew")
    now = json.loads(to_text(settings))
    for name in sorted({*before, *now}):
        if before.get(name) != now.get(name):
            raise OutputError(
                f"{place} was begun with {name} {_short(before.get(name))}, now it is"
                f" {_short(now.get(name))}: choose another name, or add --overwrite"
            )


def make_folder_here(path: Path) -> None:
    """Make a folder whose parent is there, unless it is there itself. Raises OutputError."""
    try:
        path.mkdir(exist_ok=True)
    except OSError as exc:
        raise OutputError(f"cannot make the folder {path}: {exc.strerror}") from exc


def begun_before(folder: Path, settings: Mapping[str, Any], *, anew: bool) -> bool:
    """Whether the folder was begun before with these settings; else it is begun now.

    `anew` begins it in any case. Raises OutputError where the settings were others.
    """
    record = folder / RECORD
    try:
        if not anew and record.exists():
            check_same(record.read_bytes(), settings, str(folder))
            return True
    except OSError as exc:
        raise OutputError(f"cannot read {record}: {exc.strerror}") from exc
    write_whole(record, (to_text(settings) + "\n").encode())
    return False


def _short(value: object) -> str:
    text = "absent" if value is None else str(value)
    return text if len(text) <= 20 else text[:12] + "..."
