"""The picture of a shared link, for those who unfold links."""

from flask import Blueprint

from webapp.web.links.store import SharedLinks


def blueprint(links: SharedLinks) -> Blueprint:
    """The routes."""
    return Blueprint("preview", __name__)
