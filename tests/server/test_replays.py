"""A replay over a real server while its link goes away, and while the database does."""

import sqlite3
import time
from contextlib import closing
from itertools import pairwise

import httpx

from tests.harness import Server, events
from tests.shared_runs import links_of, make_run, share

KEY = "a-manage-key"
# Of a quarter of a minute.
SLOW = make_run(texts=tuple((100 * number, f" {number}") for number in range(150)))


def test_replay_ends_soon_after_its_link_is_revoked_elsewhere(server: Server):
    slug, other = (share(server, SLOW, manage_key=KEY) for _ in range(2))
    url = f"{server.url}/s/{slug}/events"

    with httpx.stream("GET", url) as replay, httpx.stream("GET", f"{server.url}/s/{other}/events") as another:
        taken = events(replay)
        assert next(taken).data
        links_of(server).revoke(slug, KEY)
        revoked_at = time.monotonic()
        rest = [event.data for event in taken]
        assert time.monotonic() - revoked_at < 5
        assert "[DONE]" not in rest
        assert next(events(another)).data

    back = httpx.get(url, headers={"Last-Event-ID": "3"})
    assert (back.status_code, back.json()["error"]["code"]) == (410, "LinkGone")


def test_replay_goes_on_while_the_database_is_locked(server: Server):
    url = f"{server.url}/s/{share(server, SLOW)}/events?speed=4"

    with httpx.stream("GET", url, timeout=30) as replay:
        taken = events(replay)
        assert next(taken).data
        with closing(sqlite3.connect(server.data_dir / "jeton.sqlite3", isolation_level=None)) as locked:
            locked.execute("BEGIN EXCLUSIVE")
            at = [event.at for event in taken]
            locked.rollback()

    assert max(later - earlier for earlier, later in pairwise(at)) < 1.0
    assert len(at) > len(SLOW.texts)
