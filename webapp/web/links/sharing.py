"""Makes a shared link of a generation, from the pool's own record."""

from flask import Blueprint

from webapp.catalog import Catalog
from webapp.web.limits import RateLimits
from webapp.web.links.store import SharedLinks
from webapp.web.pool_client import PoolClient


def blueprint(catalog: Catalog, pool: PoolClient, links: SharedLinks, *, limits: RateLimits) -> Blueprint:
    """The routes."""
    return Blueprint("sharing", __name__)
