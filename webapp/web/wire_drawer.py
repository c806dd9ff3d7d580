"""The wire drawer's one route: a browser has its own connection dropped, to watch it come back. Knows no frame."""

from flask import Blueprint, Response, session

from webapp.web.pool_client import PoolClient


def blueprint(pool: PoolClient) -> Blueprint:
    """The route."""
    routes = Blueprint("wire_drawer", __name__)

    @routes.post("/generations/<generation_id>/drop")
    def drop(generation_id: str) -> Response:
        pool.drop_readers(generation_id, session.get("owner", ""))
        return Response(status=204)

    return routes
