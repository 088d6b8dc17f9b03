"""The standard health service (grpc.health.v1) on grpc.aio."""

from __future__ import annotations

from typing import Any

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1._async import HealthServicer


class Health(HealthServicer):  # type: ignore[misc]
    """As grpcio-health-checking has it; its asyncio servicer leaves `List` to a synchronous base."""

    async def List(self, request: health_pb2.HealthListRequest, context: Any) -> health_pb2.HealthListResponse:
        """Not offered: the gateway is one service as a whole."""
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "ask Check or Watch with an empty service name")
        return health_pb2.HealthListResponse()
