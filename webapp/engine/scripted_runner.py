"""A runner without a model: it says what the prompt tells it to say, when it tells it to. Needs no torch.

For faults, order and exact texts that no real model can be made to produce on demand. A prompt that is a JSON
object is a script (see Script); any other prompt is answered with words drawn by (seed, position), as a
real model's tokens are, so that a generation goes on with the same words on another engine. Where a request has
tools, calls in Hermes' form are taken out of what it says.
"""

import heapq
import math
import os
import signal
import time
import zlib
from dataclasses import dataclass, field

import msgspec
from msgspec import Struct

from webapp.catalog import CatalogEntry
from webapp.engine.errors import ContextWindowExceeded, EngineError, NoFreeSlot, OutOfMemory
from webapp.engine.runner import LoadProgress
from webapp.engine.sequence import Sequence
from webapp.engine.tool_calls import HERMES, parser_for
from webapp.wire.generation import ChosenTokenLogprob, Failed, GenerationRequest, Started, TokenLogprob
from webapp.wire.messages import Dispatch, LeaseEvent

WORDS = ("jeton ", "le ", "petit ", "rond ", "de ", "métal ", "vaut ", "un ", "mot ", "🪙 ", "dit\n", "tout ")
END_ID = 1_000_000
# The longest sleep of a step, so that an abort is heard within it.
LONGEST_SLEEP_SECONDS = 0.01
# What is due this soon after the first makes one step with it: a model's tokens come by the batch, not one by one.
STEP_WINDOW_SECONDS = 0.02
LOAD_STEP_SECONDS = 0.05


class Script(Struct, frozen=True, forbid_unknown_fields=True):
    """What a generation does. Each `…_at` counts completion tokens before the event.

    `pieces` are the texts of its tokens, one each; without them, `tokens` words are drawn. With `stamps`, each
    word is the moment it was made, CLOCK_MONOTONIC in nanoseconds, and a space: what measures how late it comes.
    """

    pieces: tuple[str, ...] | None = None
    tokens: int = 100
    stamps: bool = False
    step_seconds: float = 0.0
    prefill_seconds: float = 0.0
    # The generation fails, with an error of its own or for want of memory.
    fail_at: int | None = None
    out_of_memory_at: int | None = None
    # The whole process ends, or stops until it is continued.
    crash_at: int | None = None
    hang_at: int | None = None


@dataclass
class ScriptedDetokenizer:
    """Text of a script's token ids; ids past the script's pieces are words."""

    script: Script

    def push(self, token_id: int) -> str:
        if self.script.pieces is not None:
            return self.script.pieces[token_id]
        return f"{time.monotonic_ns()} " if self.script.stamps else WORDS[token_id]

    def flush(self) -> str:
        return ""


@dataclass
class _Running:
    sequence: Sequence
    script: Script


