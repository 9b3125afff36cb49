"""From what a request wants to its images: admitted, waited for, dropped when nobody waits."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from wgan.errors import ModelFileError
from wgan.server.batcher import Outputs, QueuedRequest, QueueFull
from wgan.server.connection import CLIENT, Client
from wgan.server.latents import Wanted
from wgan.server.metrics import Metrics
from wgan.server.model_repository import Model
from wgan.server.request_error import RequestError, bad_request
from wgan.server.settings import Limits

HELD = "wgan.held_images"
"""Key of a request's scope: the images that it holds, from admission until they were sent."""


class Scheduler:
    """Draws for requests, within the server's limits. Used in the event loop's thread."""

    def __init__(self, limits: Limits, metrics: Metrics) -> None:
        self._limits = limits
        self._held = 0
        metrics.held_images.set_function(lambda: self._held)

    async def draw(
        self,
        request: Request,
        model: Model,
        wanted: Wanted,
        *,
        images: bool = False,
        pixels: bool = False,
        overload_status: int = 503,
    ) -> Outputs:
        """Draw `wanted`, its float images, its pixels, or both.

        Raises:
            RequestError: 400 for too many images, `overload_status` when too many wait.
            ClientDisconnect: the client went away; what it asked for is not drawn.
        """
        check_count(len(wanted), self._limits.max_images)
        if self._held + len(wanted) > self._limits.max_held:
            raise _overload(overload_status, "are being drawn and sent", self._held, 1)
        try:
            order = model.batcher.submit(wanted, images=images, pixels=pixels)
        except QueueFull as exc:
            waiting = model.batcher.waiting
            raise _overload(overload_status, "are waiting", waiting, exc.retry_after) from exc
        self._hold(request.scope, len(wanted))
        return await self._wait(request.scope[CLIENT], model, order)

    async def _wait(self, client: Client, model: Model, order: QueuedRequest) -> Outputs:
        try:
            async with asyncio.timeout(self._limits.answer_seconds):
                with client.on_leaving(order.done.cancel):
                    return await order.done
        except TimeoutError as exc:
            seconds = self._limits.answer_seconds
            raise RequestError(
                503, f"not drawn within {seconds:g} seconds", "timeout", {"Retry-After": "1"}
            ) from exc
        except ModelFileError as exc:
            # Latents that a client made can drive a sound model to infinity.
            raise bad_request(f"the model cannot draw this: {exc}") from exc
        except asyncio.CancelledError:
            if not client.left:
                raise  # the server is being stopped
            raise ClientDisconnect from None
        finally:
            model.batcher.drop(order)

    def _hold(self, scope: Scope, images: int) -> None:
        self._held += images
        scope[HELD] = scope.get(HELD, 0) + images

    def release(self, scope: Scope) -> None:
        """Let go of what a request held; it was answered, or its client is gone."""
        self._held -= scope.pop(HELD, 0)


def check_count(count: int, limit: int) -> None:
    """Raise RequestError unless `count` images may be asked for at once."""
    if count < 1:
        raise bad_request("no images are asked for: at least 1 is needed")
    if count > limit:
        raise bad_request(f"{count} images are asked for; at most {limit} at once are allowed")


def _overload(status: int, state: str, images: int, retry_after: int) -> RequestError:
    return RequestError(
        status,
        f"the server is overloaded: {images} images {state}; try again in {retry_after} s",
        "overload",
        {"Retry-After": str(retry_after)},
    )
