"""What each call of `inference.GRPCInferenceService` and `grpc.health.v1.Health` answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from starlette.types import Scope

from wgan import __version__
from wgan.server.batcher import Scheduler
from wgan.server.grpc.protocol import HEALTH, INFERENCE, message
from wgan.server.grpc.tensors import infer_response, parse_infer
from wgan.server.inference import describe
from wgan.server.messages import not_found
from wgan.server.model_repository import ModelRepository
from wgan.text import shorten

Answer = Callable[[Any, Scope], Awaitable[Any]]
"""Answers a request message. The scope is that of `Scheduler.generate`."""

_Live = message("inference.ServerLiveResponse")
_Ready = message("inference.ServerReadyResponse")
_ModelReady = message("inference.ModelReadyResponse")
_ServerMetadata = message("inference.ServerMetadataResponse")
_ModelMetadata = message("inference.ModelMetadataResponse")
_HealthCheck = message("grpc.health.v1.HealthCheckResponse")


@dataclass(frozen=True)
class Method:
    """A method of a service; a public one needs no API key."""

    service: str
    name: str
    answer: Answer
    public: bool = False

    @property
    def path(self) -> str:
        """The method's name in metrics and logs, as in HTTP/2."""
        return f"/{self.service}/{self.name}"


@dataclass(frozen=True)
class InferenceService:
    """Answers all calls. Raises RequestError, as the HTTP routes do."""

    repository: ModelRepository
    scheduler: Scheduler

    def methods(self) -> list[Method]:
        """Return all methods of both services."""
        return [
            Method(INFERENCE, "ModelInfer", self.infer),
            Method(INFERENCE, "ModelReady", self.model_ready),
            Method(INFERENCE, "ModelMetadata", self.model),
            Method(INFERENCE, "ServerMetadata", self.server),
            Method(INFERENCE, "ServerLive", self.live, public=True),
            Method(INFERENCE, "ServerReady", self.ready, public=True),
            Method(HEALTH, "Check", self.check, public=True),
        ]

    async def live(self, request: Any, scope: Scope) -> Any:
        """Whether the server responds."""
        return _Live(live=True)

    async def ready(self, request: Any, scope: Scope) -> Any:
        """Whether every model is ready."""
        return _Ready(ready=self.repository.ready)

    async def check(self, request: Any, scope: Scope) -> Any:
        """Whether the server, or this service, is ready: for probes of Kubernetes."""
        if request.service not in ("", INFERENCE):
            raise not_found(f"there is no service {shorten(request.service)}: see {INFERENCE}")
        return _HealthCheck(status="SERVING" if self.repository.ready else "NOT_SERVING")

    async def server(self, request: Any, scope: Scope) -> Any:
        """Name and version of the server."""
        return _ServerMetadata(name="wgan", version=__version__)

    async def model_ready(self, request: Any, scope: Scope) -> Any:
        """Whether a model is ready."""
        return _ModelReady(ready=self.repository.is_ready(request.name, request.version or None))

    async def model(self, request: Any, scope: Scope) -> Any:
        """Inputs and outputs of a model."""
        model = self.repository.find(request.name, request.version or None)
        return _ModelMetadata(**msgspec.to_builtins(describe(model)))

    async def infer(self, request: Any, scope: Scope) -> Any:
        """Generate images from seeds or from latents, and from labels for a model with classes."""
        model = self.repository.find(request.model_name, request.model_version or None)
        source, names, raw = parse_infer(request, model)
        outputs = await self.scheduler.generate(scope, model.batcher, source, names)
        return infer_response(model, request.id, {name: outputs[name] for name in names}, raw)
