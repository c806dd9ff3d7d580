"""The links of one's own, by the browser's manage key: seen, revoked, extended; and the report of anybody's.

Every form here works without JavaScript; with `HX-Request` the part of the page that has changed comes back.
"""

from typing import Literal

from flask import Blueprint, Response, make_response, redirect, render_template, request, url_for
from msgspec import Struct

from webapp.web.errors import InvalidFields, LinkForbidden, RequestError
from webapp.web.fields import read_struct
from webapp.web.limits import RateLimits
from webapp.web.links.manage_key import forget_manage_key, is_manage_key, keep_manage_key, manage_key
from webapp.web.links.store import LONGEST_DETAILS, SharedLinks
from webapp.web.refusals import describe, refuse
from webapp.web.replies import with_retry_after

LINKS_A_PAGE = 50
# No list has so many pages; few enough digits to read safely.
_MOST_PAGES = 9999


class ExtendFields(Struct, frozen=True):
    """From now on it is kept so many days."""

    lifetime_days: Literal["1", "7", "30", "never"]


class KeyFields(Struct, frozen=True):
    """Another browser's manage key."""

    key: str


class ReportFields(Struct, frozen=True):
    """What is wrong with a link."""

    reason: str
    details: str = ""


def blueprint(links: SharedLinks, *, limits: RateLimits) -> Blueprint:
    """The routes."""
    routes = Blueprint("manage", __name__)
    controls = {"is_for_ever_allowed": links.is_for_ever_allowed}

    @routes.get("/links")
    def show() -> Response:
        key = manage_key()
        own = links.all_of(key) if key else []
        pages = max(1, -(-len(own) // LINKS_A_PAGE))
        page = min(_page(), pages)
        shown = own[(page - 1) * LINKS_A_PAGE : page * LINKS_A_PAGE]
        body = render_template("links.html", links=shown, page=page, pages=pages, has_key=key is not None, **controls)
        response = make_response(body)
        response.headers["X-Robots-Tag"] = "noindex, nofollow"
        if key:
            keep_manage_key(response, key)
        return response

    @routes.post("/s/<slug>/revoke")
    def revoke(slug: str) -> Response:
        link = links.revoke(slug, _own_key())
        if "HX-Request" in request.headers:
            return make_response(render_template("_link_row.html", link=link, **controls))
        return make_response(redirect(url_for("manage.show", _anchor=slug), 303))

    @routes.post("/s/<slug>/extend")
    def extend(slug: str) -> Response:
        key = _own_key()
        fields = read_struct(ExtendFields, request.form, is_form=True)
        days = None if fields.lifetime_days == "never" else int(fields.lifetime_days)
        link = links.extend(slug, key, lifetime_days=days)
        if "HX-Request" in request.headers:
            return make_response(render_template("_link_row.html", link=link, **controls))
        # The form stands on the link's own page too.
        is_on_its_page = request.form.get("from") == "page"
        after = url_for("shared_pages.show", slug=slug) if is_on_its_page else url_for("manage.show", _anchor=slug)
        return make_response(redirect(after, 303))

    @routes.post("/s/<slug>/report")
    def report(slug: str) -> Response:
        try:
            fields = read_struct(ReportFields, request.form, is_form=True)
            limits.count_report(request)
            links.report(slug, reason=fields.reason, details=fields.details.replace("\r\n", "\n").strip())
        except RequestError as error:
            return refuse_report(slug, error)
        template = "_report_thanks.html" if "HX-Request" in request.headers else "report.html"
        return make_response(render_template(template, slug=slug), 201)

    @routes.post("/links/key")
    def take_over() -> Response:
        limits.count_manage_key(request)
        key = read_struct(KeyFields, request.form, is_form=True).key.strip()
        if not is_manage_key(key):
            raise InvalidFields({"key": "must be a manage key, which has 43 characters"})
        if not links.all_of(key):
            raise LinkForbidden("No shared link was made with this manage key.")
        response = make_response(redirect(url_for("manage.show"), 303))
        keep_manage_key(response, key)
        return response

    @routes.post("/links/forget")
    def forget() -> Response:
        response = make_response(redirect(url_for("manage.show"), 303))
        forget_manage_key(response)
        return response

    @routes.errorhandler(RequestError)
    def refuse_page(error: RequestError) -> Response:
        if "HX-Request" not in request.headers:
            return refuse(error)
        # In the place of the row that asked.
        body = render_template("_link_error.html", error=describe(error))
        return with_retry_after(make_response(body, error.status), error)

    def refuse_report(slug: str, error: RequestError) -> Response:
        """The form again, with what was typed."""
        if "HX-Request" not in request.headers:
            return refuse(error)
        typed = {"reason": request.form.get("reason"), "details": request.form.get("details")}
        body = render_template("_report_form.html", slug=slug, typed=typed, error=describe(error), is_open=True)
        return with_retry_after(make_response(body, error.status), error)

    @routes.app_context_processor
    def give() -> dict[str, object]:
        return {"has_links": manage_key() is not None, "longest_details": LONGEST_DETAILS}

    return routes


def _own_key() -> str:
    key = manage_key()
    if key is None:
        raise LinkForbidden("Only the browser that made this shared link may change it.")
    return key


def _page() -> int:
    text = request.args.get("page", "1")
    return max(1, min(int(text), _MOST_PAGES)) if text.isascii() and text.isdigit() and len(text) < 9 else 1
