"""Text for messages: made safe for a terminal, shortened, or cut to a line."""

import logging
import os
import shlex
from typing import Any


def printable(text: object) -> str:
    r"""Return the text on one line, with escapes for characters that a terminal would obey.

    Names and texts from files may hold anything: escape sequences and line breaks, which could
    forge output, characters that reverse the direction of writing, and bytes that are not UTF-8.
    They are shown as `\x1b`, `\n`, `\u202e` and `\udcff`.
    """
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in str(text)
    )


def shell_quote(word: object) -> str:
    r"""Quote a word of a command to be pasted into a shell, printable even if the word is not.

    As `shlex.quote`, or in bash's form `$'a\x0ab'` with the bytes of characters that `printable`
    would escape.
    """
    text = str(word)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(map(_shell_character, text)) + "'"


def _shell_character(char: str) -> str:
    if char.isprintable() and char not in "'\\":
        return char
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(char))


def shorten(value: object, limit: int = 60) -> str:
    """Return the `repr` of a value, cut to `limit` characters: a message never echoes a page.

    `repr` also escapes control characters, so that a value cannot disturb a terminal or a log.
    """
    try:
        text = repr(value)
    except RecursionError:  # a parser accepts values that are nested more deeply than repr does
        text = f"a deeply nested {type(value).__name__}"
    return cut(text, limit)


class OneLineFormatter(logging.Formatter):
    """Formats log messages and tracebacks without control characters, as `printable` does."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Format the message on one line."""
        record.message = printable(record.message)
        return super().formatMessage(record)

    def formatException(self, ei: Any) -> str:  # noqa: N802 - logging's name
        """Format a traceback, each of its lines on one line."""
        return "\n".join(map(printable, super().formatException(ei).split("\n")))


def first_line(error: BaseException, limit: int = 300) -> str:
    """Return the first line of an error's message, or its type's name where it has none.

    The messages of PyTorch and ONNX Runtime can fill several screens.
    """
    return cut(str(error).strip().partition("\n")[0].rstrip() or type(error).__name__, limit)


def plural(count: int, noun: str) -> str:
    """Return a count with its noun: `"1 image"`, `"20,000 images"`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def cut(text: str, limit: int) -> str:
    """Return the text, or its start and three dots where it is longer than `limit`."""
    return text if len(text) <= limit else text[: limit - 3] + "..."
