"""What the server logs: sentences for people, or JSON lines for machines."""

import datetime as dt
import itertools
import json
import logging
import re
import secrets

ACCESS = logging.getLogger("wgan.server.access")
"""A line for each request, in JSON logs alone."""

# Unique without asking the system for random bytes at each request, which takes longer than all
# the rest of a small request's parsing.
_PREFIX = secrets.token_hex(4)
_numbers = itertools.count()

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None) -> str:
    """The id that a client gave its request, when it can stand in a log; else a new one."""
    return given if given and _ID.fullmatch(given) else f"{_PREFIX}{next(_numbers):08x}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, and what `extra={"fields": ...}` adds."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        time = dt.datetime.fromtimestamp(record.created, dt.UTC)
        fields = {
            "time": time.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["traceback"] = self.formatException(record.exc_info)
        return json.dumps(fields)


def configure(as_json: bool) -> None:
    """Send the server's log to standard error, in place of what the command line set up."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("wgan.server").setLevel(logging.INFO)
    ACCESS.setLevel(logging.INFO if as_json else logging.WARNING)
