"""Configuration of a server; validation messages name a field as the command line does."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wgan.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """What `wgan serve` serves, to whom, and what a request may cost.

    A request over a limit is refused; other requests are not affected.

    Raises:
        UsageError: a value is not allowed.
    """

    files: tuple[str, ...] = ()
    """ONNX files, each as FILE or NAME=FILE; empty: the latest export, else the built-in model."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: int = 8000
    """TCP port; 0: any free port."""
    device: str = "auto"
    """Device that runs the models, as in `wgan sample`."""
    threads: int | None = None
    """CPU threads per run; None: the usable cores."""
    max_batch: int = 64
    """Largest number of images in one run."""
    max_wait: float = 4.0
    """Milliseconds that a request waits for others to share its run, if others are likely."""
    max_images: int = 256
    """Largest number of images of one request."""
    max_queue: int = 512
    """Largest number of queued images per model."""
    max_held: int = 2048
    """Largest number of images from admission until their bytes are sent, over all models."""
    max_body: int = 8 * 2**20
    """Largest request body in bytes, before and after decompression."""
    max_connections: int = 1000
    """Largest number of open connections."""
    header_seconds: float = 10.0
    """Time limit for a request's headers, from its first byte or from the connection."""
    body_seconds: float = 30.0
    """Time limit for a request's body, from the end of its headers."""
    answer_seconds: float = 60.0
    """Time limit for generating a request's images, queueing included."""
    send_seconds: float = 30.0
    """Time limit for a client to read a response."""
    idle_seconds: float = 75.0
    """Time limit of a kept-alive connection between two requests."""
    drain_seconds: int = 30
    """Time limit for running requests after a stop signal."""
    api_key_file: Path | None = None
    """File of API keys, one per line; None: requests need no key."""
    cors_origin: tuple[str, ...] = ()
    """Origins whose pages may call the server from a browser."""
    log_format: Literal["text", "json"] = "text"
    """Log format; json also logs one line per request, with its id."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            option = "--" + name.replace("_", "-")
            positive = name.startswith("max_") or name.endswith("_seconds")
            if not positive or name in ("max_wait", "drain_seconds"):
                continue
            if not 0 < value < math.inf:  # also false for NaN
                raise UsageError(
                    f"{option} {value:g} is not allowed: a finite value greater than 0 is needed"
                )
        if not 0 <= self.max_wait <= 1000:
            raise UsageError(f"--max-wait {self.max_wait:g} ms is not allowed: 0 to 1000 ms")
        if not 0 <= self.drain_seconds < math.inf:
            raise UsageError(f"--drain-seconds {self.drain_seconds:g} is not allowed: 0 or more")
        capacity = min(self.max_queue, self.max_held)
        if self.max_images > capacity:
            raise UsageError(
                f"--max-images {self.max_images} is not allowed: the queue holds at most"
                f" {capacity}; raise --max-queue or lower --max-images"
            )
