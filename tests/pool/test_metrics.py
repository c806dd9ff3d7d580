"""What the pool counts, and how Prometheus reads it."""

import tomllib
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import PROJECT_FOLDER
from tests.pool.driving import MODEL, WEB, Disk, Pool, entry
from tests.web.states import engine_state, pool_state
from webapp.pool.journal import Journal
from webapp.pool.metrics import DURATION_BOUNDS, Histogram, Metrics
from webapp.pool.metrics_text import metrics_text
from webapp.wire.generation import Delta, Failed, Started
from webapp.wire.messages import AskMetrics, AskState, MetricsText

OTHER_MODEL = "@test/other"


class Scrape:
    """The samples of one answer, as Prometheus' own parser reads them."""

    def __init__(self, answer: MetricsText) -> None:
        self.families = {family.name: family for family in text_string_to_metric_families(answer.text)}
        self._samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def value(self, name: str, **labels: str) -> float | None:
        return self._samples.get((name, frozenset(labels.items())))

    def values(self, name: str, label: str) -> dict[str, float]:
        """All samples of this name by one of their labels."""
        return {dict(labels)[label]: value for (each, labels), value in self._samples.items() if each == name}


def scrape(pool: Pool) -> Scrape:
    answer = pool.ask(AskMetrics(ask=9))
    assert isinstance(answer, MetricsText)
    return Scrape(answer)


# --- durations ---


def test_bucket_holds_its_upper_bound_and_the_last_one_has_none():
    histogram = Histogram()

    for seconds in (0.0, DURATION_BOUNDS[0], DURATION_BOUNDS[0] + 1e-9, DURATION_BOUNDS[-1], 1e9):
        histogram.observe(seconds)

    assert (histogram.counts[0], histogram.counts[1], histogram.counts[-2], histogram.counts[-1]) == (2, 1, 1, 1)
    assert sum(histogram.counts) == 5
    assert histogram.sum == pytest.approx(1e9 + DURATION_BOUNDS[-1] + 2 * DURATION_BOUNDS[0])


def test_buckets_suit_a_step_and_a_wait_alike():
    assert list(DURATION_BOUNDS) == sorted(set(DURATION_BOUNDS))
    assert (DURATION_BOUNDS[0], DURATION_BOUNDS[-1]) == (0.005, 60.0)


def test_durations_of_a_generation_are_those_its_reader_waits():
    pool = Pool()
    pool.submit("g")
    pool.now += 2.5
    engine = pool.start_engine()
    pool.now += 0.5
    pool.token(engine, "g", 0)
    pool.now += 0.4
    pool.event(engine, "g", Delta(1, "four at once", (1, 2, 3, 4)))

    seen = scrape(pool)

    assert seen.value("jeton_queue_time_seconds_sum", model=MODEL) == pytest.approx(2.5)
    assert seen.value("jeton_time_to_first_token_seconds_sum", model=MODEL) == pytest.approx(3.0)
    assert seen.value("jeton_inter_token_latency_seconds_sum", model=MODEL) == pytest.approx(0.4)
    # Each of the four has its share of the time.
    assert seen.value("jeton_inter_token_latency_seconds_count", model=MODEL) == 4
    assert seen.value("jeton_inter_token_latency_seconds_bucket", model=MODEL, le="0.15") == 4
    assert seen.value("jeton_inter_token_latency_seconds_bucket", model=MODEL, le="0.075") == 0


def test_stall_after_a_lost_engine_is_one_long_gap_and_nothing_is_counted_twice():
    pool = Pool()
    first = pool.start_engine()
    pool.submit("g")
    pool.event(first, "g", Started(35, "cpu", "scripted"))
    pool.token(first, "g", 0)
    pool.lose_engine()
    pool.now += 4.0
    second = pool.start_engine()
    pool.event(second, "g", Started(35, "cpu", "scripted"))
    pool.token(second, "g", 1)

    seen = scrape(pool)

    assert seen.value("jeton_redispatches_total", model=MODEL) == 1
    assert seen.value("jeton_engine_restarts_total", model=MODEL, post="1") == 1
    assert seen.value("jeton_inter_token_latency_seconds_sum", model=MODEL) == pytest.approx(4.0)
    assert seen.value("jeton_prompt_tokens_total", model=MODEL) == 35
    assert seen.value("jeton_completion_tokens_total", model=MODEL) == 2
    for name in ("jeton_queue_time_seconds_count", "jeton_time_to_first_token_seconds_count"):
        assert seen.value(name, model=MODEL) == 1


