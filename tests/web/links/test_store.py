"""Shared links in each database: kept, opened, gone, purged, and never more than may be."""

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import gevent
import msgspec
import pytest
from sqlalchemy import text

from tests.postgresql import INITDB, NO_POSTGRESQL, Postgresql
from tests.shared_runs import make_run
from webapp.settings import read_settings
from webapp.web.database import Database
from webapp.web.errors import (
    InvalidFields,
    LinkForbidden,
    LinkGone,
    LinkNotFound,
    LinkQuotaReached,
    RunNotShareable,
)
from webapp.web.links import store
from webapp.web.links.store import LARGEST_RUN_BYTES, LinkFacts, SharedLinks
from webapp.wire.generation import Message

KEY, OTHER_KEY = "a-manage-key", "another-manage-key"
SECRET = "what nobody may read any more"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Clock:
    """A time that the test sets."""

    def __init__(self) -> None:
        self.at = NOON

    def __call__(self) -> datetime:
        return self.at

    def pass_days(self, days: float) -> None:
        self.at += timedelta(days=days)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def postgresql_url(postgresql: Postgresql) -> str:
    """One for all tests, which leave it empty: each database is some megabytes of files."""
    return read_settings({"DATABASE_URL": postgresql.make_database()}).database_url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{path}"
    if INITDB is None:
        pytest.skip(NO_POSTGRESQL)
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def database(url: str, path: Path) -> Iterator[Database]:
    made = Database(url)
    made.upgrade(path.with_suffix(".lock"))
    yield made
    made.run(lambda session: session.execute(text("delete from shared_link")))
    made.engine.dispose()


@pytest.fixture
def links(database: Database, clock: Clock) -> SharedLinks:
    return SharedLinks(database, now=clock)


def make(links: SharedLinks, *, key: str = KEY, prompt: str = SECRET, days: int | None = 7) -> LinkFacts:
    run = make_run(prompt=prompt, texts=((400, SECRET), (500, " …\0")))
    return links.create(run, manage_key=key, lifetime_days=days, has_prompt_in_preview=False)


def stored(database: Database) -> str:
    """All that the tables of links hold, as text."""

    def work(session) -> str:
        tables = ("shared_link", "link_report")
        # As a tuple: a row says no more of itself than its first characters.
        return str([[*map(tuple, session.execute(text(f"select * from {table}")))] for table in tables])

    return database.run(work)


def test_link_holds_the_run_as_it_was_and_its_facts(links: SharedLinks) -> None:
    run = make_run(prompt="  Two \n lines \0 " + "x" * 300, texts=((1, "a\u2028</script>"), (2, "\0🙂")))
    messages = (Message("user", "First"), Message("assistant", "Yes?"), *run.request.messages[-1:])
    run = msgspec.structs.replace(run, request=msgspec.structs.replace(run.request, messages=messages))

    made = links.create(run, manage_key=KEY, lifetime_days=7, has_prompt_in_preview=True)

    assert re.fullmatch(r"[\w-]{22}", made.slug)
    assert (made.created_at, made.expires_at, made.gone) == (NOON, NOON + timedelta(days=7), None)
    # Of the prompt that was answered, not of the conversation's first.
    assert made.opening.startswith("Two lines x") and made.opening.endswith("…") and len(made.opening) == 100
    assert links.open(made.slug) == (made, run)
    assert links.open(made.slug)[0].created_at.tzinfo is UTC


def test_no_two_links_have_one_slug_and_the_keys_are_not_kept(links: SharedLinks, database: Database) -> None:
    slugs = {make(links).slug for _ in range(5)}

    assert len(slugs) == 5
    assert KEY not in stored(database)


@pytest.mark.parametrize("slug", ["", "x", "a" * 22, "a" * 5000, "\0" * 22, "é" * 22, "' or 1=1 --", "../" * 8])
def test_slug_that_is_none_is_not_found(links: SharedLinks, slug: str) -> None:
    for ask in (
        links.open,
        lambda slug: links.revoke(slug, KEY),
        lambda slug: links.extend(slug, KEY, lifetime_days=1),
        lambda slug: links.report(slug, reason="spam", details=""),
        links.take_down,
    ):
        with pytest.raises(LinkNotFound):
            ask(slug)
    assert not links.is_managed_by(slug, KEY)


def test_expired_link_is_gone_at_its_second_and_emptied_by_whoever_opens_it(
    links: SharedLinks, clock: Clock, database: Database
) -> None:
    made, kept = make(links, days=1), make(links, days=7)
    links.report(made.slug, reason="other", details=SECRET)
    clock.at = made.expires_at - timedelta(microseconds=1)
    assert links.open(made.slug)[0] == made

    clock.at = made.expires_at
    with pytest.raises(LinkGone, match="expired"):
        links.open(made.slug)

    assert links.open(kept.slug)
    links.revoke(kept.slug, KEY)
    assert SECRET not in stored(database)


