"""Generations that run at once, their readers, and the verdict on what these have seen."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.answers import Asked
from tests.chaos.event_source import EventSource
from tests.chaos.readers import Readers
from tests.chaos.site import Site
from tests.harness import wait_until

FLOWING_SECONDS = 60.0
LOOK_SECONDS = 0.02


@dataclass
class Stream:
    """One generation that was asked for, and its reader."""

    asked: Asked
    source: EventSource

    @property
    def generation_id(self) -> str:
        return self.source.path.split("/")[2]

    @property
    def loss(self) -> str | None:
        """Why its reader did not get to the end of it; None where it did."""
        seen = self.source.seen
        if seen.has_gone:
            return f"gone after event {seen.last_id}"
        if seen.skipped:
            return f"{seen.skipped} events were skipped"
        if not seen.ends:
            return f"no end after event {seen.last_id}; closing status {self.source.closing_status}"
        if self.source.closing_status != 204:
            return f"status {self.source.closing_status} after its end, not 204"
        return None

    def mistake(self, journalled: str | None) -> str | None:
        """What is wrong with what its reader has seen, also beside the journal's text; None where nothing is."""
        seen, asked = self.source.seen, self.asked
        if seen.error_code != asked.error_code:
            return f"error {seen.error_code}, not {asked.error_code}, after event {seen.last_id}"
        if seen.ends > 1:
            return f"{seen.ends} end marks"
        if asked.text is not None and seen.text != asked.text:
            return f"another text than was asked for, from character {_common_length(seen.text, asked.text)} on"
        if journalled is not None and seen.text != journalled:
            return f"another text than the journal's, from character {_common_length(seen.text, journalled)} on"
        if not asked.error_code and (seen.usage or {}).get("finish_reason") not in ("stop", "length"):
            return f"it finished with {seen.usage}"
        return None


@dataclass
class Verdict:
    """What came of some streams: counts of streams, but `doubled` counts events. Seconds; `reasons` says why."""

    streams: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    reconnects: int = 0
    cut_offs: int = 0
    longest_stall: float = 0.0
    reasons: list[str] = field(default_factory=list)

    @property
    def is_unbroken(self) -> bool:
        return not (self.lost or self.doubled or self.wrong)

    def take(self, streams: Iterable[Stream], journalled: Mapping[str, str]) -> None:
        """Take in streams whose readers are done. `journalled` has the texts that the journal has, by generation."""
        for stream in streams:
            self._add(stream, journalled.get(stream.generation_id))

    def _add(self, stream: Stream, journalled: str | None) -> None:
        source = stream.source
        loss = stream.loss
        mistake = None if loss else stream.mistake(journalled)
        self.streams += 1
        self.lost += bool(loss)
        self.wrong += bool(mistake)
        self.doubled += source.seen.doubled
        self.reconnects += source.reconnects
        self.cut_offs += source.cut_offs
        self.longest_stall = max(self.longest_stall, *source.seen.gaps, 0.0)
        doubled = f"{source.seen.doubled} events twice" if source.seen.doubled else None
        for reason in filter(None, (loss, mistake, doubled, *source.notes)):
            self.reasons.append(f"{stream.generation_id}: {reason}")


class Wave:
    """Some generations, submitted one after the other and read at once: by the site's readers, or by others."""

    def __init__(self, site: Site, asked: Iterable[Asked], *, readers: Readers | None = None) -> None:
        self._site = site
        self.streams = [begin(site, one, readers=readers) for one in asked]

    @property
    def gap_p99(self) -> float:
        """The seconds between two events that one gap in a hundred exceeds."""
        gaps = sorted(gap for stream in self.streams for gap in stream.source.seen.gaps)
        return gaps[int(0.99 * len(gaps))]

    def wait_until_flowing(self) -> None:
        """Wait until every reader has seen some text, or the end of what has none."""
        wait_until(
            lambda: all(stream.source.seen.last_id or stream.source.is_closed for stream in self.streams),
            FLOWING_SECONDS,
            lambda: f"some streams do not flow:\n{self._site.server.output[-3000:]}",
        )

    def wait_until_closed(self, seconds: float) -> None:
        """Wait until every reader is done, or so long; one that is not done by then has lost its stream."""
        wait_until_closed(self.streams, seconds)

    def verdict(self) -> Verdict:
        """On streams that are closed. Beside the text that was asked for, each has to have the journal's."""
        verdict = Verdict()
        verdict.take(self.streams, self._site.journalled_texts())
        return verdict


def begin(site: Site, asked: Asked, *, readers: Readers | None = None) -> Stream:
    """Submit one generation, and begin to read it."""
    source = EventSource(*site.submit(asked.form))
    (readers or site.readers).open(source)
    return Stream(asked, source)


def wait_until_closed(streams: Sequence[Stream], seconds: float) -> None:
    """Wait until every reader is done, or so long; one that is not done by then has lost its stream."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not all(stream.source.is_closed for stream in streams):
        time.sleep(LOOK_SECONDS)
    for stream in streams:
        stream.source.is_closed = True


def _common_length(text: str, other: str) -> int:
    pairs = zip(text, other, strict=False)
    return next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(text), len(other)))
