"""The picture of a shared link, for those who unfold links. Knows nothing of how it is drawn."""

import gevent
from flask import Blueprint, Response, request
from gevent.lock import BoundedSemaphore

from webapp.web.errors import RequestError, StorageBusy
from webapp.web.links.shared_run import SharedRun
from webapp.web.links.store import SharedLinks
from webapp.web.replies import with_retry_after

# Pictures that a web process draws at once: the threads are the database's too.
MOST_AT_ONCE = 1
# How long one waits for its turn: about thirty others.
PATIENCE_SECONDS = 3.0
RETRY_AFTER_SECONDS = 5
# Counts up where the same run would be drawn otherwise: part of the picture's ETag.
DESIGN = 1


def blueprint(links: SharedLinks) -> Blueprint:
    """The route. It asks the store each time, and caches have to ask again too: a revoked link has no picture."""
    routes = Blueprint("preview", __name__)
    turns = BoundedSemaphore(MOST_AT_ONCE)

    @routes.get("/s/<slug>/og.png")
    def show(slug: str) -> Response:
        link, run = links.open(slug)
        response = Response(content_type="image/png")
        response.set_etag(f"{link.slug}-{DESIGN}{'p' if link.has_prompt_in_preview else ''}")
        response.headers["Cache-Control"] = "no-cache"
        # Chats show it within their own pages.
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        response.make_conditional(request)
        if request.method == "HEAD":
            # Of a picture that is not drawn nobody knows the length: 0 would mean that it is empty.
            response.response = iter(())
            response.headers.pop("Content-Length", None)
        elif response.status_code == 200:
            response.set_data(_draw(run, turns, has_prompt=link.has_prompt_in_preview))
        return response

    @routes.errorhandler(RequestError)
    def refuse(error: RequestError) -> Response:
        # Whoever wants a picture has no use for a page.
        response = Response(error.message, status=error.status, content_type="text/plain; charset=utf-8")
        return with_retry_after(response, error)

    return routes


def _draw(run: SharedRun, turns: BoundedSemaphore, *, has_prompt: bool) -> bytes:
    if not turns.acquire(timeout=PATIENCE_SECONDS):
        raise StorageBusy("Too many pictures are drawn at once, please try again.", retry_after=RETRY_AFTER_SECONDS)
    try:
        return gevent.get_hub().threadpool.apply(_picture, (run, has_prompt))
    finally:
        turns.release()


def _picture(run: SharedRun, has_prompt: bool) -> bytes:
    # Not at the top: Pillow takes a tenth of the start of a web process, which replaces one that was lost.
    from webapp.web.links.preview_image import draw_preview

    return draw_preview(run, has_prompt=has_prompt)
