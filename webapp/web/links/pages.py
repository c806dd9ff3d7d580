"""The page of a shared link, its replay, and running it again."""

from flask import Blueprint

from webapp.catalog import Catalog
from webapp.web.generations import Generations
from webapp.web.limits import RateLimits
from webapp.web.links.store import SharedLinks
from webapp.web.pool_client import PoolClient


def blueprint(
    catalog: Catalog,
    pool: PoolClient,
    generations: Generations,
    *,
    links: SharedLinks,
    limits: RateLimits,
    grace_seconds: float,
) -> Blueprint:
    """The routes."""
    return Blueprint("shared_pages", __name__)