def test_purge_empties_all_that_has_expired_and_nothing_else(
    links: SharedLinks, clock: Clock, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "PURGED_AT_ONCE", 2)
    for _ in range(5):
        make(links, days=1)
    kept = make(links, days=7)
    clock.pass_days(2)

    assert links.purge() == 5
    assert links.purge() == 0

    # Its opening, its prompt and its answer.
    assert stored(database).count(SECRET) == 3
    assert [link.slug for link in links.all_of(KEY) if link.gone is None] == [kept.slug]


def test_link_that_is_gone_is_known_for_ninety_days(links: SharedLinks, clock: Clock, database: Database) -> None:
    made = make(links, days=1)
    links.report(made.slug, reason="spam", details="")
    clock.pass_days(1 + 89)
    links.purge()
    with pytest.raises(LinkGone):
        links.open(made.slug)

    clock.pass_days(2)
    links.purge()

    with pytest.raises(LinkNotFound):
        links.open(made.slug)
    assert stored(database) == "[[], []]"


def test_only_its_own_key_changes_a_link(links: SharedLinks) -> None:
    made = make(links)

    with pytest.raises(LinkForbidden):
        links.revoke(made.slug, OTHER_KEY)
    with pytest.raises(LinkForbidden):
        links.extend(made.slug, OTHER_KEY, lifetime_days=30)

    assert links.is_managed_by(made.slug, KEY)
    assert not links.is_managed_by(made.slug, OTHER_KEY)
    assert links.open(made.slug)[0] == made


def test_revoked_link_is_empty_and_stays_so(links: SharedLinks, database: Database) -> None:
    made = make(links)

    links.revoke(made.slug, KEY)
    links.revoke(made.slug, KEY)

    assert SECRET not in stored(database)
    for ask in (
        lambda: links.open(made.slug),
        lambda: links.extend(made.slug, KEY, lifetime_days=30),
        lambda: links.report(made.slug, reason="spam", details=""),
    ):
        with pytest.raises(LinkGone, match="revoked by whoever made it"):
            ask()


def test_link_that_was_taken_down_says_so_also_to_who_made_it(links: SharedLinks, database: Database) -> None:
    made = make(links)

    assert links.take_down(made.slug).gone == "taken down"
    links.revoke(made.slug, KEY)

    with pytest.raises(LinkGone, match="operator"):
        links.open(made.slug)
    assert [link.gone for link in links.all_of(KEY)] == ["taken down"]
    assert SECRET not in stored(database)


def test_own_links_come_newest_first_and_without_those_of_others(links: SharedLinks) -> None:
    made = [make(links, prompt=f"Number {number}") for number in range(3)]
    make(links, key=OTHER_KEY)
    links.revoke(made[1].slug, KEY)

    listed = links.all_of(KEY)

    assert listed == [made[2], msgspec.structs.replace(made[1], gone="revoked", opening=""), made[0]]
    assert links.all_of("nobody's") == []


def test_link_lasts_from_now_on_when_it_is_extended(links: SharedLinks, clock: Clock) -> None:
    made = make(links, days=7)
    clock.pass_days(3)

    extended = links.extend(made.slug, KEY, lifetime_days=30)
    shortened = links.extend(made.slug, KEY, lifetime_days=1)

    assert extended.expires_at == clock.at + timedelta(days=30)
    assert shortened.expires_at == clock.at + timedelta(days=1)
    assert links.open(made.slug)[0] == shortened


@pytest.mark.parametrize("days", [0, -1, 2, 10**9])
def test_lifetime_is_one_of_those_offered(links: SharedLinks, days: int) -> None:
    with pytest.raises(InvalidFields, match="lifetime_days"):
        make(links, days=days)


def test_link_lasts_for_ever_only_where_that_is_allowed(links: SharedLinks, database: Database, clock: Clock) -> None:
    with pytest.raises(InvalidFields, match="lifetime_days"):
        make(links, days=None)
    allowing = SharedLinks(database, is_for_ever_allowed=True, now=clock)
    made = make(allowing, days=None)
    clock.pass_days(10_000)

    allowing.purge()

    assert made.expires_at is None
    assert allowing.open(made.slug)[0] == made


def test_report_is_kept_until_the_link_is_gone(links: SharedLinks, clock: Clock) -> None:
    made, twice = make(links), make(links)
    links.report(made.slug, reason="personal", details="my\0address")
    for reason in ("spam", "other"):
        links.report(twice.slug, reason=reason, details="")

    first, second = links.find_reported()

    assert (first.link, [reason for _, reason, _ in first.reports]) == (twice, ["other", "spam"])
    assert (second.link, second.reports) == (made, ((NOON, "personal", "my\N{REPLACEMENT CHARACTER}address"),))
    assert links.find_all() == [(made, 1), (twice, 2)]
    links.revoke(twice.slug, KEY)
    assert [reported.link for reported in links.find_reported()] == [made]
    assert [(link.gone, reports) for link, reports in links.find_all(has_gone=True)] == [(None, 1), ("revoked", 2)]


