"""One generation as the pool keeps it: its request, its events so far, its readers. Knows no sockets.

The events are numbered 1, 2, 3, … and kept until the generation is forgotten, so that any reader can
take up where it left off. Their number is bounded by the model's sequence length.
"""

from array import array
from dataclasses import dataclass, field

import msgspec

from webapp.catalog import CatalogEntry
from webapp.pool.recording import RecordedGeneration
from webapp.wire.generation import (
    Delta,
    Failed,
    Finished,
    GenerationEvent,
    GenerationRequest,
    Started,
    Timings,
    Usage,
)
from webapp.wire.messages import Published, Submit

# Rough sizes: by sys.getsizeof an event with one token id has 203 bytes, and its places in two lists and an array 24
# more.
BYTES_PER_GENERATION = 2000
BYTES_PER_PIECE = 300
# What the loss of an engine says against a generation that ran on it. One that was killed may have been killed from
# outside: a crash makes a suspect at once and a second one fails it; it takes two kills in a row, and five.
CRASH_BLAME, KILL_BLAME = 5, 2
SUSPECT_BLAME, POISON_BLAME = 4, 10

# What identifies a web process to the pool: its ZeroMQ routing id.
ReaderId = bytes


@dataclass
class Generation:
    """A submitted generation, from its acceptance until it is forgotten. Times are monotonic seconds."""

    submit: Submit
    accepted_at: float
    # The engine that serves it and the number of that dispatch; None while it waits and after its end.
    engine_id: str | None = None
    lease: int | None = None
    # What speaks against it since it last made a token: see `note_loss`.
    blame: int = 0
    # It ran when its engine was lost: its reader has already waited once, and it goes before all others.
    is_interrupted: bool = False
    dispatched_at: float | None = None
    # When it was given to its present engine, and how many of that one's heartbeats since have not named it.
    given_at: float = 0.0
    missing_beats: int = 0
    # The numbered events; event id n is at index n - 1.
    events: list[Delta | Finished | Failed] = field(default_factory=list)
    # When each of them was published, never before the one before it. An array: a list of floats takes four times that.
    event_times: "array[float]" = field(default_factory=lambda: array("d"))
    # The last event that is not numbered: place in line, loading, started.
    status: GenerationEvent | None = None
    readers: set[ReaderId] = field(default_factory=set)
    reader_left_at: float | None = None
    ended_at: float | None = None
    # An earlier pool accepted it.
    is_recovered: bool = False
    # Made by the pool itself, to see that an engine works; nobody reads it.
    is_probe: bool = False
    # What the last engine that took it has said.
    started: Started | None = None
    token_ids: list[int] = field(default_factory=list)
    first_token_at: float | None = None
    last_token_at: float | None = None

    @classmethod
    def from_record(cls, record: RecordedGeneration, *, reader_left_at: float) -> "Generation":
        """The generation an earlier pool has kept. Its readers are unknown; one that has not ended is interrupted."""
        generation = cls(
            record.submit,
            record.accepted_at,
            is_interrupted=record.started_at is not None,
            is_recovered=True,
            dispatched_at=record.started_at,
            reader_left_at=reader_left_at,
            ended_at=record.ended_at,
            started=record.started,
            first_token_at=record.first_token_at,
            last_token_at=record.last_token_at,
        )
        for event, at in zip(record.events, record.event_times, strict=True):
            generation.append(event, at)
        return generation

    @property
    def generation_id(self) -> str:
        return self.submit.generation_id

    @property
    def prompt_tokens(self) -> int:
        """0 until an engine has read its prompt."""
        return self.started.prompt_tokens if self.started else 0

    @property
    def end(self) -> Finished | Failed | None:
        """How it ended; None while it has not."""
        last = self.events[-1] if self.events else None
        return None if isinstance(last, Delta) else last

    @property
    def has_page(self) -> bool:
        """A page shows it, whose reader may come back to it, and share it."""
        return self.submit.grace_seconds > 0

    @property
    def is_suspect(self) -> bool:
        """Engines were lost under it and it has made no token since: it may be what loses them."""
        return self.blame >= SUSPECT_BLAME

    @property
    def is_poison(self) -> bool:
        """It has been given chances enough, most of them alone."""
        return self.blame >= POISON_BLAME

    @property
    def is_ended(self) -> bool:
        return self.ended_at is not None

    @property
    def approximate_bytes(self) -> int:
        """The memory it takes, roughly: what bounds how many are kept."""
        request = self.submit.request
        prompt = sum(map(len, request.texts()))
        calls = sum(len(message.tool_calls) for message in request.messages)
        pieces = len(self.events) + len(request.messages) + calls + len(request.tools)
        if request.logprobs is not None:
            # Each token, and so many at its place.
            pieces += len(self.token_ids) * (1 + request.logprobs)
        # The texts of tokens are in a piece's bytes; vectors are longer.
        vectors = sum(len(event.text) for event in self.events if isinstance(event, Delta)) if request.inputs else 0
        return BYTES_PER_GENERATION + 4 * prompt + BYTES_PER_PIECE * pieces + vectors

    def note_loss(self, *, is_crash: bool) -> None:
        """An engine was lost under it."""
        self.blame += CRASH_BLAME if is_crash else KILL_BLAME

    def append(self, event: Delta | Finished | Failed, at: float) -> Published:
        """Number the event, published at this moment, and keep it."""
        self.events.append(event)
        self.event_times.append(at)
        if isinstance(event, Delta):
            self.token_ids.extend(event.token_ids)
            self.blame = 0
        return Published(self.generation_id, len(self.events), event)

    def timings(self, now: float) -> Timings:
        """Its durations, where it ends now."""
        first = self.first_token_at or now
        return Timings((self.dispatched_at or now) - self.accepted_at, first - self.accepted_at, now - first)

    def describe_end(self, event: Finished | Failed, now: float) -> dict[str, str | int | float]:
        """What the log says of its end: ids, counts and durations in seconds, never a text."""
        timings = self.timings(now)
        end = {"finish_reason": event.finish_reason} if isinstance(event, Finished) else {"code": event.code}
        return {
            "generation_id": self.generation_id,
            **end,
            "model": self.submit.request.model,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": len(self.token_ids),
            "queue_time": round(timings.queue_time, 3),
            "time_to_first_token": round(timings.time_to_first_token, 3),
            "decode_time": round(timings.decode_time, 3),
        }

    def usage(self) -> Usage:
        """The tokens so far."""
        return Usage(self.prompt_tokens, len(self.token_ids))

    def replay(self, after: int) -> list[Published]:
        """What a reader who has seen the events up to `after` needs now: the present status first, then the rest."""
        status = [Published(self.generation_id, 0, self.status)] if self.status and not self.is_ended else []
        return status + [
            Published(self.generation_id, event_id, event)
            for event_id, event in enumerate(self.events[after:], start=after + 1)
        ]


def make_probe(entry: CatalogEntry, now: float) -> Generation:
    """A generation of one token, or of one vector, which shows that an engine works."""
    request = GenerationRequest(model=entry.name, context_window=entry.context_window, max_tokens=1, seed=1)
    asked = {"inputs": ("Hi",)} if entry.task == "text-embeddings" else {"prompt": "Hi"}
    request = msgspec.structs.replace(request, **asked)
    submit = Submit(ask=0, generation_id="probe", owner="", client="", request=request, grace_seconds=0.0)
    return Generation(submit, now, is_probe=True)
