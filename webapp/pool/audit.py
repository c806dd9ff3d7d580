"""`python -m webapp audit`: whether every accepted generation is whole, by the journal and by what the pool replays.

Reads the journal as it lies there, also while a pool writes it. Changes nothing.
"""

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from webapp.pool.journal import segment_paths
from webapp.pool.journal_records import Totals, read_records
from webapp.pool.recording import RecordedGeneration, Recording
from webapp.settings import Settings
from webapp.wire.codec import decode_pool_to_web, encode
from webapp.wire.generation import Delta, Failed, Finished
from webapp.wire.messages import Attach, Detach, Gone, PoolToWeb, Published, WebToPool

# How long a pool that runs may take to say something.
PATIENCE_SECONDS = 2.0


@dataclass
class Audit:
    """What was looked at, and every difference that was found."""

    totals: Totals
    generations: dict[str, RecordedGeneration]
    problems: list[str]
    torn_bytes: int = 0
    # Ended generations whose replay by the running pool was compared with the journal; None where no pool runs.
    compared: int | None = None

    def describe(self) -> str:
        """The report, in a few lines; no text of a generation."""
        totals = self.totals
        pool = "no pool runs" if self.compared is None else f"{self.compared} replays compared with the running pool"
        lines = [
            f"accepted {totals.accepted} = finished {totals.finished} + aborted {totals.aborted} "
            f"+ failed {totals.failed} + running {totals.running}",
            f"{len(self.generations)} generations kept, "
            f"{sum(generation.completion_tokens for generation in self.generations.values())} tokens; {pool}",
        ]
        if self.torn_bytes:
            lines.append(f"the last record is not whole: {self.torn_bytes} bytes, which the next start makes again")
        lines += [f"wrong: {problem}" for problem in self.problems]
        lines.append(f"{len(self.problems)} differences" if self.problems else "clean")
        return "\n".join(lines)


def read_generations(folder: Path) -> dict[str, RecordedGeneration]:
    """The generations in a journal's folder, by id."""
    return audit_journal(folder).generations


def audit_journal(folder: Path) -> Audit:
    """What the journal alone tells."""
    recording = Recording()
    torn_bytes = 0
    paths = segment_paths(folder)
    for path in paths:
        try:
            records, size = list(read_records(path)), path.stat().st_size
        except FileNotFoundError:
            # The pool has just deleted it, with all it spoke of.
            continue
        for record, _ in records:
            recording.take(record, record.at)
        end = records[-1][1] if records else 0
        torn_bytes = size - end
        if torn_bytes and path is not paths[-1]:
            recording.problems.append(f"{path.name}: cannot be read from byte {end} on")
    unended = len(recording.unended())
    if unended != recording.totals.running:
        recording.problems.append(f"{recording.totals.running} should be running, {unended} have no end")
    return Audit(recording.totals, recording.generations, recording.problems, torn_bytes)


def audit(settings: Settings) -> Audit:
    """The journal, and the replays of the pool where one runs."""
    report = audit_journal(settings.journal_dir)
    with _PoolLine(settings.web_address) as pool:
        if pool.is_up():
            report.compared = 0
            for generation in report.generations.values():
                _compare(generation, pool, report)
    return report


def _compare(generation: RecordedGeneration, pool: "_PoolLine", report: Audit) -> None:
    """Only ended ones: to read one that runs would count as a reader of it."""
    assert report.compared is not None
    if generation.end is None:
        return
    events = pool.replay(generation)
    # The pool may have forgotten it since.
    if events is None:
        return
    report.compared += 1
    if events != generation.events:
        report.problems.append(f"{generation.generation_id}: the pool replays something else than the journal has")


@dataclass
class _PoolLine:
    """What a web process would say and hear."""

    address: str
    _asks: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def __enter__(self) -> "_PoolLine":
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.setsockopt(zmq.LINGER, 0)
        self._socket.connect(self.address)
        return self

    def __exit__(self, *error: object) -> None:
        self._context.destroy()

    def is_up(self) -> bool:
        """Whether a pool answers."""
        # To a question about nothing the answer is Gone.
        self._send(Attach(ask=next(self._asks), generation_id="", owner="", after=0))
        return any(isinstance(message, Gone) for message in self._messages())

    def replay(self, generation: RecordedGeneration) -> list[Delta | Finished | Failed] | None:
        """What the pool has of an ended generation; None where it has forgotten it, or does not say all in time."""
        ask = next(self._asks)
        submit = generation.submit
        self._send(Attach(ask=ask, generation_id=submit.generation_id, owner=submit.owner, after=0))
        events: list[Delta | Finished | Failed] = []
        for message in self._messages():
            match message:
                case Gone(ask=answered) if answered == ask:
                    return None
                case Published(event=Delta() | Finished() | Failed() as event):
                    events.append(event)
                    if not isinstance(event, Delta):
                        self._send(Detach(submit.generation_id))
                        return events
                case _:
                    pass
        return None

    def _send(self, message: WebToPool) -> None:
        self._socket.send(encode(message))

    def _messages(self) -> Iterator[PoolToWeb]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while self._socket.poll(max(0, round(1000 * (deadline - time.monotonic())))):
            yield from decode_pool_to_web(self._socket.recv())


def main(settings: Settings) -> int:
    """The entry of `python -m webapp audit`: prints the report; 1 where anything is wrong."""
    report = audit(settings)
    print(report.describe())
    return 1 if report.problems else 0
