"""Open Inference Protocol v2 over gRPC, for clients that speak nothing else (extra `grpc`)."""

from __future__ import annotations

import logging
import os
from typing import Protocol

from mlspine.core.errors import MissingExtra, MlspineError
from mlspine.core.plan import Plan
from mlspine.serving.service import Serving

log = logging.getLogger(__name__)


class Stoppable(Protocol):
    """A server that is running."""

    async def stop(self) -> None:
        """End it when what is under way is answered."""
        ...


async def open_grpc(serving: Serving, plan: Plan, *, max_body_bytes: int) -> Stoppable | None:
    """The gRPC server the plan asks for; None where it asks for none, or none can be had: HTTP is answered all the
    same, and the log says why."""
    if plan.grpc_port is None:
        return None
    # Model processes are started with exec: gRPC need not mind forks, and would hold them up.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # callers sending garbage are no news
    try:
        try:
            from mlspine.web.grpc.server import serve_grpc
        except ImportError as exc:
            raise missing() from exc
        return await serve_grpc(serving, plan.host, plan.grpc_port, max_body_bytes=max_body_bytes)
    except MlspineError as exc:
        log.error("gRPC is not answered", extra={"why": str(exc)})
        return None


def missing() -> MissingExtra:
    """What to say where gRPC is asked for and its libraries are absent."""
    return MissingExtra("answering gRPC needs grpcio and protobuf", hint="pip install 'mlspine[grpc]'")
