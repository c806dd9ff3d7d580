"""What a journal says: the fold of its rows, and whatever in them cannot be. Knows no files and no sockets."""

from dataclasses import dataclass, field

from webapp.pool.journal_records import AcceptedRow, Record, SegmentRow, Totals, count_row
from webapp.wire.generation import Delta, Failed, Finished, Started
from webapp.wire.messages import Submit


@dataclass
class RecordedGeneration:
    """One generation as the journal has it. Times are seconds of one clock."""

    submit: Submit
    accepted_at: float
    started_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    ended_at: float | None = None
    # What the last engine that took it has said.
    started: Started | None = None
    # The numbered events; event id n is at index n - 1.
    events: list[Delta | Finished | Failed] = field(default_factory=list)
    # When each of them was kept.
    event_times: list[float] = field(default_factory=list)
    completion_tokens: int = 0

    @property
    def generation_id(self) -> str:
        return self.submit.generation_id

    @property
    def text(self) -> str:
        """All of its text so far."""
        return "".join(event.text for event in self.events if isinstance(event, Delta))

    @property
    def end(self) -> Finished | Failed | None:
        """How it ended; None while it has not."""
        last = self.events[-1] if self.events else None
        return None if isinstance(last, Delta) else last

    def take(self, event: Started | Delta | Finished | Failed, at: float) -> str | None:
        """Take its next event; what is wrong with it, where something is."""
        problem = self._problem(event)
        if problem and (self.end or isinstance(event, Delta)):
            # A text with a hole would be wrong for ever; one that stops before it is made again from there.
            return problem
        if isinstance(event, Started):
            self.started_at = self.started_at or at
            self.started = event
            return problem
        self.events.append(event)
        self.event_times.append(at)
        if isinstance(event, Delta):
            self.first_token_at = self.first_token_at or at
            self.last_token_at = at
            self.completion_tokens += len(event.token_ids)
        else:
            self.ended_at = at
        return problem

    def move(self, seconds: float) -> None:
        """Shift all its moments: they are given in those of another clock."""
        self.accepted_at += seconds
        self.started_at = _moved(self.started_at, seconds)
        self.first_token_at = _moved(self.first_token_at, seconds)
        self.last_token_at = _moved(self.last_token_at, seconds)
        self.ended_at = _moved(self.ended_at, seconds)
        self.event_times = [at + seconds for at in self.event_times]

    def _problem(self, event: Started | Delta | Finished | Failed) -> str | None:
        if self.end:
            return f"{type(event).__name__} after its end"
        match event:
            case Delta(position=position) if position != self.completion_tokens:
                return f"position {position}, where {self.completion_tokens} was next"
            case Finished(usage=usage) if usage.completion_tokens < self.completion_tokens:
                return f"{usage.completion_tokens} tokens at its end, where {self.completion_tokens} were sent"
            case _:
                return None


def _moved(at: float | None, seconds: float) -> float | None:
    return None if at is None else at + seconds


class Recording:
    """The fold of all records, in order."""

    def __init__(self) -> None:
        self.generations: dict[str, RecordedGeneration] = {}
        self.totals = Totals()
        self.problems: list[str] = []

    def take(self, record: Record, at: float) -> None:
        """Take the next record, whose moment is `at`."""
        for row in record.rows:
            if isinstance(row, SegmentRow):
                self.totals = row.totals
                continue
            if counted := count_row(row):
                self.totals += counted
            if isinstance(row, AcceptedRow):
                self._accept(row.submit, at)
            else:
                self._take_event(row.generation_id, row.event, at)

    def move(self, seconds: float) -> None:
        """Shift all moments by so much, where that is anything."""
        for generation in self.generations.values() if seconds else ():
            generation.move(seconds)

    def unended(self) -> list[RecordedGeneration]:
        """Those that go on, or would."""
        return [generation for generation in self.generations.values() if generation.end is None]

    def _accept(self, submit: Submit, at: float) -> None:
        if submit.generation_id in self.generations:
            self.problems.append(f"{submit.generation_id}: accepted twice")
        self.generations[submit.generation_id] = RecordedGeneration(submit, at)

    def _take_event(self, generation_id: str, event: Started | Delta | Finished | Failed, at: float) -> None:
        generation = self.generations.get(generation_id)
        # Its beginning may have been in a file that is deleted by now: then it is forgotten.
        if generation and (problem := generation.take(event, at)):
            self.problems.append(f"{generation_id}: {problem}")
