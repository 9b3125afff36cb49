"""The addresses for people and web pages, under `/v1`."""

import asyncio
import dataclasses
import hashlib
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wgan import __version__
from wgan.server import image_request
from wgan.server.body import parse_json, read_body
from wgan.server.config import ServeConfig
from wgan.server.image_request import ImageRequest
from wgan.server.latents import read_truncation
from wgan.server.media_types import PNG, choose_kind, pack
from wgan.server.model_repository import Model, ModelRepository
from wgan.server.request_error import bad_request
from wgan.server.responses import ChunkedResponse, json_answer
from wgan.server.scheduler import Scheduler, check_count


class ImageRoutes:
    """The handlers and what they share."""

    def __init__(
        self, repository: ModelRepository, scheduler: Scheduler, config: ServeConfig
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._config = config

    def routes(self) -> list[Route]:
        """All addresses."""
        base = "/v1/models/{model}"
        return [
            Route("/v1/models", self.models),
            Route(base, self.model),
            Route(f"{base}/images/{{seed}}.png", self.image),
            Route(f"{base}/grid.png", self.grid),
            Route(f"{base}/between.png", self.between),
            Route(f"{base}/sample", self.sample, methods=["POST"]),
        ]

    async def models(self, request: Request) -> Response:
        """All models that are ready, and what the server allows."""
        return json_answer(
            {
                "models": [describe(model) for model in self._repository.models],
                "limits": {"max_images": self._config.max_images},
                "version": __version__,
            }
        )

    async def model(self, request: Request) -> Response:
        """One model, with its manifest."""
        return json_answer(describe(self._find(request)))

    async def image(self, request: Request) -> Response:
        """The image of one seed."""
        model = self._find(request, "truncation")
        seed = image_request.read_seed(request.path_params["seed"])
        wish = image_request.image_request_of_seeds(
            [seed], model.generator.latent_dim, _truncation(request)
        )
        return await self._answer_png(request, model, wish)

    async def grid(self, request: Request) -> Response:
        """The images of several seeds in one."""
        model = self._find(request, "seeds", "truncation")
        text = request.query_params.get("seeds", "0-63")
        seeds = image_request.read_seeds(text, self._config.max_images)
        wish = image_request.image_request_of_seeds(
            seeds, model.generator.latent_dim, _truncation(request)
        )
        return await self._answer_png(request, model, wish)

    async def between(self, request: Request) -> Response:
        """An image on the way from one seed's to another's."""
        model = self._find(request, "first", "second", "at", "truncation")
        query = request.query_params
        first, second = (image_request.read_seed(query.get(key, "")) for key in ("first", "second"))
        at = image_request.read_number(query, "at", 0.5)
        if not 0 <= at <= 1:
            raise bad_request(f"at {at:g} is not allowed: 0 to 1")
        latent_dim = model.generator.latent_dim
        wish = image_request.interpolation_request(
            first, second, [at], latent_dim, _truncation(request)
        )
        return await self._answer_png(request, model, wish)

    async def sample(self, request: Request) -> Response:
        """What a JSON body asks for, as the kind that the client accepts."""
        self._find(request)  # an unknown model is refused before the body is read
        kind = choose_kind(request.headers.get("accept", "*/*"))
        content = parse_json(await read_body(request, self._config.max_body))
        model = self._find(request)  # it may have been replaced meanwhile
        wish = image_request.parse_image_request(
            content, model.generator.latent_dim, self._config.max_images
        )
        body = await self._draw(request, model, wish, kind)
        return ChunkedResponse([body], {"content-type": kind, "vary": "accept"})

    async def _answer_png(self, request: Request, model: Model, wish: ImageRequest) -> Response:
        """Answer with a PNG, or with 304 when the client has it."""
        check_count(len(wish.wanted), self._config.max_images)
        etag = _etag(model, wish)
        # Kept by the client, but asked for again each time: the model may have been replaced.
        headers = {"etag": etag, "cache-control": "no-cache"}
        if _has(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        body = await self._draw(request, model, wish, PNG)
        return ChunkedResponse([body], {**headers, "content-type": PNG})

    async def _draw(self, request: Request, model: Model, wish: ImageRequest, kind: str) -> bytes:
        drawn = await self._scheduler.generate(
            request, model, wish.wanted, pixels=True, overload_status=429
        )
        assert drawn.pixels is not None
        return await asyncio.to_thread(pack, drawn.pixels, kind, wish.names)

    def _find(self, request: Request, *parameters: str) -> Model:
        """The model of the address, once its query names nothing but `parameters`."""
        model = self._repository.find(request.path_params["model"])
        image_request.check_query(request.query_params, *parameters)
        return model


def describe(model: Model) -> dict[str, Any]:
    """What `/v1/models` says of a model; its manifest without the golden images."""
    height, width, channels = model.generator.image_shape
    return {
        "name": model.name,
        "version": model.version,
        "sha256": model.sha256,
        "provider": model.generator.provider,
        "latent_dim": model.generator.latent_dim,
        "height": height,
        "width": width,
        "channels": channels,
        "manifest": _manifest(model),
    }


def _manifest(model: Model) -> dict[str, Any] | None:
    if model.manifest is None:
        return None
    receipt = dataclasses.replace(model.manifest.receipt, goldens=())
    fields = dataclasses.asdict(dataclasses.replace(model.manifest, receipt=receipt))
    del fields["receipt"]["goldens"]
    return fields


def _truncation(request: Request) -> float:
    number = image_request.read_number(request.query_params, "truncation", 1.0)
    return read_truncation(number)


def _etag(model: Model, wish: ImageRequest) -> str:
    """A strong tag: equal bytes for as long as the model, the settings and our encoder are."""
    told = f"{model.sha256} {model.generator.provider} {__version__} {wish.text}"
    return f'"{hashlib.sha256(told.encode()).hexdigest()[:32]}"'


def _has(header: str, etag: str) -> bool:
    """Whether an If-None-Match header names `etag`; a weak tag will do for a GET."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or "*" in tags