def test_generation_of_an_earlier_pool_goes_on_counting_under_the_new_one():
    pool = Pool()
    engine = pool.start_engine()
    pool.submit("g")
    pool.token(engine, "g", 0)
    pool = pool.killed()
    pool.now += 2.0
    engine = pool.start_engine()
    pool.token(engine, "g", 1)
    pool.finish(engine, "g", tokens=2)

    seen = scrape(pool)

    assert seen.value("jeton_generations_accepted_total", model=MODEL) == 0
    assert seen.value("jeton_generations_ended_total", model=MODEL, end="stop") == 1
    assert seen.value("jeton_time_to_first_token_seconds_count", model=MODEL) == 0
    assert seen.value("jeton_inter_token_latency_seconds_sum", model=MODEL) == pytest.approx(2.0)


# --- what happens to generations ---


def test_every_way_to_end_is_counted_once_and_told_apart():
    pool = Pool(entry(slots=8))
    engine = pool.start_engine()
    for name in ("good", "bad", "stopped", "left", "waits"):
        pool.submit(name)
    pool.finish(engine, "good")
    pool.event(engine, "bad", Failed("OutOfMemory", "no memory"))
    pool.abort("stopped")
    pool.detach("left")

    seen = scrape(pool)

    ends = seen.values("jeton_generations_ended_total", "end")
    assert seen.value("jeton_generations_accepted_total", model=MODEL) == 5
    assert ends == {"stop": 1, "length": 0, "abort": 2, "failed": 1}
    assert seen.values("jeton_generations_failed_total", "code") == {"OutOfMemory": 1}
    assert seen.values("jeton_generations_aborted_total", "cause") == {"stopped": 1, "reader left": 1}
    assert seen.value("jeton_generations_running", model=MODEL) == 1


def test_refusals_are_counted_by_code_and_never_by_what_the_client_asked_for():
    pool = Pool(client_limit=1)
    pool.submit("g")

    pool.submit("g", owner="somebody else")
    pool.submit("another")
    pool.submit("hostile", model='@no"such{model}')
    pool.disk.is_failing = True
    pool.submit("late")

    seen = scrape(pool)
    refusals = seen.values("jeton_generations_refused_total", "code")
    assert refusals == {"GenerationExists": 1, "ClientLimitReached": 1, "ModelNotFound": 1, "StorageFull": 1}
    assert seen.values("jeton_generations_accepted_total", "model") == {MODEL: 1}
    assert seen.value("jeton_journal_failing") == 1


def test_place_given_up_for_another_client_is_no_loss():
    pool = Pool()
    pool.start_engine()
    for number in range(2):
        pool.submit(f"many-{number}", client="many")

    pool.submit("one", client="one")

    seen = scrape(pool)
    assert seen.value("jeton_preemptions_total", model=MODEL) == 1
    assert seen.value("jeton_redispatches_total", model=MODEL) == 0
    assert seen.value("jeton_generations_waiting", model=MODEL) == 1


def test_late_events_are_those_of_old_leases_and_of_engines_given_up():
    pool = Pool()
    engine = pool.start_engine()
    pool.submit("g")
    pool.token(engine, "g", 0)
    lease = pool.dispatches(engine)[0].lease
    pool.abort("g")

    pool.event(engine, "g", Delta(1, "late", (1,)), lease=lease)
    pool.lose_engine()
    pool.event(engine, "g", Delta(1, "later", (1,)), lease=lease)

    assert scrape(pool).value("jeton_late_events_total") == 2


def test_probe_is_nobodys_generation():
    pool = Pool()
    engine = pool.start_engine()
    pool.ask(AskState(ask=1, probe=True))
    pool.event(engine, "probe", Started(1, "cpu", "scripted"))
    pool.token(engine, "probe", 0)
    pool.finish(engine, "probe", tokens=1)

    seen = scrape(pool)

    assert seen.value("jeton_completion_tokens_total", model=MODEL) == 0
    assert seen.value("jeton_prompt_tokens_total", model=MODEL) == 0
    assert set(seen.values("jeton_generations_ended_total", "end").values()) == {0}


