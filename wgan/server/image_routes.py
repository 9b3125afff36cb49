"""Addresses for people and web pages, under `/v1`."""

import asyncio
import dataclasses
import hashlib
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from wgan import __version__
from wgan.server.body import parse_json, parse_query, parse_values, read_body
from wgan.server.config import ServeConfig
from wgan.server.image_request import (
    ImageRequest,
    from_seeds,
    interpolation,
    parse_image_request,
    parse_ranges,
)
from wgan.server.messages import (
    GridQuery,
    ImageQuery,
    InterpolationQuery,
    Limits,
    ModelInfo,
    ModelList,
    Query,
    SampleRequest,
    Seed,
)
from wgan.server.model_repository import Model, ModelRepository
from wgan.server.openapi import Endpoint
from wgan.server.responses import (
    MEDIA_TYPES,
    PNG,
    ChunkedResponse,
    encode_images,
    json_response,
    negotiate,
)
from wgan.server.scheduler import Scheduler, check_count

Q = TypeVar("Q", bound=Query)


class SeedPath(msgspec.Struct):
    """The seed in an image's address."""

    seed: Seed


class ImageRoutes:
    """Handlers of the image addresses."""

    def __init__(
        self, repository: ModelRepository, scheduler: Scheduler, config: ServeConfig
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._config = config

    def endpoints(self) -> list[Endpoint]:
        """All addresses."""
        base = "/v1/models/{model}"
        png = {200: (PNG,), 304: None}
        return [
            Endpoint("/v1/models", self.models, "images", {200: ModelList}),
            Endpoint(base, self.model, "images", {200: ModelInfo}, query=Query),
            Endpoint(
                f"{base}/images/{{seed}}.png", self.image, "images", png, (429,), query=ImageQuery
            ),
            Endpoint(f"{base}/grid.png", self.grid, "images", png, (429,), query=GridQuery),
            Endpoint(
                f"{base}/between.png", self.between, "images", png, (429,),
                query=InterpolationQuery,
            ),
            Endpoint(
                f"{base}/sample", self.sample, "images", {200: MEDIA_TYPES}, (406, 429),
                query=Query, body=SampleRequest, example={"seeds": "0-15", "truncation": 0.8},
            ),
        ]  # fmt: skip

    async def models(self, request: Request) -> Response:
        """All models that are ready, and the server's limits."""
        models = [describe(model) for model in self._repository.models]
        return json_response(ModelList(models, Limits(self._config.max_images), __version__))

    async def model(self, request: Request) -> Response:
        """One model, with its manifest."""
        model, _ = self._find(request, Query)
        return json_response(describe(model))

    async def image(self, request: Request) -> Response:
        """The image of a seed, as a PNG."""
        model, query = self._find(request, ImageQuery)
        # Leading zeros are allowed: names of files in an archive have them.
        path = {"seed": request.path_params["seed"].lstrip("0") or "0"}
        seed = parse_values(path, SeedPath, "the address", strict=False).seed
        images = from_seeds([seed], model.generator.latent_dim, query.truncation)
        return await self._png(request, model, images)

    async def grid(self, request: Request) -> Response:
        """The images of several seeds, as a grid in one PNG."""
        model, query = self._find(request, GridQuery)
        seeds = parse_ranges(query.seeds, self._config.max_images)
        images = from_seeds(seeds, model.generator.latent_dim, query.truncation)
        return await self._png(request, model, images)

    async def between(self, request: Request) -> Response:
        """An image between those of two seeds, as a PNG."""
        model, query = self._find(request, InterpolationQuery)
        images = interpolation(
            query.first, query.second, [query.at], model.generator.latent_dim, query.truncation
        )
        return await self._png(request, model, images)

    async def sample(self, request: Request) -> Response:
        """Images as a PNG grid, an array uint8 [n, h, w, c] or an archive, by the Accept header."""
        self._find(request, Query)  # refuses an unknown model before the body is read
        media_type = negotiate(request.headers.get("accept", "*/*"))
        body = await read_body(request, self._config.max_body)
        model, _ = self._find(request, Query)  # again: it may have been replaced meanwhile
        images = parse_image_request(
            parse_json(body, SampleRequest), model.generator.latent_dim, self._config.max_images
        )
        content = await self._generate(request, model, images, media_type)
        return ChunkedResponse([content], {"content-type": media_type, "vary": "accept"})

    async def _png(self, request: Request, model: Model, images: ImageRequest) -> Response:
        """Respond with a PNG, or with 304 if the client has it."""
        check_count(len(images.latents), self._config.max_images)
        etag = _etag(model, images)
        # no-cache: the client keeps it but revalidates, since the model may be replaced.
        headers = {"etag": etag, "cache-control": "no-cache"}
        if _matches(request.headers.get("if-none-match", ""), etag):
            return Response(status_code=304, headers=headers)
        content = await self._generate(request, model, images, PNG)
        return ChunkedResponse([content], {**headers, "content-type": PNG})

    async def _generate(
        self, request: Request, model: Model, images: ImageRequest, media_type: str
    ) -> bytes:
        outputs = await self._scheduler.generate(
            request, model, images.latents, pixels=True, overload_status=429
        )
        assert outputs.pixels is not None
        return await asyncio.to_thread(encode_images, outputs.pixels, media_type, images.names)

    def _find(self, request: Request, query: type[Q]) -> tuple[Model, Q]:
        """Find the model of the address and parse the URL's parameters."""
        model = self._repository.find(request.path_params["model"])
        return model, parse_query(request, query)


def describe(model: Model) -> ModelInfo:
    """Describe a model; its manifest without the golden images."""
    height, width, channels = model.generator.image_shape
    return ModelInfo(
        name=model.name,
        version=model.version,
        sha256=model.sha256,
        provider=model.generator.provider,
        latent_dim=model.generator.latent_dim,
        height=height,
        width=width,
        channels=channels,
        manifest=_manifest(model),
    )


def _manifest(model: Model) -> dict[str, Any] | None:
    if model.manifest is None:
        return None
    receipt = dataclasses.replace(model.manifest.receipt, goldens=())
    fields = dataclasses.asdict(dataclasses.replace(model.manifest, receipt=receipt))
    del fields["receipt"]["goldens"]
    return fields


def _etag(model: Model, images: ImageRequest) -> str:
    """A strong tag: equal while model, provider, request and PNG encoder are the same."""
    key = f"{model.sha256} {model.generator.provider} {__version__} {images.cache_key}"
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'


def _matches(header: str, etag: str) -> bool:
    """Whether an If-None-Match header has `etag`; GET compares weakly (RFC 9110, 13.1.2)."""
    tags = [tag.strip().removeprefix("W/") for tag in header.split(",")]
    return etag in tags or "*" in tags
