"""From a validated request to its images: admit, queue, wait, drop if the client disconnects."""

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from wgan.errors import ModelFileError
from wgan.server.batcher import LazyLatents, Outputs, QueuedRequest, QueueFull
from wgan.server.config import ServeConfig
from wgan.server.connection import CLIENT, Client
from wgan.server.messages import RequestError, bad_request
from wgan.server.metrics import Metrics
from wgan.server.model_repository import Model

HELD = "wgan.held_images"
"""Key of a request's scope: the number of images it holds, from admission until they are sent."""


class Scheduler:
    """Generates the images of requests within the server's limits, in the event loop's thread."""

    def __init__(self, config: ServeConfig, metrics: Metrics) -> None:
        self._config = config
        self._held = 0
        metrics.held_images.set_function(lambda: self._held)

    async def generate(
        self,
        request: Request,
        model: Model,
        latents: LazyLatents,
        *,
        images: bool = False,
        pixels: bool = False,
        overload_status: int = 503,
    ) -> Outputs:
        """Generate float images, pixels, or both, of the latents of a request.

        Raises:
            RequestError: 400 for too many images, `overload_status` if too many are queued.
            ClientDisconnect: the client disconnected; its request leaves the queue.
        """
        check_count(len(latents), self._config.max_images)
        if self._held + len(latents) > self._config.max_held:
            raise _overload(overload_status, "being generated and sent", self._held, 1)
        try:
            queued = model.batcher.submit(latents, images=images, pixels=pixels)
        except QueueFull as exc:
            waiting = model.batcher.waiting
            raise _overload(overload_status, "queued", waiting, exc.retry_after) from exc
        self._held += len(latents)
        request.scope[HELD] = request.scope.get(HELD, 0) + len(latents)
        return await self._wait(request.scope[CLIENT], model, queued)

    async def _wait(self, client: Client, model: Model, queued: QueuedRequest) -> Outputs:
        try:
            async with asyncio.timeout(self._config.answer_seconds):
                with client.on_disconnect(queued.done.cancel):
                    return await queued.done
        except TimeoutError as exc:
            seconds = self._config.answer_seconds
            raise RequestError(
                503, f"not generated within {seconds:g} seconds", "timeout", {"Retry-After": "1"}
            ) from exc
        except ModelFileError as exc:
            # A client's own latents can drive a sound model to infinity.
            raise bad_request(f"the model fails on this input: {exc}") from exc
        except asyncio.CancelledError:
            if not client.disconnected:
                raise  # the server is stopping
            raise ClientDisconnect from None
        finally:
            model.batcher.drop(queued)

    def release(self, scope: Scope) -> None:
        """Release the images that a request held: it was answered, or its client disconnected."""
        self._held -= scope.pop(HELD, 0)


def check_count(count: int, limit: int) -> None:
    """Raise RequestError unless 1 <= count <= limit."""
    if count < 1:
        raise bad_request("the request is for 0 images: at least 1 is needed")
    if count > limit:
        raise bad_request(f"the request is for {count} images: at most {limit} are allowed")


def _overload(status: int, state: str, images: int, retry_after: int) -> RequestError:
    return RequestError(
        status,
        f"the server is overloaded: {images} images are {state}; try again in {retry_after} s",
        "overload",
        {"Retry-After": str(retry_after)},
    )
