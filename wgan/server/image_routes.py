"""Images for people and web pages, under `/v1`: by seeds, latents, or interpolation."""

import asyncio
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from msgspec import UNSET
from starlette.requests import Request
from starlette.responses import Response

from wgan import __version__
from wgan.image_shape import PIXEL_CHANNELS
from wgan.latents import format_seeds, latents_from_seeds, parse_seeds
from wgan.model_file import PIXELS
from wgan.runtime.labels import GivenLabels, Labelling, make_labelling, parse_labels
from wgan.runtime.latent_sources import (
    LatentSource,
    MovedLatents,
    RowLatents,
    SeedLatents,
    slerp,
)
from wgan.server.batcher import Scheduler, check_count
from wgan.server.bodies import (
    MEDIA_TYPES,
    NPY,
    PNG,
    ZIP,
    ChunkedResponse,
    encode_images,
    has_tag,
    json_response,
    negotiate,
    parse_json,
    parse_query,
    parse_values,
    read_body,
)
from wgan.server.config import ServeConfig
from wgan.server.messages import (
    GridQuery,
    ImageQuery,
    InterpolationQuery,
    Limits,
    ModelInfo,
    ModelList,
    Query,
    SampleRequest,
    SeedPath,
    bad_request,
    usage_errors,
)
from wgan.server.model_repository import Model, ModelRepository
from wgan.server.openapi import Endpoint

Q = TypeVar("Q", bound=Query)

FLOAT32_MAX = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class ImageRequest:
    """Requested images."""

    source: LatentSource
    names: tuple[str, ...]  # of the images' files in an archive, without .png
    cache_key: str  # with the model, determines the images


@dataclass(frozen=True)
class ImageRoutes:
    """Handlers of the image addresses."""

    repository: ModelRepository
    scheduler: Scheduler
    config: ServeConfig

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
        models = [model.info for model in self.repository.models]
        return json_response(ModelList(models, Limits(self.config.max_images), __version__))

    async def model(self, request: Request) -> Response:
        """One model, with its manifest."""
        model, _ = self._find(request, Query)
        return json_response(model.info)

    async def image(self, request: Request) -> Response:
        """The image of a seed, as a PNG."""
        model, query = self._find(request, ImageQuery)
        # Leading zeros are allowed: names of files in an archive have them.
        path = {"seed": request.path_params["seed"].lstrip("0") or "0"}
        seed = parse_values(path, SeedPath, "the address", strict=False).seed
        images = from_seeds([seed], model, query.truncation, query.label or None)
        return await self._png(request, model, moved(images, query.strengths, model))

    async def grid(self, request: Request) -> Response:
        """The images of several seeds, as a grid in one PNG."""
        model, query = self._find(request, GridQuery)
        seeds = parse_ranges(query.seeds, self.config.max_images)
        labels = grid_labels(query)
        images = from_seeds(seeds, model, query.truncation, labels)
        return await self._png(request, model, moved(images, query.strengths, model))

    async def between(self, request: Request) -> Response:
        """An image between those of two seeds, as a PNG."""
        model, query = self._find(request, InterpolationQuery)
        images = interpolation(
            query.first, query.second, [query.at], model, query.truncation, query.label or None
        )
        return await self._png(request, model, moved(images, query.strengths, model))

    async def sample(self, request: Request) -> Response:
        """Images as a PNG grid, an array uint8 [n, h, w, c] or an archive, by the Accept header."""
        self._find(request, Query)  # refuses an unknown model before the body is read
        media_type = negotiate(request.headers.get("accept", "*/*"))
        body = await read_body(request, self.config.max_body)
        model, _ = self._find(request, Query)  # again: it may have been replaced meanwhile
        request_body = parse_json(body, SampleRequest)
        images = parse_image_request(request_body, model, self.config.max_images)
        images = moved(images, request_body.strengths, model)
        content = await self._generate(request, model, images, media_type)
        return ChunkedResponse([content], {"content-type": media_type, "vary": "accept"})

    async def _png(self, request: Request, model: Model, images: ImageRequest) -> Response:
        """Respond with a PNG, or with 304 if the client has it."""
        check_count(len(images.source), self.config.max_images)
        # A strong tag: equal while model, provider, request and PNG encoder are the same.
        used = f"{self.config.compute} {self.config.foreign.to_json()}"
        key = f"{model.info.sha256} {model.info.provider} {used} {__version__} {images.cache_key}"
        etag = f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
        # no-cache: the client keeps it but revalidates, since the model may be replaced.
        headers = {"etag": etag, "cache-control": "no-cache"}
        if has_tag(request, etag):
            return Response(status_code=304, headers=headers)
        content = await self._generate(request, model, images, PNG)
        return ChunkedResponse([content], {**headers, "content-type": PNG})

    async def _generate(
        self, request: Request, model: Model, images: ImageRequest, media_type: str
    ) -> bytes:
        channels = model.generator.image_shape[2]
        if media_type != NPY and channels not in PIXEL_CHANNELS:
            raise bad_request(
                f"the images of {model.info.name} have {channels} channels, and a PNG cannot hold"
                f" them: POST to /v1/models/{model.info.name}/sample with Accept: {NPY}"
            )
        if media_type == ZIP and len(set(images.names)) < len(images.names):
            raise bad_request(f"an archive cannot hold {_repeated(images.names)}.png twice")
        outputs = await self.scheduler.generate(
            request.scope, model.batcher, images.source, [PIXELS], overload_status=429
        )
        return await asyncio.to_thread(encode_images, outputs[PIXELS], media_type, images.names)

    def _find(self, request: Request, query: type[Q]) -> tuple[Model, Q]:
        """Find the model of the address and parse the URL's parameters."""
        model = self.repository.find(request.path_params["model"])
        return model, parse_query(request, query)


