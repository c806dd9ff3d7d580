"""Get code: the request in the composer, in every language. Knows forms and pages."""

from flask import Blueprint

from webapp.catalog import Catalog


def blueprint(catalog: Catalog) -> Blueprint:
    """The routes."""
    return Blueprint("code_page", __name__)
