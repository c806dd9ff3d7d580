"""A shared link as other sites show it in a frame. Knows nothing of how it is replayed.

In a sandboxed frame the page has an origin of its own that is nobody's: it gets and needs no cookie, and what it
loads has to be allowed to every origin.
"""

from html import escape

from flask import Blueprint, Response, make_response, render_template, request

from webapp.web.errors import RequestError
from webapp.web.links.store import SharedLinks
from webapp.web.refusals import describe
from webapp.web.replies import with_retry_after

# What the embed code suggests: a prompt and some paragraphs, and more of them by scrolling.
HEIGHT = 480
# The page may run its script, and open the shared link: outside of the sandbox, as an ordinary page.
SANDBOX = "allow-scripts allow-popups allow-popups-to-escape-sandbox"
EMBED_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors {ancestors}"
)


def blueprint(links: SharedLinks, *, ancestors: str) -> Blueprint:
    """The route. `ancestors` are the sites that may show it, as a content security policy names them."""
    routes = Blueprint("embed", __name__)

    @routes.get("/e/<slug>")
    def show(slug: str) -> Response:
        theme = request.args.get("theme")
        shown = {"slug": slug, "theme": theme if theme in ("light", "dark") else None}
        try:
            link, run = links.open(slug)
        except RequestError as error:
            body = render_template("embed.html", **shown, error=describe(error))
            response = with_retry_after(make_response(body, error.status), error)
        else:
            response = make_response(render_template("embed.html", **shown, link=link, run=run))
        response.headers["Content-Security-Policy"] = EMBED_POLICY.format(ancestors=ancestors)
        response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
        response.headers["Cross-Origin-Opener-Policy"] = "unsafe-none"
        response.headers["Referrer-Policy"] = "no-referrer"
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        return response

    return routes


def embed_code(url: str, title: str) -> str:
    """The HTML that shows the page at `url` (`/e/<slug>`, absolute) on another site; `title` is for screen readers."""
    return (
        f'<iframe src="{escape(url)}" title="{escape(title)}" width="100%" height="{HEIGHT}" '
        f'sandbox="{SANDBOX}" loading="lazy"></iframe>'
    )