def test_readers_and_web_processes_are_those_of_this_moment():
    pool = Pool()
    pool.hello()
    pool.submit("read")
    pool.submit("unread", attach=False, grace_seconds=60.0)
    before = scrape(pool)
    pool.dispatcher.lose_web_process(WEB, pool.now)

    after = scrape(pool)

    assert (before.value("jeton_readers"), before.value("jeton_web_processes")) == (1, 1)
    assert (after.value("jeton_readers"), after.value("jeton_web_processes")) == (0, 0)
    assert after.value("jeton_web_processes_lost_total") == 1


def test_series_of_a_model_begin_at_zero_so_that_the_first_failure_is_an_increase():
    seen = scrape(Pool(entry(), entry(OTHER_MODEL)))

    for model in (MODEL, OTHER_MODEL):
        assert seen.value("jeton_generations_ended_total", model=model, end="failed") == 0
        assert seen.value("jeton_generations_waiting", model=model) == 0
        assert seen.value("jeton_inter_token_latency_seconds_bucket", model=model, le="+Inf") == 0


def test_model_that_the_catalogue_has_no_more_is_counted_too():
    pool = Pool(entry(OTHER_MODEL))
    pool.submit("g", model=OTHER_MODEL)

    seen = scrape(pool.killed(entry(MODEL)))

    assert seen.value("jeton_generations_ended_total", model=OTHER_MODEL, end="failed") == 1
    assert seen.value("jeton_generations_failed_total", model=OTHER_MODEL, code="ModelNotFound") == 1


# --- engines, journal, processes ---


def shown(*engines: object, journal: object = None, models: tuple[str, ...] = ()) -> Scrape:
    return Scrape(metrics_text(Metrics(models), pool_state(*engines), journal=journal or Disk(), readers=0))


def test_engine_keeps_its_number_while_processes_come_and_go_on_its_post():
    first, second = engine_state(engine_id="9-1"), engine_state(engine_id="9-2", restarts=2, memory_bytes=5, capacity=8)
    lost = engine_state(engine_id="", state="lost", load_fraction=0.0, restarts=1)
    post = {"model": first.model, "post": "1"}
    other_post = {"model": first.model, "post": "2"}

    before, after = shown(first, second), shown(lost, second)

    for seen in (before, after):
        assert seen.value("jeton_engine_restarts_total", **other_post) == 2
        assert seen.value("jeton_engine_memory_bytes", **other_post) == 5
        assert seen.value("jeton_engine_slots", **other_post) == 8
    assert before.value("jeton_engine_state", **post, state="idle") == 1
    assert after.value("jeton_engine_state", **post, state="idle") == 0
    assert after.value("jeton_engine_state", **post, state="lost") == 1
    assert after.value("jeton_engine_loaded_ratio", **post) == 0


def test_journal_shows_its_size_and_whether_the_disk_takes_it(tmp_path: Path):
    journal = Journal(tmp_path / "journal")
    list(journal.recover())
    journal.start(1.0)

    seen = shown(journal=journal)

    journal.close()
    assert seen.value("jeton_journal_bytes") == sum(path.stat().st_size for path in (tmp_path / "journal").iterdir())
    assert seen.value("jeton_journal_unwritten_bytes") == seen.value("jeton_journal_failing") == 0
    assert seen.value("jeton_journal_unsynced_seconds") is not None


def test_pool_process_is_named_by_its_epoch_and_measures_itself():
    seen = shown()

    assert seen.value("jeton_pool_info", epoch="e") == 1
    assert (seen.value("jeton_pool_process_resident_memory_bytes") or 0) > 0
    assert (seen.value("jeton_pool_process_start_time_seconds") or 0) > 0


def test_version_is_that_of_the_project():
    project = tomllib.loads((PROJECT_FOLDER / "pyproject.toml").read_text("utf-8"))["project"]

    assert shown().values("jeton_build_info", "version") == {project["version"]: 1}


# --- the format ---


def test_answer_repeats_the_question_and_says_its_format():
    answer = Pool().ask(AskMetrics(ask=9))

    assert isinstance(answer, MetricsText)
    assert answer.ask == 9
    assert answer.content_type.startswith("text/plain; version=")


def test_names_follow_prometheus_conventions():
    for name, family in scrape(Pool()).families.items():
        assert name.startswith("jeton_")
        assert family.documentation
        if family.type == "histogram":
            assert name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)


def test_hostile_name_of_a_model_stays_a_label():
    name = 'a"} 1\njeton_fake{x="\\'

    seen = shown(models=(name,))

    assert seen.value("jeton_generations_accepted_total", model=name) == 0
    assert not any(family.startswith("jeton_fake") for family in seen.families)
