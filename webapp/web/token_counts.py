"""How many tokens a prompt has, for the composer. Knows forms, nothing of tokenizers."""

from flask import Blueprint

from webapp.catalog import Catalog
from webapp.web.limits import RateLimits
from webapp.web.pool_client import PoolClient


def blueprint(catalog: Catalog, pool: PoolClient, *, limits: RateLimits) -> Blueprint:
    """The routes."""
    return Blueprint("token_counts", __name__)
