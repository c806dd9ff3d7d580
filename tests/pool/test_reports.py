"""The record of a generation: its texts with their moments, whatever has happened meanwhile."""

from tests.pool.driving import MODEL, OWNER, Pool, entry, serving
from webapp.pool.generation_store import KEPT_SECONDS, PAGE_KEPT_SECONDS, ROOMY_JOURNAL_BYTES
from webapp.wire.generation import Delta, Failed, Finished, Started, Timings, Usage
from webapp.wire.messages import AskRecord, EngineHello, GenerationRecord, Gone


def record(pool: Pool, generation_id: str = "g", *, owner: str = OWNER) -> GenerationRecord | Gone:
    answer = pool.ask(AskRecord(ask=9, generation_id=generation_id, owner=owner))
    assert isinstance(answer, GenerationRecord | Gone)
    assert answer.ask == 9
    return answer


def test_record_has_each_text_with_the_milliseconds_since_the_acceptance() -> None:
    pool, (engine,) = serving()
    pool.submit("g")
    pool.now += 0.25
    pool.event(engine, "g", Started(3, "cpu", "int4"))
    for position, seconds in enumerate((0.5, 0.0, 1.125)):
        pool.now += seconds
        pool.token(engine, "g", position)

    running = record(pool)
    pool.finish(engine, "g", tokens=3)
    ended = record(pool)

    assert isinstance(running, GenerationRecord) and isinstance(ended, GenerationRecord)
    assert (running.end, running.texts) == (None, [(750, "0 "), (750, "1 "), (1875, "2 ")])
    assert (running.prompt_tokens, running.device, running.precision) == (3, "cpu", "int4")
    assert running.request.prompt == "Hi"
    assert ended.texts == running.texts
    assert ended.end == Finished("stop", Usage(1, 3), Timings(0.0, 0.75, 1.125))


def test_record_of_one_that_waits_or_fails_has_no_texts() -> None:
    pool = Pool()
    pool.submit("waits")
    pool.submit("stopped")
    pool.abort("stopped")

    waiting, stopped = record(pool, "waits"), record(pool, "stopped")

    assert isinstance(waiting, GenerationRecord) and isinstance(stopped, GenerationRecord)
    assert (waiting.texts, waiting.prompt_tokens, waiting.device, waiting.end) == ([], 0, "", None)
    assert isinstance(stopped.end, Finished) and stopped.end.finish_reason == "abort"


def test_record_is_for_its_owner_only() -> None:
    pool, _ = serving()
    pool.submit("g")

    assert record(pool, owner="somebody else") == Gone(ask=9)
    assert record(pool, "another") == Gone(ask=9)


def test_pause_of_a_lost_engine_shows_as_it_was() -> None:
    pool, (first, second) = serving(engines=2, slots=1)
    pool.submit("g")
    pool.event(first, "g", Started(3, "cuda:0", "int8"))
    pool.token(first, "g", 0)

    pool.lose_engine(0)
    pool.now += 2.5
    pool.event(second, "g", Started(3, "cpu", "int8"))
    pool.token(second, "g", 1)

    kept = record(pool)
    assert isinstance(kept, GenerationRecord)
    assert kept.texts == [(0, "0 "), (2500, "1 ")]
    assert kept.device == "cpu"


def test_record_survives_the_pool_with_its_moments() -> None:
    killed, (engine,) = serving()
    killed.submit("ended")
    killed.submit("runs")
    for generation_id in ("ended", "runs"):
        killed.event(engine, generation_id, Started(3, "cpu", "int4"))
    for position in range(2):
        killed.now += 0.5
        killed.token(engine, "ended", position)
        killed.token(engine, "runs", position)
    killed.finish(engine, "ended", tokens=2)
    before = record(killed, "ended")

    pool = killed.killed()
    assert record(pool, "ended") == before
    pool.now += 1.5
    pool.from_engine(engine, EngineHello(engine_id=engine, pid=4711, model=MODEL))
    pool.beat(engine)
    pool.token(engine, "runs", 2)

    runs = record(pool, "runs")
    assert isinstance(runs, GenerationRecord)
    assert runs.texts == [(500, "0 "), (1000, "1 "), (2500, "2 ")]
    assert (runs.device, runs.precision, runs.prompt_tokens) == ("cpu", "int4", 3)


def test_moments_never_decrease_however_the_clocks_were() -> None:
    killed, (engine,) = serving()
    killed.submit("g")
    killed.now += 5
    killed.token(engine, "g", 0)

    # The journal's moment of a turn's end may be after the next pool's first one.
    pool = killed.killed()
    pool.now -= 3
    pool.from_engine(engine, EngineHello(engine_id=engine, pid=4711, model=MODEL))
    pool.beat(engine)
    pool.token(engine, "g", 1)
    pool.now -= 30
    pool.token(engine, "g", 2)

    kept = record(pool)
    assert isinstance(kept, GenerationRecord)
    assert kept.texts == [(5000, "0 "), (5000, "1 "), (5000, "2 ")]


# --- how long it is there ---


def ended_kinds(pool: Pool, engine: str) -> None:
    """One of each kind, all ended now."""
    for generation_id, grace_seconds in (("page", 15.0), ("failed page", 15.0), ("API", 0.0)):
        pool.submit(generation_id, grace_seconds=grace_seconds)
        pool.event(engine, generation_id, Delta(0, "a", (1,)))
        is_failed = generation_id == "failed page"
        pool.event(engine, generation_id, Failed("EngineFailure", "") if is_failed else Finished("stop", Usage(1, 1)))


def known(pool: Pool) -> set[str]:
    return {name for name in ("page", "failed page", "API") if isinstance(record(pool, name), GenerationRecord)}


def test_whole_answers_with_a_page_are_kept_for_longer() -> None:
    pool, (engine,) = serving()
    ended_kinds(pool, engine)

    pool.wait(KEPT_SECONDS - 1)
    assert known(pool) == {"page", "failed page", "API"}
    pool.wait(2)
    assert known(pool) == {"page"}
    pool.wait(PAGE_KEPT_SECONDS - KEPT_SECONDS - 2)
    assert known(pool) == {"page"}
    pool.wait(2)
    assert known(pool) == set()


def test_pages_get_no_more_time_than_others_where_the_journal_is_large() -> None:
    pool, (engine,) = serving()
    ended_kinds(pool, engine)

    pool.wait(KEPT_SECONDS + 1)
    pool.disk.size = ROOMY_JOURNAL_BYTES + 1
    assert known(pool) == {"page"}
    pool.wait(0.25)

    assert known(pool) == set()


def test_next_pool_forgets_by_the_ends_and_not_by_the_order_of_acceptance() -> None:
    killed = Pool(entry(slots=2))
    engine = killed.start_engine()
    killed.submit("long")
    killed.submit("short")
    killed.finish(engine, "short")
    killed.now += 100
    killed.finish(engine, "long")

    pool = killed.killed()
    pool.wait(KEPT_SECONDS - 50)

    assert record(pool, "short") == Gone(ask=9)
    assert isinstance(record(pool, "long"), GenerationRecord)
