"""The links of one's own: revoke, extend; and the report of another's."""

from flask import Blueprint

from webapp.web.limits import RateLimits
from webapp.web.links.store import SharedLinks


def blueprint(links: SharedLinks, *, limits: RateLimits) -> Blueprint:
    """The routes."""
    return Blueprint("manage", __name__)