@dataclass
class ScriptedRunner:
    """Runs scripts side by side, each at its own pace."""

    entry: CatalogEntry
    device: str = "none"
    precision: str = "scripted"
    memory_bytes: int = 0
    _running: dict[int, _Running] = field(default_factory=dict)
    # When each lease is due, soonest first; of leases that have ended, too.
    _due: list[tuple[float, int]] = field(default_factory=list)

    @property
    def capacity(self) -> int:
        return self.entry.slots

    @property
    def leases(self) -> tuple[int, ...]:
        return tuple(self._running)

    def start(self, dispatch: Dispatch) -> LeaseEvent:
        """Started, or Failed where the prompt is longer than the context window or no place is free."""
        request = dispatch.request
        prompt = _prompt(request)
        script = _script(prompt)
        prompt_ids = list(range(self.count_tokens(request)))
        try:
            if len(prompt_ids) > request.context_window:
                raise ContextWindowExceeded(
                    prompt_tokens=len(prompt_ids),
                    max_tokens=request.max_tokens,
                    context_window=request.context_window,
                )
            if len(self._running) >= self.capacity:
                raise NoFreeSlot("Every place of this engine is taken.")
        except EngineError as error:
            return LeaseEvent(dispatch.generation_id, dispatch.lease, Failed(error.code, str(error)))
        sequence = Sequence(
            dispatch,
            prompt_ids,
            ScriptedDetokenizer(script),
            frozenset({END_ID}),
            tool_calls=parser_for(request, HERMES),
        )
        self._running[dispatch.lease] = _Running(sequence, script)
        prefill_seconds = 0.0 if sequence.finish_reason else script.prefill_seconds
        heapq.heappush(self._due, (time.monotonic() + prefill_seconds, dispatch.lease))
        started = Started(len(prompt_ids), self.device, self.precision)
        return LeaseEvent(dispatch.generation_id, dispatch.lease, started)

    def abort(self, lease: int) -> None:
        self._running.pop(lease, None)

    def count_tokens(self, request: GenerationRequest) -> int:
        """As many as the prompt, or all messages together, have words."""
        texts = [request.prompt] if request.prompt is not None else [message.content for message in request.messages]
        return sum(len(text.split()) for text in texts)

    def step(self) -> list[LeaseEvent]:
        """The next token of every generation that is due, or nearly; sleeps a little where none is."""
        now = time.monotonic()
        if self._due and self._due[0][0] > now:
            time.sleep(min(self._due[0][0] - now, LONGEST_SLEEP_SECONDS))
            return []
        due: list[tuple[float, int]] = []
        while self._due and self._due[0][0] <= now + STEP_WINDOW_SECONDS:
            due.append(heapq.heappop(self._due))
        return [event for due_at, lease in due if lease in self._running for event in self._advance(lease, due_at, now)]

    def _advance(self, lease: int, due_at: float, now: float) -> list[LeaseEvent]:
        running = self._running[lease]
        sequence, script = running.sequence, running.script
        if sequence.finish_reason:
            del self._running[lease]
            return [sequence.end()]
        position = len(sequence.completion_ids)
        if position == script.crash_at:
            os._exit(70)
        if position == script.hang_at:
            os.kill(os.getpid(), signal.SIGSTOP)
        if position in (script.fail_at, script.out_of_memory_at):
            del self._running[lease]
            error = EngineError("scripted") if position == script.fail_at else OutOfMemory("scripted")
            return [LeaseEvent(sequence.dispatch.generation_id, lease, Failed(error.code, str(error)))]
        request = sequence.dispatch.request
        token_id = _next_token(request.seed, script, position)
        count = request.logprobs
        events = sequence.append(token_id, None if count is None else _logprob(token_id, script, count))
        if sequence.finish_reason:
            del self._running[lease]
        else:
            heapq.heappush(self._due, (max(now, due_at + script.step_seconds), lease))
        return events


def load_scripted(entry: CatalogEntry, on_progress: LoadProgress, *, device: str = "none") -> ScriptedRunner:
    """A runner that is there after the entry's `load_seconds`, with progress on the way; it says it is on `device`."""
    started_at = time.monotonic()
    while (seconds := time.monotonic() - started_at) < entry.weights.load_seconds:
        on_progress(seconds / entry.weights.load_seconds)
        time.sleep(LOAD_STEP_SECONDS)
    return ScriptedRunner(entry, device)


def _prompt(request: GenerationRequest) -> str:
    return request.prompt if request.prompt is not None else request.messages[-1].content


def _script(prompt: str) -> Script:
    try:
        return msgspec.json.decode(prompt, type=Script)
    except msgspec.MsgspecError:
        return Script()


def _next_token(seed: int, script: Script, position: int) -> int:
    length = script.tokens if script.pieces is None else len(script.pieces)
    if position >= length:
        return END_ID
    return (
        position
        if script.pieces is not None or script.stamps
        else zlib.crc32(f"{seed}:{position}".encode()) % len(WORDS)
    )


def _logprob(token_id: int, script: Script, count: int) -> ChosenTokenLogprob:
    """The token is the likeliest, each of the `count` after it half as likely as the one before."""
    vocabulary = range(len(WORDS if script.pieces is None else script.pieces))
    others = [other for other in (*vocabulary, END_ID) if other != token_id]
    ranked = [
        TokenLogprob(other, _token_bytes(other, script), -(rank + 1) * math.log(2))
        for rank, other in enumerate([token_id, *others][: max(count, 1)])
    ]
    chosen = ranked[0]
    return ChosenTokenLogprob(chosen.token_id, chosen.token_bytes, chosen.logprob, tuple(ranked[:count]))


def _token_bytes(token_id: int, script: Script) -> bytes:
    return b"<end>" if token_id == END_ID else ScriptedDetokenizer(script).push(token_id).encode()
