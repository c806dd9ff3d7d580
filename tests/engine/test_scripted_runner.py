"""The scripted runner keeps a runner's promises: one end for each generation, resumable, fenced by leases."""

import json
import os
import signal
import time

import msgspec
import pytest

from webapp.catalog import CatalogEntry, Weights
from webapp.engine import scripted_runner
from webapp.engine.scripted_runner import END_ID, ScriptedRunner, load_scripted
from webapp.wire.generation import (
    Delta,
    EngineEvent,
    Failed,
    Finished,
    GenerationRequest,
    Message,
    Started,
    Tool,
    ToolCall,
    Usage,
)
from webapp.wire.messages import Dispatch

ENTRY = CatalogEntry(
    name="@jeton/scripted",
    title="",
    description="",
    weights=Weights(scripted=True),
    precision="scripted",
    context_window=100,
    sequence_length=100,
    slots=2,
)


class Clock:
    """The time as the runner sees it; a sleep only moves it on."""

    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(scripted_runner, "time", made)
    return made


@pytest.fixture
def runner(clock: Clock) -> ScriptedRunner:
    return ScriptedRunner(ENTRY)


def test_load_takes_its_time_and_says_how_far_it_is(clock: Clock) -> None:
    slow = msgspec.structs.replace(ENTRY, weights=Weights(scripted=True, load_seconds=1.0))
    progress: list[float] = []

    runner = load_scripted(slow, progress.append)

    assert clock.now == pytest.approx(101.0, abs=0.1)
    assert progress == sorted(progress) and progress[0] == 0.0 and 0.9 < progress[-1] < 1.0
    assert runner.capacity == ENTRY.slots


def test_load_without_a_time_takes_none(clock: Clock) -> None:
    load_scripted(ENTRY, lambda fraction: None)

    assert clock.slept == []


def dispatch(
    script: object = None,
    *,
    lease: int = 1,
    prompt: str | None = None,
    max_tokens: int = 50,
    seed: int = 1,
    token_ids: tuple[int, ...] = (),
    stop: tuple[str, ...] = (),
    context_window: int = 100,
    logprobs: int | None = None,
    messages: tuple[Message, ...] = (),
    tools: tuple[Tool, ...] = (),
    json_schema: str | None = None,
) -> Dispatch:
    if prompt is None and not messages:
        prompt = json.dumps(script or {})
    request = GenerationRequest(
        model=ENTRY.name,
        context_window=context_window,
        max_tokens=max_tokens,
        seed=seed,
        prompt=prompt,
        messages=messages,
        stop=stop,
        logprobs=logprobs,
        tools=tools,
        json_schema=json_schema,
    )
    return Dispatch(generation_id=f"g{lease}", lease=lease, request=request, token_ids=token_ids)


def to_end(runner: ScriptedRunner, *, steps: int = 1000) -> list[EngineEvent]:
    """Everything until nothing runs any more."""
    events: list[EngineEvent] = []
    while runner.leases and steps:
        steps -= 1
        events += [row.event for row in runner.step()]
    assert not runner.leases
    return events


def text(events: list[EngineEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, Delta))


def token_ids(events: list[EngineEvent]) -> list[int]:
    return [token_id for event in events if isinstance(event, Delta) for token_id in event.token_ids]


def test_script_says_its_pieces_one_token_each(runner: ScriptedRunner) -> None:
    started = runner.start(dispatch({"pieces": ["New", " York", " is"]}))
    events = to_end(runner)

    assert isinstance(started.event, Started) and started.lease == 1
    assert events[:-1] == [Delta(0, "New", (0,)), Delta(1, " York", (1,)), Delta(2, " is", (2,))]
    assert events[-1] == Finished("stop", Usage(started.event.prompt_tokens, 4))


def test_max_tokens_end_it_sooner(runner: ScriptedRunner) -> None:
    runner.start(dispatch({"pieces": ["a", "b", "c"]}, max_tokens=2))

    events = to_end(runner)

    assert text(events) == "ab"
    assert isinstance(events[-1], Finished) and events[-1].finish_reason == "length"


def test_stop_sequence_ends_it_and_is_not_said(runner: ScriptedRunner) -> None:
    runner.start(dispatch({"pieces": ["a", "ST", "OP", "b"]}, stop=("STOP",)))

    events = to_end(runner)

    assert text(events) == "a"
    assert isinstance(events[-1], Finished) and events[-1].finish_reason == "stop"


