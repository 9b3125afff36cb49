"""What `/metrics` tells Prometheus."""

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from wgan.server.batcher import RunReport

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The numbers of one server, in a registry of their own."""

    def __init__(self) -> None:
        # Else each number has a second line, which says when it began.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = registry = CollectorRegistry()
        self.requests = Counter(
            "wgan_requests", "Requests answered.", ["route", "status"], registry=registry
        )
        self.rejections = Counter(
            "wgan_rejections", "Requests refused, by reason.", ["reason"], registry=registry
        )
        self.images = Counter("wgan_images", "Images drawn.", ["model"], registry=registry)
        self.batch_images = Histogram(
            "wgan_batch_images", "Images of a run.", ["model"], buckets=_BATCHES, registry=registry
        )
        self.inference_seconds = Histogram(
            "wgan_inference_seconds",
            "Time of a run.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_seconds = Histogram(
            "wgan_queue_seconds",
            "Time that a request waited for its first run.",
            ["model"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.queue_images = Gauge(
            "wgan_queue_images", "Images that wait.", ["model"], registry=registry
        )
        self.held_images = Gauge(
            "wgan_held_images", "Images admitted and not yet sent.", registry=registry
        )
        self.connections = Gauge("wgan_connections", "Open connections.", registry=registry)
        self.dropped = Counter(
            "wgan_dropped_requests", "Requests whose client went away.", registry=registry
        )
        self.models = Gauge(
            "wgan_model_info",
            "A model that is served; the provider is the one that really runs.",
            ["model", "version", "sha256", "provider"],
            registry=registry,
        )

    def begin(self, model: str) -> None:
        """Show a model's numbers from the start, as zeros."""
        for metric in (
            self.images,
            self.batch_images,
            self.inference_seconds,
            self.queue_seconds,
        ):
            metric.labels(model)

    def observe_run(self, model: str, run: RunReport) -> None:
        """Count one run."""
        self.images.labels(model).inc(run.images)
        self.batch_images.labels(model).observe(run.images)
        self.inference_seconds.labels(model).observe(run.seconds)
        for seconds in run.waited:
            self.queue_seconds.labels(model).observe(seconds)

    def render(self) -> bytes:
        """Write all in Prometheus' text format."""
        return generate_latest(self.registry)
