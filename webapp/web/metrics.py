"""`/metrics`: what the pool has counted, for Prometheus."""

from flask import Blueprint, Response, request

from webapp.web.auth import ApiTokens
from webapp.web.callers import is_local
from webapp.web.pool_client import PoolClient

REFUSAL = "Metrics are for callers on this machine and for operators: send 'Authorization: Bearer <operator token>'.\n"


def blueprint(pool: PoolClient, tokens: ApiTokens) -> Blueprint:
    """The route, for callers on this machine and operators: 401 without a token, 403 with another one."""
    routes = Blueprint("metrics", __name__)

    @routes.get("/metrics")
    def metrics() -> Response:
        """All metrics of the pool, whichever web process answers. Raises PoolUnavailable."""
        if not is_local(request) and not tokens.is_operator(request):
            return _refusal()
        answer = pool.metrics()
        return Response(answer.text, content_type=answer.content_type, headers={"Cache-Control": "no-store"})

    return routes


def _refusal() -> Response:
    if request.authorization:
        return Response(REFUSAL, status=403, content_type="text/plain; charset=utf-8")
    return Response(
        REFUSAL, status=401, content_type="text/plain; charset=utf-8", headers={"WWW-Authenticate": "Bearer"}
    )
