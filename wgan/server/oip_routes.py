"""The Open Inference Protocol's addresses, under `/v2`."""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from wgan import __version__
from wgan.server import oip
from wgan.server.body import read_body
from wgan.server.config import ServeConfig
from wgan.server.model_repository import ModelRepository
from wgan.server.responses import compressed, json_answer
from wgan.server.scheduler import Scheduler

EXTENSIONS = ["binary_tensor_data"]


class OipRoutes:
    """The handlers and what they share."""

    def __init__(
        self, repository: ModelRepository, scheduler: Scheduler, config: ServeConfig
    ) -> None:
        self._repository = repository
        self._scheduler = scheduler
        self._config = config

    def routes(self) -> list[Route]:
        """All addresses; one with a version means the same as the one without."""
        bases = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
        return [
            # Routes are tried in turn, so the busiest stands first.
            *(Route(f"{base}/infer", self.infer, methods=["POST"]) for base in bases),
            *(Route(f"{base}/ready", self.model_ready) for base in bases),
            *(Route(base, self.model) for base in bases),
            Route("/v2", self.server),
            Route("/v2/health/live", self.live),
            Route("/v2/health/ready", self.ready),
        ]

    async def server(self, request: Request) -> Response:
        """Name, version and extensions of the server."""
        return json_answer({"name": "wgan", "version": __version__, "extensions": EXTENSIONS})

    async def live(self, request: Request) -> Response:
        """Whether the server answers. One client reads `live` here, another `ready`."""
        return json_answer({"live": True, "ready": self._repository.ready})

    async def ready(self, request: Request) -> Response:
        """Whether every model can draw."""
        ready = self._repository.ready
        return json_answer({"live": True, "ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """A model's inputs and outputs."""
        return json_answer(oip.metadata(self._repository.find(*_named(request))))

    async def model_ready(self, request: Request) -> Response:
        """Whether a model can draw."""
        name, version = _named(request)
        ready = self._repository.is_ready(name, version)
        return json_answer({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Draw."""
        self._repository.find(*_named(request))  # an unknown one is refused before the body is read
        body = await read_body(request, self._config.max_body)
        model = self._repository.find(*_named(request))  # it may have been replaced meanwhile
        wanted = oip.read_request(body, request.headers.get(oip.HEADER_LENGTH), model)
        drawn = await self._scheduler.generate(
            request,
            model,
            wanted.wanted,
            images=wanted.asks_for(oip.IMAGES),
            pixels=wanted.asks_for(oip.PIXELS),
        )
        arrays = {oip.IMAGES: drawn.images, oip.PIXELS: drawn.pixels}
        chosen = {name: array for name, array in arrays.items() if array is not None}
        pieces, header_length = await oip.write_response(wanted, chosen, model)
        headers = {"content-type": "application/json"}
        if header_length is not None:
            headers = {
                "content-type": "application/octet-stream",
                oip.HEADER_LENGTH: str(header_length),
            }
        return await compressed(request, pieces, headers)


def _named(request: Request) -> tuple[str, str | None]:
    return request.path_params["model"], request.path_params.get("version")
