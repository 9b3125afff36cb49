"""Configuration of a server; validation messages name a field as the command line does."""

from dataclasses import dataclass
from pathlib import Path

from wgan.errors import UsageError
from wgan.model_file.foreign import ForeignOptions
from wgan.options import advanced, option
from wgan.runtime.config import COMPUTE, THREADS
from wgan.runtime.engine import DEVICE_NAMES

_IMAGES = {"low": 1, "high": 2**20, "unit": "images"}
_SECONDS = {"above": 0, "high": 1e6, "unit": "seconds"}


@dataclass(frozen=True, kw_only=True)
class ServeConfig(ForeignOptions):
    """What `wgan serve` serves, to whom, and what a request may cost.

    A request over a limit is refused; other requests are not affected.

    Raises:
        UsageError: a value is not allowed.
    """

    files: tuple[str, ...] = option(
        (), "ONNX files, each as FILE or NAME=FILE.", argument=True, metavar="[[NAME=]FILE]..."
    )
    directions: tuple[str, ...] = option(
        (),
        "Directions in a model's latent space: see wgan directions; can be repeated.",
        metavar="[NAME=]FILE.npy",
    )
    host: str = option("127.0.0.1", "Address to listen on.", metavar="ADDRESS")
    port: int = option(8000, "TCP port; 0 for any free port.", low=0, high=65535, metavar="PORT")
    grpc_port: int | None = option(
        None, "TCP port for gRPC; 0 for any free port, without it no gRPC.",
        low=0, high=65535, metavar="PORT",
    )  # fmt: skip
    root_path: str = advanced(
        "",
        "Prefix that a proxy keeps in front of all addresses, such as /wgan.",
        pattern=r"(/[A-Za-z0-9._~@-]+)*/?",
        form="a path, as in /wgan or /proxy/8000",
        metavar="PATH",
    )
    device: str = option("auto", "What runs the models.", choices=DEVICE_NAMES)
    compute: str = advanced("fp32", **COMPUTE)
    threads: int | None = advanced(None, "CPU threads per run.", **THREADS)
    max_batch: int = advanced(64, "Largest number of images in one run.", **_IMAGES)
    max_wait: float = advanced(
        4.0, "Time that a request waits for others to share its run.", low=0, high=1000, unit="ms"
    )
    api_key_file: Path | None = option(
        None, "File of API keys, one per line; without it requests need no key.", metavar="FILE"
    )
    cors_origin: tuple[str, ...] = advanced(
        (), "Origin whose pages may call the server; can be repeated.", metavar="ORIGIN"
    )
    log_format: str = option(
        "text", "Format of the log; json has a line per request.", choices=("text", "json")
    )
    max_images: int = advanced(
        256, "Largest number of images per request.", **_IMAGES, group="Limits"
    )
    max_queue: int = advanced(512, "Largest number of queued images per model.", **_IMAGES)
    max_held: int = advanced(
        2048, "Largest number of images in memory until they are sent, over all models.",
        **_IMAGES,
    )  # fmt: skip
    max_body: int = advanced(
        8 * 2**20,
        "Largest request body, before and after decompression.",
        low=1,
        high=2**40,
        unit="bytes",
    )
    max_connections: int = advanced(
        1000, "Largest number of open connections.", low=1, high=10**6, metavar="N"
    )
    header_seconds: float = advanced(10.0, "Time limit for a request's headers.", **_SECONDS)
    body_seconds: float = advanced(30.0, "Time limit for a request's body.", **_SECONDS)
    answer_seconds: float = advanced(
        60.0, "Time limit for generating images, with the time in the queue.", **_SECONDS
    )
    send_seconds: float = advanced(
        30.0, "Time limit for a client to read its response.", **_SECONDS
    )
    idle_seconds: float = advanced(
        75.0, "Time limit of a connection between two requests.", **_SECONDS
    )
    load_seconds: float = advanced(
        300.0, "Time limit for opening a model and its first images.", **_SECONDS
    )
    drain_seconds: int = advanced(
        30,
        "Time limit for running requests after a stop signal.",
        low=0,
        high=10**6,
        unit="seconds",
    )

    def __post_init__(self) -> None:
        """Check each option. Raises UsageError."""
        super().__post_init__()
        object.__setattr__(self, "root_path", self.root_path.rstrip("/"))
        capacity = min(self.max_queue, self.max_held)
        if self.max_images > capacity:
            raise UsageError(
                f"--max-images {self.max_images} is not allowed: the queue holds at most"
                f" {capacity}; raise --max-queue or lower --max-images"
            )