@pytest.mark.parametrize(
    "prompt", ["Where is New York?", "[1, 2]", '{"unknown": 1}', '{"tokens": "x"}', "", "{" * 9999]
)
def test_prompt_that_is_no_script_is_answered_with_words(runner: ScriptedRunner, prompt: str) -> None:
    runner.start(dispatch(prompt=prompt, max_tokens=20))

    assert len(token_ids(to_end(runner))) == 20


@pytest.mark.parametrize("cut", range(4))
def test_calls_of_offered_tools_are_taken_out_wherever_it_was_cut(runner: ScriptedRunner, cut: int) -> None:
    pieces = ["So: ", "<tool_call>\n", '{"name": "f", "arguments": {"a": 1}}', "\n</tool_call>"]
    runner.start(dispatch({"pieces": pieces}, tools=(Tool("f"),), token_ids=tuple(range(cut))))

    deltas = [event for event in to_end(runner) if isinstance(event, Delta)]

    assert text([*deltas]) == ("" if cut else "So:")
    assert [call for delta in deltas for call in delta.tool_calls] == [ToolCall("f", '{"a": 1}')] * (cut < 3)
    assert token_ids([*deltas]) == list(range(cut, 3))


def test_a_script_is_said_as_it_is_without_tools_and_whatever_the_schema(runner: ScriptedRunner) -> None:
    runner.start(dispatch({"pieces": ['<tool_call>{"name": "f"}']}, json_schema='{"type": "number"}'))

    assert text(to_end(runner)) == '<tool_call>{"name": "f"}'


@pytest.mark.parametrize("count", [0, 1, 3, 20])
def test_log_probabilities_are_said_when_asked_for(runner: ScriptedRunner, count: int) -> None:
    runner.start(dispatch({"pieces": ["é", "b"]}, logprobs=count, lease=1))
    runner.start(dispatch({"pieces": ["é", "b"]}, lease=2))

    events = [(row.lease, row.event) for _ in range(3) for row in runner.step()]

    said = [event for lease, event in events if lease == 1 and isinstance(event, Delta)]
    assert [one.token_bytes for delta in said for one in delta.logprobs] == ["é".encode(), b"b"]
    assert all(len(one.top) == min(count, 3) for delta in said for one in delta.logprobs)
    assert all(one.top == () or one.top[0].token_id == one.token_id for delta in said for one in delta.logprobs)
    assert not any(event.logprobs for lease, event in events if lease == 2 and isinstance(event, Delta))


def test_last_message_is_the_script(runner: ScriptedRunner) -> None:
    messages = (Message("system", '{"pieces": ["no"]}'), Message("user", '{"pieces": ["yes"]}'))
    runner.start(dispatch(messages=messages))

    assert text(to_end(runner)) == "yes"


def test_same_seed_gives_the_same_words_and_another_seed_others() -> None:
    def words(seed: int) -> str:
        runner = ScriptedRunner(ENTRY)
        runner.start(dispatch({"tokens": 30}, seed=seed))
        return text(to_end(runner))

    assert words(1) == words(1) != words(2)


@pytest.mark.parametrize("cut", range(6))
def test_generation_goes_on_with_the_very_text_wherever_it_was_cut(cut: int) -> None:
    script = {"tokens": 5}
    whole, rest = ScriptedRunner(ENTRY), ScriptedRunner(ENTRY)
    whole.start(dispatch(script, seed=7))
    expected = to_end(whole)
    before = tuple(token_ids(expected)[:cut])

    rest.start(dispatch(script, seed=7, token_ids=before))
    events = to_end(rest)

    assert before + tuple(token_ids(events)) == tuple(token_ids(expected))
    assert text(events) == text(expected[cut:])
    assert events[0].position == cut if cut < 5 else isinstance(events[0], Finished)
    assert events[-1] == expected[-1]


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"token_ids": (0, 1, 2), "max_tokens": 3}, "length"), ({"token_ids": (0, END_ID)}, "stop")],
    ids=["at its length", "at its end"],
)
def test_generation_that_was_dispatched_complete_only_ends(
    runner: ScriptedRunner, given: dict[str, object], reason: str
) -> None:
    runner.start(dispatch({"pieces": ["a", "b", "c", "d"]}, **given))

    (end,) = to_end(runner)

    assert isinstance(end, Finished) and end.finish_reason == reason
    assert end.usage.completion_tokens == len(given["token_ids"])


def test_prompt_over_the_context_window_fails_by_name_and_takes_no_place(runner: ScriptedRunner) -> None:
    failed = runner.start(dispatch(prompt="one two three", context_window=2)).event

    assert isinstance(failed, Failed) and failed.code == "ContextWindowExceeded"
    assert runner.leases == ()
    assert isinstance(runner.start(dispatch(prompt="one two", context_window=2)).event, Started)


