"""Pages of the documentation whose tables a benchmark writes."""

from collections.abc import Iterable, Iterator
from pathlib import Path

END = "<!-- end -->"


def printed(lines: Iterable[str]) -> Iterator[str]:
    """The lines of a page, printed as they come."""
    for line in lines:
        print(line, flush=True)
        yield line


def write_between(page: Path, mark: str, lines: Iterable[str]) -> None:
    """Replace what stands in `page` between the line `mark` and the next `<!-- end -->`."""
    before, found, rest = page.read_text(encoding="utf-8").partition(mark)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"{page} has no {mark} ... {END}")
    page.write_text("\n".join([before + mark, "", *lines, "", END + after]), encoding="utf-8")
