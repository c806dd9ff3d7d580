"""The regular purge of shared links, in a greenlet of the web process. Whichever process is first finds the work."""

import logging

import gevent

from webapp.web.errors import StorageBusy, StorageFull
from webapp.web.links.store import SharedLinks

log = logging.getLogger(__name__)

# An expired link is gone at its second for whoever opens it; this is how long its text may lie in the database.
INTERVAL_SECONDS = 300.0
# Not while the process starts.
FIRST_SECONDS = 5.0


def purge_regularly(links: SharedLinks) -> None:
    """Start to delete the texts of expired links, every few minutes for as long as the process lives."""
    gevent.spawn(_purge_regularly, links)


def _purge_regularly(links: SharedLinks) -> None:
    gevent.sleep(FIRST_SECONDS)
    while True:
        _purge(links)
        gevent.sleep(INTERVAL_SECONDS)


def _purge(links: SharedLinks) -> None:
    try:
        count = links.purge()
    except (StorageBusy, StorageFull) as error:
        # The next one does it.
        log.warning("expired shared links could not be deleted: %s", error.message)
    except Exception:
        log.exception("expired shared links could not be deleted")
    else:
        if count:
            log.info("deleted the texts of %d expired shared links", count)
