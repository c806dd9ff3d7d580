"""A browser that comes back for the rest of its answer, on any web process. Knows no page and no frame."""

from collections.abc import Callable

from flask import Response, session

from webapp.web.errors import PoolUnavailable
from webapp.web.pool_client import PoolClient
from webapp.web.sse import Item, event_stream, retry_frame, stream, watch_reader

# How soon a browser reconnects, in milliseconds: soon, and later where the pool is away.
RETRY_MILLISECONDS = 300
RETRY_AWAY_MILLISECONDS = 1000


def resume(pool: PoolClient, generation_id: str, *, after: int, write: Callable[[Item], bytes]) -> Response:
    """The events of this session's generation after `after`, by `write`; 204 where its end was already seen.

    Raises GenerationNotFound.
    """
    try:
        subscription = pool.attach(generation_id, session.get("owner", ""), after=after)
    except PoolUnavailable:
        # Any status but 200 would make the browser give up for good.
        return event_stream([retry_frame(RETRY_AWAY_MILLISECONDS)])
    if subscription is None:
        return Response(status=204)
    watch_reader(subscription)
    return stream(subscription, write, opening=retry_frame(RETRY_MILLISECONDS))
