"""When a replay's frames are due, by a clock of the test's own; and its route without a browser."""

import itertools
from types import SimpleNamespace

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.shared_runs import make_run
from webapp.web.create_app import REPLAYS_EXTENSION
from webapp.web.errors import ReplayLimitReached
from webapp.web.links.replay import Replay, Replays, Schedule, moments
from webapp.web.links.store import SharedLinks
from webapp.web.links.withdrawing import withdraw
from webapp.web.sse import KEEP_ALIVE
from webapp.wire.generation import Timings

# Milliseconds; two come together, and the clock of the record goes back once.
RUN = make_run(texts=((500, "a"), (1000, "b"), (1000, "c"), (980, "d"), (2000, "e")))
FRAMES = ("reading", '"a"', '"b"', '"c"', '"d"', '"e"', "[DONE]")


def taken(schedule: Schedule, second: float) -> list[str]:
    chunk = schedule.take(second).decode()
    return [name for name in FRAMES if name in chunk]


@pytest.mark.parametrize("speed", [1, 2, 4])
def test_texts_are_due_at_their_recorded_moments(speed: int):
    schedule = Schedule(RUN, speed=speed, after=0)

    assert taken(schedule, 0) == ["reading"]
    assert taken(schedule, 0.49 / speed) == []
    assert taken(schedule, 0.5 / speed) == ['"a"']
    assert schedule.next_second == pytest.approx(1.0 / speed)
    assert taken(schedule, 1.0 / speed) == ['"b"', '"c"', '"d"']
    assert taken(schedule, 1.99 / speed) == []
    assert taken(schedule, 2.0 / speed) == ['"e"', "[DONE]"]
    assert schedule.has_ended


def test_lateness_does_not_add_up():
    schedule = Schedule(RUN, speed=1, after=0)

    assert taken(schedule, 0.9) == ["reading", '"a"']

    assert schedule.next_second == 1.0


def test_prompt_is_read_when_its_turn_had_come():
    queued = msgspec.structs.replace(RUN, timings=Timings(0.4, 0.5, 1.5))
    schedule = Schedule(queued, speed=1, after=0)

    assert schedule.next_second == pytest.approx(0.4)
    assert taken(schedule, 0.4) == ["reading"]


@pytest.mark.parametrize("after", range(7))
def test_reader_who_comes_back_gets_the_rest_at_the_same_pace(after: int):
    schedule = Schedule(RUN, speed=1, after=after)
    seen = list[tuple[str, int]]()
    start = moments(RUN)[after - 1] if after else 0

    for second in itertools.count(0, 0.01):
        if schedule.has_ended:
            break
        seen += [(name, round(start + 1000 * second)) for name in taken(schedule, second) if name != "reading"]

    whole = list(zip(FRAMES[1:], (500, 1000, 1000, 1000, 2000, 2000), strict=True))
    assert seen == [(name, max(moment, start)) for name, moment in whole[after:]]


def test_silence_is_kept_alive_and_counts_for_the_pace(monkeypatch: pytest.MonkeyPatch):
    clock = SimpleNamespace(now=0.0)
    slow = make_run(texts=((25_000, "late"),))
    replay = Replay(
        Schedule(slow, speed=1, after=0), slug="slow", address="", forget=lambda _: None, now=lambda: clock.now
    )

    def wait(seconds: float) -> None:
        clock.now += seconds

    monkeypatch.setattr(replay, "_left", SimpleNamespace(is_set=lambda: False, wait=wait))
    chunks = [(clock.now, chunk) for chunk in replay.chunks()]

    assert [moment for moment, chunk in chunks if chunk == KEEP_ALIVE] == [10, 20]
    assert chunks[-1][0] == 25
    assert b"late" in chunks[-1][1] and b"[DONE]" in chunks[-1][1]


