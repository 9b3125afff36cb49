import logging
import sys

import pytest

from wgan.text import OneLineFormatter, first_line, printable, shorten


@pytest.mark.parametrize(
    ("value", "shown"),
    [(7, "7"), ("a\nb", r"'a\nb'"), ("x" * 100, "'" + "x" * 56 + "..."), ([1, 2], "[1, 2]")],
)
def test_a_value_is_shown_as_its_repr_cut_to_a_limit(value: object, shown: str) -> None:
    assert shorten(value) == shown
    assert len(shown) <= 60


def test_an_error_is_cut_to_its_first_line() -> None:
    assert first_line(ValueError("\n too large \n at 0x7f\n")) == "too large"
    assert first_line(KeyError()) == "KeyError"
    assert first_line(OSError("y" * 500)) == "y" * 297 + "..."


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grün, 'naïve' \\ 画像.png", "grün, 'naïve' \\ 画像.png"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\r\u2028c\x85", r"a\nb\r\u2028c\x85"),
        ("gpj.\u202eevil", r"gpj.\u202eevil"),
        (b"latin \xe9".decode("utf-8", "surrogateescape"), r"latin \udce9"),
        (ValueError("\x9b2J"), r"\x9b2J"),
    ],
)
def test_characters_that_a_terminal_would_obey_are_shown_as_escapes(
    text: object, shown: str
) -> None:
    assert printable(text) == shown


def test_a_log_shows_no_control_characters_of_messages_and_tracebacks() -> None:
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        failure = sys.exc_info()
    record = logging.LogRecord("x", logging.ERROR, "", 0, "name %s", ("a\nb\x1b[31m",), failure)
    first, *traceback = OneLineFormatter("%(message)s").format(record).split("\n")
    assert first == r"name a\nb\x1b[31m"
    assert traceback[0] == "Traceback (most recent call last):"
    assert traceback[-1] == r"ValueError: \x1b[2J"
