"""A shared link as other sites show it in a frame."""

from flask import Blueprint

from webapp.web.links.store import SharedLinks


def blueprint(links: SharedLinks) -> Blueprint:
    """The routes."""
    return Blueprint("embed", __name__)