def test_replays_of_one_process_are_so_many_at_most_and_end_when_it_does():
    replays = Replays(most=2)
    first, second = (
        replays.open(RUN, slug="one", address="", speed=1, after=0),
        replays.open(RUN, slug="two", address="", speed=1, after=3),
    )
    assert first and second
    with pytest.raises(ReplayLimitReached):
        replays.open(RUN, slug="one", address="", speed=1, after=0)

    first.close()
    third = replays.open(RUN, slug="one", address="", speed=1, after=0)
    assert third
    replays.drain()

    # The browser is told when to come back, and nothing else.
    assert list(third.chunks()) == [b"retry: 300\n\n"]
    assert list(second.chunks()) == [b"retry: 300\n\n"]
    third.close()
    late = replays.open(RUN, slug="one", address="", speed=1, after=0)
    assert late and list(late.chunks()) == [b"retry: 300\n\n"]


def test_one_address_takes_no_places_of_others_and_one_link_is_held_once():
    replays = Replays(most=3, most_of_one_address=1)
    again = msgspec.structs.replace(RUN)

    first = replays.open(RUN, slug="one", address="192.0.2.1", speed=1, after=0)
    with pytest.raises(ReplayLimitReached):
        replays.open(RUN, slug="two", address="192.0.2.1", speed=1, after=0)
    second = replays.open(again, slug="one", address="192.0.2.2", speed=2, after=1)

    assert first and second and second.schedule.run is first.schedule.run
    first.close()
    assert replays.open(RUN, slug="two", address="192.0.2.1", speed=1, after=0)


def test_replay_whose_end_was_seen_is_none():
    assert Replays().open(RUN, slug="one", address="", speed=1, after=len(RUN.texts) + 1) is None
    assert Replays().open(RUN, slug="one", address="", speed=1, after=10**11) is None


def test_route_replays_the_frames_of_a_live_stream(client: FlaskClient, slug: str, links: SharedLinks):
    _, run = links.open(slug)

    response = client.get(f"/s/{slug}/events?speed=4")

    assert response.content_type == "text/event-stream"
    assert response.headers["X-Accel-Buffering"] == "no"
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Set-Cookie" not in response.headers
    frames = response.text.split("\n\n")[:-1]
    assert frames[0] == "retry: 300"
    assert frames[1].startswith('event: status\ndata: {"phase":"reading"')
    assert [frame.split("\n")[0] for frame in frames[2:-2]] == [f"id: {n + 1}" for n in range(len(run.texts))]
    assert frames[-2].startswith("event: usage\n")
    assert frames[-1] == f"id: {len(run.texts) + 1}\ndata: [DONE]"

    resumed = client.get(f"/s/{slug}/events?speed=4&after=1", headers={"Last-Event-ID": "13"})
    assert [frame for frame in resumed.text.split("\n\n") if frame.startswith("id:")] == [frames[-3], frames[-1]]


@pytest.mark.parametrize(
    ("query", "status"),
    [("?speed=3", 400), ("?speed=", 400), ("?speed=1&after=x", 400), ("?after=-1", 400), ("?after=999", 204)],
)
def test_route_refuses_what_it_cannot_replay(client: FlaskClient, slug: str, query: str, status: int):
    response = client.get(f"/s/{slug}/events{query}")

    assert response.status_code == status
    assert response.headers["Access-Control-Allow-Origin"] == "*"
    if status == 400:
        assert response.json["error"]["code"] == "InvalidFields"


def test_head_of_a_replay_leaves_nothing_open(client: FlaskClient, slug: str):
    replays = client.application.extensions[REPLAYS_EXTENSION]
    before = replays.count

    with client.head(f"/s/{slug}/events") as response:
        assert (response.status_code, replays.count) == (200, before + 1)

    assert replays.count == before


def test_replay_ends_when_its_link_is_gone_and_no_other_does(
    client: FlaskClient, slug: str, key: str, links: SharedLinks
):
    replays = client.application.extensions[REPLAYS_EXTENSION]
    other = links.create(make_run(), manage_key=key, lifetime_days=7, has_prompt_in_preview=True).slug
    opened = [replays.open(RUN, slug=each, address="", speed=1, after=0) for each in (slug, other)]
    first, second = (replay.chunks() for replay in opened)
    withdraw(links, replays)
    assert [next(first), next(second)] == [b"retry: 300\n\n"] * 2

    links.revoke(slug, key)
    withdraw(links, replays)

    assert list(first) == []
    assert b"reading" in next(second)
    for replay in opened:
        replay.close()
