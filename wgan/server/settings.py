"""What a server is told when it starts; messages name a setting as the command line does."""

import math
from dataclasses import dataclass

from wgan.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a request may cost; past a limit it is refused, and nothing else is harmed.

    Raises:
        UsageError: a value is not allowed.
    """

    max_images: int = 256  # images of one request
    max_queue: int = 512  # images that wait to be drawn, for each model
    max_held: int = 2048  # images from admission until their bytes have left, for all models
    max_body: int = 8 * 2**20  # bytes of a body, as sent and as unpacked
    max_connections: int = 1000  # open at once
    header_seconds: float = 10.0  # from the first moment of a request to the end of its headers
    body_seconds: float = 30.0  # from there to the end of its body
    answer_seconds: float = 60.0  # from there to its images
    send_seconds: float = 30.0  # for a client to take the answer
    idle_seconds: float = 75.0  # a kept connection between two requests

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0 < value < math.inf:  # false for NaN as well
                raise UsageError(
                    f"{_option(name)} {value:g} is not allowed: it must be greater than 0, and"
                    " finite"
                )
        room = min(self.max_queue, self.max_held)
        if self.max_images > room:
            raise UsageError(
                f"--max-images {self.max_images} is not allowed: no more than {room} can ever wait"
            )


@dataclass(frozen=True, kw_only=True)
class Batching:
    """How waiting requests are joined.

    Raises:
        UsageError: a value is not allowed.
    """

    max_batch: int = 64  # images of one run
    max_wait: float = 0.004  # seconds that a request waits for others, where there are others

    def __post_init__(self) -> None:
        if self.max_batch < 1:
            raise UsageError(f"--max-batch {self.max_batch} is not allowed: at least 1 is needed")
        if not 0 <= self.max_wait <= 1:
            raise UsageError(
                f"--max-wait {self.max_wait * 1000:g} ms is not allowed: 0 to 1000 ms are"
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Where and for whom a server works.

    Raises:
        UsageError: a value is not allowed.
    """

    host: str = "127.0.0.1"
    port: int = 8000  # 0: any that is free
    device: str = "auto"
    threads: int | None = None  # CPU threads of a run; None: the usable cores
    limits: Limits = Limits()
    batching: Batching = Batching()
    keys: tuple[str, ...] = ()  # none: everyone may
    cors_origins: tuple[str, ...] = ()
    drain_seconds: int = 30  # for what is running, once it was told to stop
    json_logs: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.drain_seconds < math.inf:
            raise UsageError(
                f"--drain-seconds {self.drain_seconds:g} is not allowed: 0 or more seconds are"
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
