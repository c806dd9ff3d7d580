"""The end of a web process: its streams end in order, and readers who can go on elsewhere do."""

from typing import Protocol

import gevent
from flask import Flask

from webapp.web.create_app import POOL_EXTENSION, REPLAYS_EXTENSION

# How soon a stop is noticed, and how long before gunicorn's own patience ends the last streams are cut off.
NOTICE_SECONDS = 0.1
MARGIN_SECONDS = 2.0


class Worker(Protocol):
    """What is needed of gunicorn's worker."""

    alive: bool
    wsgi: Flask


def drain_at_stop(worker: Worker, *, graceful_timeout: float) -> None:
    """Wait in a greenlet for the worker's stop, then drain its streams within `graceful_timeout` seconds."""
    gevent.spawn(_drain_at_stop, worker, graceful_timeout - MARGIN_SECONDS)


def _drain_at_stop(worker: Worker, patience_seconds: float) -> None:
    while worker.alive:
        gevent.sleep(NOTICE_SECONDS)
    worker.wsgi.extensions[REPLAYS_EXTENSION].drain()
    worker.wsgi.extensions[POOL_EXTENSION].drain(patience_seconds=patience_seconds)