def test_generation_over_the_capacity_fails_and_leaves_the_others_alone(runner: ScriptedRunner) -> None:
    runner.start(dispatch(lease=1))
    runner.start(dispatch(lease=2))

    failed = runner.start(dispatch(lease=3)).event

    assert isinstance(failed, Failed) and failed.code == "EngineFull"
    assert runner.leases == (1, 2)


def test_abort_frees_the_place_at_once_and_says_nothing(runner: ScriptedRunner) -> None:
    runner.start(dispatch(lease=1))
    runner.start(dispatch(lease=2))

    runner.abort(1)
    runner.abort(99)

    assert runner.leases == (2,)
    assert {row.lease for row in runner.step()} == {2}
    assert isinstance(runner.start(dispatch(lease=3)).event, Started)


def test_generations_take_turns_in_one_step(runner: ScriptedRunner) -> None:
    runner.start(dispatch({"pieces": ["a", "b"]}, lease=1))
    runner.start(dispatch({"pieces": ["x", "y"]}, lease=2))

    assert [(row.lease, row.event.text) for row in runner.step()] == [(1, "a"), (2, "x")]


@pytest.mark.parametrize(
    ("name", "code"), [("fail_at", "EngineFailure"), ("out_of_memory_at", "OutOfMemory")], ids=["error", "memory"]
)
def test_scripted_failure_comes_after_so_many_tokens_and_alone(runner: ScriptedRunner, name: str, code: str) -> None:
    runner.start(dispatch({"pieces": ["a", "b", "c"], name: 2}, lease=1))
    runner.start(dispatch({"pieces": ["x", "y", "z"]}, lease=2))

    events = {1: [], 2: []}
    while runner.leases:
        for row in runner.step():
            events[row.lease].append(row.event)

    assert text(events[1]) == "ab"
    assert events[1][-1] == Failed(code, "scripted")
    assert isinstance(events[2][-1], Finished)


@pytest.mark.parametrize("name", ["crash_at", "hang_at"])
def test_scripted_crash_and_hang_come_after_so_many_tokens(
    runner: ScriptedRunner, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    calls: list[tuple[object, ...]] = []
    monkeypatch.setattr(os, "_exit", lambda code: calls.append(("exit", code)))
    monkeypatch.setattr(os, "kill", lambda pid, number: calls.append((pid, number)))
    runner.start(dispatch({"pieces": ["a", "b"], name: 1}))

    runner.step()
    assert calls == []
    runner.step()

    assert calls == [("exit", 70)] if name == "crash_at" else [(os.getpid(), signal.SIGSTOP)]


def test_steps_come_at_their_pace_after_the_prefill(runner: ScriptedRunner, clock: Clock) -> None:
    runner.start(dispatch({"tokens": 3, "step_seconds": 0.5, "prefill_seconds": 1.0}))
    moments = []
    while runner.leases:
        if runner.step():
            moments.append(round(clock.now - 100.0, 2))

    assert moments == [1.0, 1.5, 2.0, 2.5]
    assert max(clock.slept) <= scripted_runner.LONGEST_SLEEP_SECONDS


def test_what_is_due_soon_after_makes_one_step_and_each_keeps_its_pace(runner: ScriptedRunner, clock: Clock) -> None:
    runner.start(dispatch({"tokens": 3, "step_seconds": 0.1}, lease=1))
    clock.now += scripted_runner.STEP_WINDOW_SECONDS / 2
    runner.start(dispatch({"tokens": 3, "step_seconds": 0.1}, lease=2))

    steps = []
    while runner.leases:
        if rows := runner.step():
            steps.append((round(clock.now - 100.0, 2), [row.lease for row in rows]))

    assert steps == [(0.01, [1, 2]), (0.1, [1, 2]), (0.2, [1, 2]), (0.3, [1, 2])]


def test_stamps_are_the_moments_at_which_tokens_were_made() -> None:
    runner = ScriptedRunner(ENTRY)
    runner.start(dispatch({"stamps": True, "tokens": 5}))

    before = time.monotonic_ns()
    stamps = [int(stamp) for stamp in text(to_end(runner)).split()]

    assert len(stamps) == 5
    assert before <= min(stamps) and stamps == sorted(stamps) and max(stamps) <= time.monotonic_ns()


def test_step_with_nothing_to_run_returns_at_once(runner: ScriptedRunner, clock: Clock) -> None:
    assert runner.step() == []
    assert clock.slept == []
