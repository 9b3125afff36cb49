"""Logs, as plain text or JSON lines, and Prometheus metrics at `/metrics`."""

import datetime as dt
import functools
import itertools
import json
import logging
import re
import secrets
from collections.abc import Callable, Sequence

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from wgan.text import OneLineFormatter

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


def configure_logs(as_json: bool) -> None:
    """Log to standard error, replacing the command line's log handlers."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter() if as_json else OneLineFormatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("wgan.server").setLevel(logging.INFO)
    ACCESS.setLevel(logging.INFO if as_json else logging.WARNING)


def log_request(**fields: object) -> None:
    """Write the access log's line of one request."""
    if ACCESS.isEnabledFor(logging.INFO):
        ACCESS.info("request", extra={"fields": fields})


_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The metrics of one server, in their own registry."""

    def __init__(self) -> None:
        # Otherwise each counter has a second line with its creation time.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        counter = functools.partial(Counter, registry=self.registry)
        gauge = functools.partial(Gauge, registry=self.registry)
        histogram = functools.partial(Histogram, labelnames=["model"], registry=self.registry)
        self.requests = counter("wgan_requests", "Answered requests.", ["route", "status"])
        self.rejections = counter("wgan_rejections", "Refused requests, by reason.", ["reason"])
        self.images = counter("wgan_images", "Generated images.", ["model"])
        self.batch_images = histogram("wgan_batch_images", "Images per run.", buckets=_BATCHES)
        self.inference_seconds = histogram(
            "wgan_inference_seconds", "Duration of a run.", buckets=_SECONDS
        )
        self.queue_seconds = histogram(
            "wgan_queue_seconds",
            "Time of a request in the queue, until its first run.",
            buckets=_SECONDS,
        )
        self.queue_images = gauge("wgan_queue_images", "Queued images.", ["model"])
        self.held_images = gauge("wgan_held_images", "Images admitted and not yet sent.")
        self.connections = gauge("wgan_connections", "Open connections.")
        self.dropped = counter("wgan_dropped_requests", "Requests whose client disconnected.")
        self.models = gauge(
            "wgan_model_info",
            "A served model and the execution provider that runs it.",
            ["model", "version", "sha256", "provider"],
        )

    def add_model(self, model: str, waiting: Callable[[], int]) -> None:
        """Export a model's metrics from the start, as zeros; `waiting` counts queued images."""
        for metric in (self.images, self.batch_images, self.inference_seconds, self.queue_seconds):
            metric.labels(model)
        self.queue_images.labels(model).set_function(waiting)

    def observe_run(self, model: str, images: int, waited: Sequence[float], seconds: float) -> None:
        """Record one run: its images, the times of its requests in the queue, its duration."""
        self.images.labels(model).inc(images)
        self.batch_images.labels(model).observe(images)
        self.inference_seconds.labels(model).observe(seconds)
        for time in waited:
            self.queue_seconds.labels(model).observe(time)

    def render(self) -> bytes:
        """Write all metrics in Prometheus' text format."""
        return generate_latest(self.registry)
