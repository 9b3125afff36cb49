"""What a benchmark of quality found: a JSON file for each run, and the tables made of them."""

import argparse
import json
import re
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from wgan.errors import UsageError
from wgan.files import make_folder, write_whole

Record = dict[str, Any]
"""Plain values: what was run, on what, and what came out."""


def arguments(about: str) -> argparse.ArgumentParser:
    """The arguments that each of these scripts has."""
    parser = argparse.ArgumentParser(description=about.partition("\n")[0])
    parser.add_argument(
        "results", type=Path, help="folder of the results; runs that are there are not repeated"
    )
    parser.add_argument("--seeds", type=int, default=3, help="runs of each kind (default: 3)")
    parser.add_argument("--write", type=Path, metavar="PAGE", help="put the table into this page")
    return parser


def save_record(path: Path, record: Record) -> None:
    """Write a run's record, all of it or nothing."""
    make_folder(path.parent)
    write_whole(path, json.dumps(record, indent=1).encode() + b"\n")


def is_done(path: Path, **settings: object) -> bool:
    """Whether the record of a run is there.

    Raises:
        UsageError: it is, of a run with other settings: the two do not go into one table.
    """
    if not path.exists():
        return False
    record = json.loads(path.read_text())
    for name, value in settings.items():
        if record[name] != value:
            raise UsageError(
                f"{path} is of {name} {record[name]}, not {value}: name another folder"
            )
    return True


def load_records(folder: Path) -> list[Record]:
    """The records in a folder, by their file's name."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


def write_block(page: Path, name: str, text: str) -> None:
    """Replace what stands between `<!-- NAME -->` and `<!-- /NAME -->` in a page.

    Raises:
        UsageError: the page has no such place.
    """
    before = page.read_text(encoding="utf-8")
    pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
    stripped = text.strip("\n")  # spaces at its start make the machine's line a block
    after, count = pattern.subn(lambda found: f"{found[1]}\n{stripped}\n\n{found[2]}", before)
    if count != 1:
        raise UsageError(f"{page} has no place for {name}: <!-- {name} --> to <!-- /{name} -->")
    write_whole(page, after.encode())


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def spread(values: Sequence[float], form: str) -> str:
    """The mean and the range: `"93.1 (92.0 to 94.4)"`; a lone value says that it is one."""
    mean = format(statistics.mean(values), form)
    if len(values) == 1:
        return f"{mean} (1 run)"
    return f"{mean} ({min(values):{form}} to {max(values):{form}})"
