"""Ends the replays of links that are gone, in a greenlet of the web process: whoever watches one may not see its rest.

The link may have been revoked in any process, or have expired meanwhile; the database knows.
"""

import logging

import gevent

from webapp.web.errors import StorageBusy, StorageFull
from webapp.web.links.replay import Replays
from webapp.web.links.store import SharedLinks

log = logging.getLogger(__name__)

# How long a replay may outlive its link. One query for all replays of the process, and none where there are none.
INTERVAL_SECONDS = 1.0


def withdraw_regularly(links: SharedLinks, replays: Replays) -> None:
    """Start to look after the replays, for as long as the process lives."""
    gevent.spawn(_withdraw_regularly, links, replays)


def _withdraw_regularly(links: SharedLinks, replays: Replays) -> None:
    while True:
        gevent.sleep(INTERVAL_SECONDS)
        try:
            withdraw(links, replays)
        except (StorageBusy, StorageFull):
            # Where the database says nothing, what runs goes on.
            continue
        except Exception:
            log.exception("the links of replays could not be looked up")


def withdraw(links: SharedLinks, replays: Replays) -> None:
    """End the replays whose links are gone by now. Raises StorageBusy and StorageFull."""
    if slugs := replays.slugs:
        replays.end(links.find_gone(slugs))
