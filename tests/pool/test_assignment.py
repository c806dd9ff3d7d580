"""Who runs where: fair shares, and whose fault it is when engines are lost."""

from tests.pool.driving import MODEL, Pool, heartbeat, serving, text
from webapp.pool.assignment import SETTLED_SECONDS
from webapp.wire.generation import Failed, Queued


def submitted(pool: Pool, client: str, count: int) -> list[str]:
    names = [f"{client}{number}" for number in range(count)]
    for name in names:
        pool.submit(name, client=client)
    return names


def clients(pool: Pool, engine: str) -> dict[str, int]:
    """How many each client runs on this engine."""
    running = [name[0] for name in pool.running(engine)]
    return {client: running.count(client) for client in sorted(set(running))}


# --- fair shares ---


def test_newcomer_runs_at_once_where_another_client_has_all_the_room() -> None:
    pool, (engine,) = serving(slots=4)
    submitted(pool, "a", 10)

    pool.submit("b0", client="b")

    assert clients(pool, engine) == {"a": 3, "b": 1}


def test_shares_become_equal_and_go_no_further() -> None:
    pool, (engine,) = serving(slots=4)
    submitted(pool, "a", 10)
    submitted(pool, "b", 10)
    assert clients(pool, engine) == {"a": 2, "b": 2}

    submitted(pool, "c", 10)
    assert sorted(clients(pool, engine).values()) == [1, 1, 2]

    given = len(pool.dispatches(engine))
    pool.wait(1)
    pool.beat(engine)
    assert len(pool.dispatches(engine)) == given


def test_one_client_alone_never_interrupts_itself() -> None:
    pool, (engine,) = serving(slots=2)
    submitted(pool, "a", 5)

    assert list(pool.running(engine)) == ["a0", "a1"]


def test_whoever_has_made_the_fewest_tokens_gives_way_and_goes_on_later() -> None:
    pool, (engine,) = serving(slots=2)
    submitted(pool, "a", 2)
    for position in range(3):
        pool.token(engine, "a0", position)
    pool.token(engine, "a1", 0)

    pool.submit("b0", client="b")
    assert list(pool.running(engine)) == ["a0", "b0"]
    assert pool.statuses("a1")[-1] == Queued(1)

    pool.finish(engine, "b0")
    assert pool.running(engine)["a1"].token_ids == (0,)
    pool.token(engine, "a1", 1)
    pool.finish(engine, "a1", tokens=2)
    assert text(pool.numbered("a1")) == "0 1 "


def test_what_an_engine_still_says_of_one_that_gave_way_is_fenced_off() -> None:
    pool, (engine,) = serving(slots=2)
    submitted(pool, "a", 2)
    old = pool.running(engine)["a1"].lease
    pool.submit("b0", client="b")
    assert "a1" not in pool.running(engine)

    pool.finish(engine, "b0")
    pool.token(engine, "a1", 0)
    late = pool.published("a1")[-1].event
    pool.event(engine, "a1", late, lease=old)

    assert text(pool.numbered("a1")) == "0 "


# --- whose fault ---


def test_generations_of_a_killed_engine_all_go_on_at_once() -> None:
    pool, (first, second) = serving(engines=2, slots=4)
    submitted(pool, "a", 4)

    lost = list(pool.running(first))
    pool.lose_engine(0, is_crash=False)

    assert set(lost) <= set(pool.running(second))
    assert len(pool.running(second)) == 4


def test_after_a_crash_each_runs_alone_until_it_has_made_a_token() -> None:
    pool, (engine,) = serving(slots=4)
    submitted(pool, "a", 3)

    pool.lose_engine()
    engine = pool.start_engine()

    assert list(pool.running(engine)) == ["a0"]
    pool.token(engine, "a0", 0)
    assert list(pool.running(engine)) == ["a0", "a1"]


def test_engines_that_are_killed_fail_nobody_who_makes_tokens_between() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    for position in range(10):
        pool.token(engine, "g", position)
        pool.lose_engine(is_crash=False)
        engine = pool.start_engine()

    assert pool.ends("g") == []
    assert list(pool.running(engine)) == ["g"]


def test_fifth_kill_in_a_row_under_one_generation_fails_it() -> None:
    pool, _ = serving()
    pool.submit("g")
    for _ in range(4):
        pool.lose_engine(is_crash=False)
        pool.start_engine()
    assert pool.ends("g") == []

    pool.lose_engine(is_crash=False)

    (end,) = pool.ends("g")
    assert isinstance(end, Failed)
    assert end.code == "EngineLost"
    assert pool.state().waiting == {}
    assert pool.line.counts() == {} and pool.line.length(MODEL) == 0


# --- what is lost on the way ---


def test_what_an_engine_does_not_have_is_given_anew() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    lease = pool.running(engine)["g"].lease

    # Its heartbeats do not name it: the dispatch, or the end, was lost with a connection.
    pool.now += SETTLED_SECONDS + 0.1
    pool.from_engine(engine, heartbeat())
    assert pool.running(engine)["g"].lease == lease
    pool.now += 0.5
    pool.from_engine(engine, heartbeat())

    assert pool.running(engine)["g"].lease != lease
    assert pool.running(engine)["g"].token_ids == (0,)


def test_only_what_two_heartbeats_in_a_row_do_not_name_is_lost() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    lease = pool.running(engine)["g"].lease
    assert lease is not None

    pool.now += SETTLED_SECONDS + 0.1
    for named in ((), (lease,), (lease,), (), (lease,)):
        pool.now += 0.5
        pool.from_engine(engine, heartbeat(leases=named))

    assert pool.running(engine)["g"].lease == lease


def test_engine_whose_step_takes_long_has_not_lost_what_it_has_not_taken_yet() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    lease = pool.running(engine)["g"].lease

    pool.now += SETTLED_SECONDS + 0.1
    for _ in range(3):
        pool.now += 0.5
        pool.from_engine(engine, heartbeat(turn_age=3.0))

    assert pool.running(engine)["g"].lease == lease


def test_end_that_a_heartbeat_has_overtaken_is_an_end() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.token(engine, "g", 0)
    pool.now += SETTLED_SECONDS + 0.1

    pool.from_engine(engine, heartbeat())
    pool.finish(engine, "g", tokens=1)

    assert [end.finish_reason for end in pool.ends("g")] == ["stop"]
    assert len(pool.dispatches(engine)) == 1
