"""The whole of Jeton with PostgreSQL as its database: tokens, links, and going on while the database is away."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text

from tests.harness import PROJECT_FOLDER, Event, Reader, Server, wait_until
from tests.postgresql import Postgresql
from tests.security.callers import ask
from tests.shared_runs import make_run
from webapp.settings import read_settings
from webapp.web.database import Database
from webapp.web.links.store import SharedLinks


@pytest.fixture
def url(postgresql: Postgresql) -> str:
    # Over its socket it asks for no password; one in the URL is not to be seen all the same.
    return postgresql.make_database().replace("//jeton@", "//jeton:a-password@")


@pytest.fixture
def expired(url: str, tmp_path: Path) -> tuple[Database, str]:
    """The database, and a link in it that has expired while no server ran."""
    database = Database(read_settings({"DATABASE_URL": url}).database_url)
    database.upgrade(tmp_path / "lock")
    links = SharedLinks(database, now=lambda: datetime.now(UTC) - timedelta(days=2))
    return database, links.create(make_run(), manage_key="k", lifetime_days=1, has_prompt_in_preview=True).slug


@pytest.fixture
def pg_server(own_server: Callable[..., Server], url: str, expired: tuple[Database, str]) -> Server:
    return own_server(DATABASE_URL=url, JETON_WEB_PROCESSES="1")


def is_purged(database: Database, slug: str) -> bool:
    question = text("select run is null from shared_link where slug = :slug")
    return database.run(lambda session: session.scalar(question, {"slug": slug}))


def command(server: Server, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "webapp", *arguments],
        cwd=PROJECT_FOLDER,
        env=server.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def share(reader: Reader) -> str:
    """The slug of a link to a run of the playground."""
    url = reader.submit(prompt='{"pieces": ["all", " of", " it"]}')
    reader.read_to_end(url)
    made = reader.client.post(url.replace("/events", "/share"), data={"csrf_token": reader.csrf_token})
    assert made.status_code == 303, made.text
    return made.headers["Location"].rsplit("/", 1)[1]


def test_tokens_and_links_live_in_postgresql_and_streams_go_on_without_it(
    pg_server: Server, postgresql: Postgresql, expired: tuple[Database, str]
) -> None:
    server = pg_server
    assert re.search(r"^Database: PostgreSQL, jeton1 at /\S+\.$", server.output, re.MULTILINE)
    token = command(server, "create-token", "--name", "laptop")
    assert ask(server, token=token).status_code == 200
    slug = share(server.reader())
    shown = server.client.get(f"/s/{slug}")
    assert shown.status_code == 200 and "all of it" in shown.text
    assert slug in command(server, "list-links")
    assert not (server.data_dir / "jeton.sqlite3").exists()
    # A web process does so by itself, soon after its start.
    wait_until(lambda: is_purged(*expired), 20)

    taken: list[Event] = []

    def read_stream() -> None:
        with server.streaming(prompt='{"tokens": 100, "step_seconds": 0.05}', max_tokens=100) as stream:
            taken.extend(event for event in stream)

    reading = threading.Thread(target=read_stream)
    reading.start()
    wait_until(lambda: len(taken) > 3, 20)
    postgresql.stop()
    # Told at once, and as what it is; the page, the token of the settings and the stream need no database.
    refused = [ask(server, token=token), httpx.get(f"{server.url}/s/{slug}")]
    others = [ask(server), server.client.get("/"), server.client.get("/healthz")]
    postgresql.start()

    assert [answer.status_code for answer in refused] == [503, 503]
    assert "The database does not answer" in refused[0].text
    assert all("Retry-After" in answer.headers for answer in refused)
    assert [answer.status_code for answer in others] == [200] * 3
    wait_until(lambda: ask(server, token=token).status_code == 200, 10)
    assert server.client.get(f"/s/{slug}").text.count("all of it") == shown.text.count("all of it")

    # One that hangs keeps its own callers waiting, for some seconds, and nobody else.
    waiting = threading.Thread(target=lambda: refused.append(ask(server, token=token)))
    with postgresql.hung():
        waiting.start()
        began_at = time.monotonic()
        while time.monotonic() - began_at < 1:
            asked_at = time.monotonic()
            assert server.client.get("/healthz").status_code == 200
            assert time.monotonic() - asked_at < 1
        waiting.join()
    assert refused[-1].status_code == 503

    assert command(server, "take-down", f"{server.url}/s/{slug}") == f"{slug} is taken down"
    assert server.client.get(f"/s/{slug}").status_code == 410
    reading.join()
    assert taken[-1].data == "[DONE]"
    assert "a-password" not in server.output and "Traceback" not in server.output