@pytest.mark.parametrize(
    ("field", "reason", "details"), [("reason", "dislike", ""), ("reason", "", ""), ("details", "spam", "x" * 1001)]
)
def test_report_that_says_nothing_known_or_too_much_is_refused(
    links: SharedLinks, field: str, reason: str, details: str
) -> None:
    with pytest.raises(InvalidFields) as refused:
        links.report(make(links).slug, reason=reason, details=details)

    assert list(refused.value.fields) == [field]


def test_reports_of_one_link_are_bounded(links: SharedLinks, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_REPORTS", 3)
    slug = make(links).slug
    for _ in range(5):
        links.report(slug, reason="spam", details="again")

    assert links.find_all()[0][1] == 3


def test_run_that_is_too_large_is_refused(links: SharedLinks, database: Database) -> None:
    with pytest.raises(RunNotShareable):
        make(links, prompt="x" * LARGEST_RUN_BYTES)

    assert stored(database) == "[[], []]"


# --- how many there may be ---


def test_quota_counts_what_is_there(database: Database, clock: Clock) -> None:
    links = SharedLinks(database, most_of_one=2, most=3, now=clock)
    own, _ = make(links, days=1), make(links, days=7)

    with pytest.raises(LinkQuotaReached, match="This browser"):
        make(links)
    other = make(links, key=OTHER_KEY)
    with pytest.raises(LinkQuotaReached, match="This server"):
        make(links, key="a third")

    clock.at = own.expires_at
    make(links)
    links.revoke(other.slug, OTHER_KEY)
    assert make(links, key=OTHER_KEY)


@pytest.mark.parametrize(("most_of_one", "most"), [(3, 100), (100, 3)], ids=["of one", "of all"])
def test_no_two_take_the_last_place(url: str, database: Database, most_of_one: int, most: int) -> None:
    # As two web processes, each with connections of its own.
    processes = [SharedLinks(Database(url), most_of_one=most_of_one, most=most) for _ in range(2)]
    for links in processes:
        links.all_of(KEY)

    def try_to_make(links: SharedLinks) -> None:
        with suppress(LinkQuotaReached):
            make(links)

    gevent.joinall([gevent.spawn(try_to_make, processes[n % 2]) for n in range(12)], raise_error=True)

    assert len(processes[0].all_of(KEY)) == 3


# --- the bytes on the disk, where they are ours to overwrite ---


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
@pytest.mark.parametrize("way", ["revoked", "taken down", "expired"])
def test_text_of_a_link_that_is_gone_is_on_no_page_of_the_file(
    links: SharedLinks, clock: Clock, path: Path, way: str
) -> None:
    def on_disk() -> bool:
        return any(SECRET.encode() in file.read_bytes() for file in path.parent.iterdir())

    # One long enough for pages of its own, one within a page; and others that stay.
    made = [make(links, prompt=SECRET * times) for times in (500, 1)]
    for _ in range(5):
        links.create(make_run(), manage_key=KEY, lifetime_days=30, has_prompt_in_preview=True)
    for link in made:
        links.report(link.slug, reason="other", details=SECRET)

    # Another process has the file open: its log is not deleted when ours closes it.
    with closing(sqlite3.connect(path)) as other:
        other.execute("select count(*) from shared_link").fetchone()
        assert on_disk()
        for link in made:
            if way == "revoked":
                links.revoke(link.slug, KEY)
            elif way == "taken down":
                links.take_down(link.slug)
        if way == "expired":
            clock.pass_days(8)
            links.purge()

        assert not on_disk()
        assert len(links.find_all()) == 5


def test_text_that_is_deleted_is_not_deleted_again(
    links: SharedLinks, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    expired, revoked = make(links, days=1), make(links)
    links.revoke(revoked.slug, KEY)
    clock.pass_days(2)
    purges: list[int] = []
    monkeypatch.setattr(links, "purge", lambda: purges.append(SharedLinks.purge(links)))

    for _ in range(3):
        for slug in (expired.slug, revoked.slug):
            with pytest.raises(LinkGone):
                links.open(slug)

    # Each would write to the database, whoever asks how often.
    assert purges == [1]


def test_links_that_are_there_are_listed_before_those_that_are_gone(
    links: SharedLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_LISTED", 3)
    oldest = make(links)
    gone = [links.revoke(make(links).slug, KEY) for _ in range(3)]

    listed = links.all_of(KEY)

    assert [link.slug for link in listed] == [gone[2].slug, gone[1].slug, oldest.slug]
    assert [link.gone for link in listed] == ["revoked", "revoked", None]
    assert listed[:2] == gone[:0:-1]


def test_links_that_are_gone_are_found_among_others(links: SharedLinks, clock: Clock) -> None:
    there, revoked, expired = make(links), make(links), make(links, days=1)
    links.revoke(revoked.slug, KEY)
    clock.pass_days(1)

    assert links.find_gone([there.slug, revoked.slug, expired.slug, "none"]) == {revoked.slug, expired.slug, "none"}
    assert links.find_gone([]) == set()
