"""Server logs: plain text, or JSON lines."""

import datetime as dt
import itertools
import json
import logging
import re
import secrets

ACCESS = logging.getLogger("wgan.server.access")
"""Access log: one line per request, in JSON logs only."""

# A random prefix and a counter: random bytes for each request would cost more than parsing it.
_PREFIX = secrets.token_hex(4)
_numbers = itertools.count()

_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")


def request_id(given: str | None) -> str:
    """The client's `X-Request-Id` if it is safe to log, else a new id."""
    return given if given and _ID.fullmatch(given) else f"{_PREFIX}{next(_numbers):08x}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, message, and the keys of `extra={"fields": ...}`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record."""
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
    """Log to standard error, replacing the command line's log handlers."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else logging.Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("wgan.server").setLevel(logging.INFO)
    ACCESS.setLevel(logging.INFO if as_json else logging.WARNING)