def _repeated(names: Sequence[str]) -> str:
    return next(name for name, count in Counter(names).items() if count > 1)


def from_seeds(
    seeds: Sequence[int], model: Model, truncation: float, labels: GivenLabels | None = None
) -> ImageRequest:
    """Request the images of seeds. Raises RequestError for labels that the model does not have."""
    labelling = labelling_of(model, labels, len(seeds))
    source = SeedLatents(truncation, seeds, model.generator.latent_dim, labelling=labelling)
    key = f"seeds {format_seeds(seeds)} truncation {truncation!r}"
    return ImageRequest(
        source, tuple(map(source.name, range(len(seeds)))), key + _labels_key(labelling)
    )


def interpolation(
    first: int,
    second: int,
    positions: Sequence[float],
    model: Model,
    truncation: float,
    labels: GivenLabels | None = None,
) -> ImageRequest:
    """Request images on the great circle from one seed's latent (position 0) to another's (1).

    Without labels all have the label of the first seed. Raises RequestError as `from_seeds`.
    """
    classes = len(model.generator.classes)
    if labels is None and classes:
        labels = first % classes
    labelling = labelling_of(model, labels, len(positions))
    start, end = latents_from_seeds([first, second], model.generator.latent_dim)
    rows = np.stack([slerp(start, end, position) for position in positions])
    source = RowLatents(truncation, rows, labelling=labelling)
    names = [f"{first}-{second}-{number:03d}" for number in range(len(positions))]
    if labelling is not None and (given := source.labels(range(len(names)))) is not None:
        names = [f"{name}-{labelling.file_name(x)}" for name, x in zip(names, given, strict=True)]
    key = f"between {first} {second} at {positions!r} truncation {truncation!r}"
    return ImageRequest(source, tuple(names), key + _labels_key(labelling))


def labelling_of(model: Model, labels: GivenLabels | None, count: int) -> Labelling | None:
    """Return the labels of `count` images. Raises RequestError if the model does not have them."""
    with usage_errors():
        return make_labelling(model.generator.classes, labels, count)


def grid_labels(query: GridQuery) -> GivenLabels | None:
    """Return the label or labels of a URL. Raises RequestError if it has both."""
    if query.label and query.labels:
        raise bad_request("label and labels exclude each other: give one of them")
    with usage_errors():
        return parse_labels(query.labels) if query.labels else query.label or None


def _labels_key(labelling: Labelling | None) -> str:
    """Part of a cache key; labels that the seeds have follow from the seeds."""
    if labelling is None or not labelling.given:
        return ""
    return f" labels {','.join(map(str, labelling.given))}"


def moved(images: ImageRequest, strengths: str | Sequence[float], model: Model) -> ImageRequest:
    """Move images along the model's directions. Raises RequestError."""
    if isinstance(strengths, str):
        numbers = {"strengths": strengths.split(",") if strengths else []}
        strengths = parse_values(numbers, SampleRequest, "the query", strict=False).strengths
    if len(strengths) > len(model.directions):
        raise bad_request(
            f"strengths holds {len(strengths)} numbers, and this model has"
            f" {len(model.directions)} directions"
        )
    if not any(strengths):
        return images
    shift = np.array([strengths], np.float32) @ model.directions[: len(strengths)]
    key = f"{images.cache_key} moved {hashlib.sha256(shift.tobytes()).hexdigest()}"
    return ImageRequest(MovedLatents(1.0, images.source, shift), images.names, key)


def parse_ranges(text: str, limit: int) -> Sequence[int]:
    """Read seeds and ranges, at most `limit` seeds. Raises RequestError."""
    with usage_errors():
        return parse_seeds(text, limit)


def parse_image_request(request: SampleRequest, model: Model, limit: int) -> ImageRequest:
    """Return the images of a `sample` request, at most `limit`. Raises RequestError."""
    given = [name for name in ("seeds", "latents", "first") if getattr(request, name) is not UNSET]
    if len(given) != 1 or (request.first is UNSET) != (request.second is UNSET):
        raise bad_request("give one of: seeds; latents; first and second, with steps")
    if request.label is not UNSET and request.labels is not UNSET:
        raise bad_request("label and labels exclude each other: give one of them")
    latent_dim = model.generator.latent_dim
    given_labels = request.label if request.labels is UNSET else request.labels
    labels: GivenLabels | None = None if given_labels is UNSET else given_labels
    if request.latents is not UNSET:
        check_count(len(request.latents), limit)
        for row, numbers in enumerate(request.latents):
            if len(numbers) != latent_dim:
                raise bad_request(
                    f"latents[{row}] has {len(numbers)} numbers: this model needs {latent_dim}"
                )
            # Before the conversion: NumPy would make an infinity of a larger number.
            if max(map(abs, numbers)) > FLOAT32_MAX:
                raise bad_request(f"latents[{row}] holds a number beyond the range of float32")
        rows = np.array(request.latents, np.float32)
        labelling = labelling_of(model, labels, len(rows))
        source = RowLatents(request.truncation, rows, labelling=labelling)
        return ImageRequest(source, tuple(map(source.name, range(len(rows)))), "latents")
    if request.seeds is not UNSET:
        text = request.seeds
        seeds = parse_ranges(text, limit) if isinstance(text, str) else text
        check_count(len(seeds), limit)
        return from_seeds(seeds, model, request.truncation, labels)
    assert request.first is not UNSET
    assert request.second is not UNSET
    check_count(request.steps, limit)
    positions = [step / (request.steps - 1) for step in range(request.steps)]
    return interpolation(
        request.first, request.second, positions, model, request.truncation, labels
    )
