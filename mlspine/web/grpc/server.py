"""The v2 gRPC service of an inference process, in the same event loop as HTTP and by way of the same queue."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import grpc.aio

from mlspine import __version__
from mlspine.core.errors import Conflict, Invalid, MlspineError, NotFound, Unavailable
from mlspine.core.ids import now_ms
from mlspine.serving.endpoint import ServedEndpoint, SilentEndpoint
from mlspine.serving.request import Request
from mlspine.serving.service import Serving
from mlspine.web.exchange import Refused
from mlspine.web.grpc.messages import METHODS, SERVICE, Messages, load_messages
from mlspine.web.grpc.tensors import read_tensors, write_tensors
from mlspine.web.inference_api import identify
from mlspine.web.wires.v2 import EXTENSIONS, V2Wire
from mlspine.web.wires.v2_model import PLATFORM, V2Model

log = logging.getLogger(__name__)

DRAIN_TIMEOUT_S = 10.0
_STATUS = {
    "not_found": grpc.StatusCode.NOT_FOUND,
    "conflict": grpc.StatusCode.ABORTED,
    "invalid": grpc.StatusCode.INVALID_ARGUMENT,
    "denied": grpc.StatusCode.PERMISSION_DENIED,
    "unavailable": grpc.StatusCode.UNAVAILABLE,
    "missing_extra": grpc.StatusCode.UNIMPLEMENTED,
    "corrupt": grpc.StatusCode.UNAVAILABLE,
}

Context = Any  # a grpc.aio.ServicerContext; grpc comes without types
Found = tuple[ServedEndpoint | SilentEndpoint, V2Model | None]


class GrpcServer:
    """A listening gRPC server."""

    def __init__(self, server: grpc.aio.Server, port: int) -> None:
        self._server = server
        self.port = port

    async def stop(self) -> None:
        """Take no more calls and end when those under way are answered."""
        await self._server.stop(DRAIN_TIMEOUT_S)


async def serve_grpc(serving: Serving, host: str, port: int, *, max_body_bytes: int) -> GrpcServer:
    """Answer gRPC on this port, which further inference processes may share. Raises Conflict when it is taken."""
    service = GrpcService(serving)
    server = grpc.aio.server(
        options=(
            ("grpc.so_reuseport", 1),
            ("grpc.max_receive_message_length", max_body_bytes),
            ("grpc.max_send_message_length", -1),
        )
    )
    server.add_generic_rpc_handlers((service.handler(),))
    try:
        bound = server.add_insecure_port(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")
    except RuntimeError as exc:
        raise Conflict(
            f"port {port} on {host} is taken", hint="choose another with: mlspine serve NAME --grpc-port"
        ) from exc
    await server.start()
    log.info("gRPC is answered", extra={"port": bound})
    return GrpcServer(server, bound)


class GrpcService:
    """The six methods."""

    def __init__(
        self,
        serving: Serving,
        *,
        timer: Callable[[], float] = time.perf_counter,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._serving = serving
        self._timer = timer
        self._clock = clock
        self._messages: Messages = load_messages()
        self._models: dict[str, Found] = {}
        serving.on_change.append(self.rebuild)
        self.rebuild()

    def rebuild(self) -> None:
        """Make the models match what is served."""
        self._models = {
            name: (each, V2Model(each) if isinstance(each, ServedEndpoint) else None)
            for name, each in self._serving.endpoints.items()
        }

    def handler(self) -> grpc.GenericRpcHandler:
        """The methods as gRPC finds them; others are UNIMPLEMENTED."""
        answers = {
            "ServerLive": self._server_live,
            "ServerReady": self._server_ready,
            "ModelReady": self._model_ready,
            "ServerMetadata": self._server_metadata,
            "ModelMetadata": self._model_metadata,
            "ModelInfer": self._model_infer,
        }
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                _telling(answers[name]),
                request_deserializer=getattr(self._messages, f"{name}Request").FromString,
                response_serializer=getattr(self._messages, f"{name}Response").SerializeToString,
            )
            for name in METHODS
        }
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    # ------------------------------------------------------------ the server

    async def _server_live(self, request: Any, context: Context) -> Any:
        return self._messages.ServerLiveResponse(live=True)

    async def _server_ready(self, request: Any, context: Context) -> Any:
        return self._messages.ServerReadyResponse(ready=not await self._serving.why_process_not_ready())

    async def _server_metadata(self, request: Any, context: Context) -> Any:
        return self._messages.ServerMetadataResponse(name="mlspine", version=__version__, extensions=EXTENSIONS)

    # ------------------------------------------------------------ a model

    async def _model_ready(self, request: Any, context: Context) -> Any:
        self._find(request.name, request.version)
        return self._messages.ModelReadyResponse(ready=not await self._serving.why_not_ready(request.name))

    async def _model_metadata(self, request: Any, context: Context) -> Any:
        endpoint, model = self._find(request.name, request.version)
        if model is None or isinstance(endpoint, SilentEndpoint):
            raise _silence(endpoint)
        response = self._messages.ModelMetadataResponse(
            name=endpoint.name, versions=[str(endpoint.version)], platform=PLATFORM
        )
        for put, described in (
            (response.inputs, model.inputs_described()),
            (response.outputs, model.outputs_described()),
        ):
            for each in described:
                put.add(name=each.name, datatype=each.datatype, shape=each.shape)
        return response

    async def _model_infer(self, request: Any, context: Context) -> Any:
        began_s = self._timer()
        endpoint, model = self._find(request.model_name, request.model_version)
        status = 500
        try:
            # Those that are answered are counted with their record, off this path.
            return await self._infer(request, context, endpoint, model, began_s)
        except MlspineError as exc:
            status = V2Wire.ERRORS.get(exc.code, 500)
            if isinstance(exc, Invalid) and isinstance(endpoint, ServedEndpoint):
                endpoint.meter.refused(exc.details, endpoint.codec.schema.names)
            self._count(endpoint, status, began_s)
            raise
        except Exception:
            self._count(endpoint, status, began_s)
            raise

    def _count(self, endpoint: ServedEndpoint | SilentEndpoint, status: int, began_s: float) -> None:
        endpoint.meter.answered(status, self._timer() - began_s)
        if endpoint.planned.live is None:
            endpoint.meter.unanswerable += status == 503

    async def _infer(
        self,
        request: Any,
        context: Context,
        endpoint: ServedEndpoint | SilentEndpoint,
        model: V2Model | None,
        began_s: float,
    ) -> Any:
        at_ms = self._clock()
        request_id, event_at_ms, key = identify(_as_scope(context), at_ms)
        context.set_trailing_metadata((("mlspine-request-id", request_id), ("mlspine-path", endpoint.path)))
        if model is None or isinstance(endpoint, SilentEndpoint):
            raise _silence(endpoint)
        names = model.select([each.name for each in request.outputs])
        asked = Request(
            model.table(read_tensors(request)),
            request_id,
            received_at_ms=at_ms,
            began_s=began_s,
            event_at_ms=event_at_ms,
            key=key,
        )
        if endpoint.rereads:  # by the schema of another release, should that have to answer
            asked.reread = lambda arm: V2Model(arm).table(read_tensors(request))
        answer = await endpoint.submit(asked)
        arm = answer.call.arm
        response = self._messages.ModelInferResponse(
            model_name=endpoint.name, model_version=str(arm.version), id=request.id
        )
        response.parameters["request_id"].string_param = request_id
        response.parameters["release"].string_param = arm.release_hash
        write_tensors(response, answer, names, raw=bool(request.raw_input_contents))
        context.set_trailing_metadata(
            (
                ("mlspine-request-id", request_id),
                ("mlspine-release", arm.release_hash),
                ("mlspine-version", str(arm.version)),
                ("mlspine-path", arm.path),
            )
        )
        return response

    def _find(self, name: str, version: str) -> Found:
        found = self._models.get(name)
        if found is None:
            listed = ", ".join(sorted(self._models)) or "none"
            raise NotFound(f"no model {name[:100]!r}", hint=f"models here: {listed}")
        endpoint = found[0]
        if version and isinstance(endpoint, ServedEndpoint) and version != str(endpoint.version):
            raise NotFound(f"model {name} answers with version {endpoint.version}, not {version[:20]!r}")
        return found


def _telling(answer: Callable[[Any, Context], Awaitable[Any]]) -> Callable[[Any, Context], Awaitable[Any]]:
    """The same method with every failure told as a gRPC status."""

    async def tell(request: Any, context: Context) -> Any:
        try:
            return await answer(request, context)
        except MlspineError as exc:
            said = ". ".join([exc.message, *exc.details, *([exc.hint] if exc.hint else [])])
            await context.abort(_STATUS.get(exc.code, grpc.StatusCode.INTERNAL), said)
        except Refused as exc:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, exc.message)
        except asyncio.CancelledError:  # its caller hung up
            raise
        except Exception as exc:
            log.error("unexpected error while answering gRPC", exc_info=exc)
            said = f"an unexpected {type(exc).__name__} happened inside mlspine; the full account is in its log"
            await context.abort(grpc.StatusCode.INTERNAL, said)

    return tell


def _as_scope(context: Context) -> dict[str, Any]:
    """The call's metadata as HTTP headers, for what both read."""
    headers = [
        (str(key).encode("latin-1"), value if isinstance(value, bytes) else str(value).encode("latin-1", "replace"))
        for key, value in context.invocation_metadata() or ()
    ]
    return {"headers": headers, "path": f"/{SERVICE}/ModelInfer", "method": "POST"}


def _silence(endpoint: ServedEndpoint | SilentEndpoint) -> MlspineError:
    if isinstance(endpoint, SilentEndpoint):
        return endpoint.refusal()
    return Unavailable(f"endpoint {endpoint.name} cannot answer", hint="ask again in a moment")
