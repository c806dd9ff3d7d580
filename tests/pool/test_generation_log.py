"""One generation as the pool keeps it: numbers, counts, durations, replay."""

import pytest
from msgspec.structs import replace

from tests.harness import SCRIPTED_MODELS
from tests.pool.driving import generation
from webapp.catalog import read_catalog
from webapp.pool.generation_log import make_probe
from webapp.wire.generation import Delta, Finished, Message, Queued, Timings, Tool, ToolCall, Usage

END = Finished("stop", Usage(3, 3))


def test_events_are_numbered_from_one_without_a_gap() -> None:
    kept = generation("g")

    published = [kept.append(Delta(0, "a", (7,)), 2.0), kept.append(Delta(1, "b", (8, 9)), 3.0), kept.append(END, 3.0)]

    assert [each.event_id for each in published] == [1, 2, 3]
    assert kept.token_ids == [7, 8, 9]
    assert kept.usage() == Usage(0, 3)


def test_token_clears_the_suspicion_that_a_lost_engine_left() -> None:
    kept = generation("g")
    kept.note_loss(is_crash=True)
    assert kept.is_suspect

    kept.append(Delta(0, "a", (7,)), 2.0)

    assert not kept.is_suspect


@pytest.mark.parametrize("after", [0, 1, 2, 3])
def test_replay_gives_only_later_events(after: int) -> None:
    kept = generation("g")
    for event in (Delta(0, "a", (7,)), Delta(1, "b", (8,)), END):
        kept.append(event, 2.0)
    kept.ended_at = 5.0

    assert [each.event_id for each in kept.replay(after)] == [1, 2, 3][after:]


def test_replay_begins_with_the_present_status_while_the_generation_lives() -> None:
    kept = generation("g")
    kept.status = Queued(4)
    kept.append(Delta(0, "a", (7,)), 2.0)

    assert [(each.event_id, each.event) for each in kept.replay(0)] == [(0, Queued(4)), (1, Delta(0, "a", (7,)))]

    kept.ended_at = 5.0
    assert [each.event_id for each in kept.replay(0)] == [1]


def test_timings_span_waiting_first_token_and_decoding() -> None:
    kept = generation("g", accepted_at=10.0)
    kept.dispatched_at, kept.first_token_at = 12.0, 15.0

    assert kept.timings(21.0) == Timings(queue_time=2.0, time_to_first_token=5.0, decode_time=6.0)


def test_generation_that_never_ran_has_only_waited() -> None:
    kept = generation("g", accepted_at=10.0)

    assert kept.timings(14.0) == Timings(queue_time=4.0, time_to_first_token=4.0, decode_time=0.0)


@pytest.mark.parametrize(("task", "asks_for"), [("text-generation", ("Hi", ())), ("text-embeddings", (None, ("Hi",)))])
def test_probe_asks_for_what_the_model_makes(task: str, asks_for: tuple[str | None, tuple[str, ...]]) -> None:
    entry = read_catalog(SCRIPTED_MODELS).find("@jeton/scripted")

    request = make_probe(replace(entry, task=task), 0.0).submit.request

    assert (request.prompt, request.inputs, request.max_tokens) == (*asks_for, 1)


def test_memory_of_a_generation_counts_its_texts_and_vectors() -> None:
    kept = generation("g")
    small = kept.approximate_bytes
    kept.submit = replace(kept.submit, request=replace(kept.submit.request, inputs=("x" * 1000,)))
    kept.append(Delta(0, "v" * 2000, (0,)), 2.0)

    assert kept.approximate_bytes >= small + 3000


@pytest.mark.parametrize(
    "long",
    [
        {"json_schema": "x" * 1000},
        {"tools": (Tool("a", "x" * 500, "x" * 500),)},
        {"tools": (Tool("a"),) * 10},
        {"messages": (Message("assistant", "", (ToolCall("a", "x" * 1000),)),)},
        {"messages": (Message("assistant", "", (ToolCall("a", "{}"),) * 10),)},
        {"stop": ("x" * 1000,)},
    ],
    ids=["schema", "tool", "many tools", "arguments", "many calls", "stop"],
)
def test_memory_of_a_generation_counts_all_that_can_be_long(long: dict[str, object]) -> None:
    kept = generation("g")
    small = kept.approximate_bytes

    kept.submit = replace(kept.submit, request=replace(kept.submit.request, **long))

    assert kept.approximate_bytes >= small + 1000
