"""The regular purge: soon after the start, again and again, and not ended by a database that is away."""

import logging

import gevent
import pytest

from webapp.web.errors import StorageBusy
from webapp.web.links import purging
from webapp.web.links.purging import purge_regularly
from webapp.web.links.store import SharedLinks


class Counting(SharedLinks):
    """Links of a database that has trouble at first."""

    def __init__(self) -> None:
        self.purges = 0

    def purge(self) -> int:
        self.purges += 1
        match self.purges:
            case 1:
                raise StorageBusy("The database is busy, please try again.")
            case 2:
                raise ZeroDivisionError
        return 1


def test_purges_go_on_whatever_becomes_of_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(purging, "FIRST_SECONDS", 0.001)
    monkeypatch.setattr(purging, "INTERVAL_SECONDS", 0.001)
    caplog.set_level(logging.INFO, logger=purging.__name__)
    links = Counting()

    purge_regularly(links)

    with gevent.Timeout(10):
        while links.purges < 5:
            gevent.sleep(0.001)
    levels = [record.levelname for record in caplog.records]
    assert levels[:3] == ["WARNING", "ERROR", "INFO"]
    # It goes on for as long as the process lives.
    monkeypatch.setattr(purging, "INTERVAL_SECONDS", 3600.0)
