"""The journal: what the pool keeps on disk before it says it, so that a killed pool goes on where it was.

What is appended outlives this process at once; a thread brings it to the disk itself every 50 ms, so that a machine
that loses its power loses no more than that. A file is followed by the next when it is large, and deleted once every
generation in it is forgotten. Knows rows and files, nothing of what the rows mean.
"""

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from webapp.pool.disk_sync import DiskSync
from webapp.pool.journal_records import (
    AcceptedRow,
    GenerationRow,
    Record,
    SegmentRow,
    Totals,
    count_row,
    encode_record,
    read_records,
)

log = logging.getLogger(__name__)

SEGMENT_BYTES = 8 * 1024 * 1024
# Past this nothing new is accepted. A file is kept as long as any before it, so one generation that runs for long
# under many streams keeps theirs; to read so much back takes a minute or more.
MOST_BYTES = 2 * 1024 * 1024 * 1024
# How long a disk that has refused is left alone.
RETRY_SECONDS = 0.25
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass
class Segment:
    """One file, and the generations it speaks of that are not forgotten."""

    path: Path
    size: int = 0
    generation_ids: set[str] = field(default_factory=set)
    has_rows: bool = False


class Journal:
    """The files `00000001.journal`, `00000002.journal`, … of a folder that only this user can read.

    First `recover`, to the end, then `start`, then the others.
    """

    def __init__(self, folder: Path, *, segment_bytes: int = SEGMENT_BYTES) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        self.totals = Totals()
        self._folder = folder
        self._segment_bytes = segment_bytes
        self.boot_id = _BOOT_ID.read_text("ascii").strip()
        self._segments: list[Segment] = []
        self._folder_descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._descriptor: int | None = None
        # What the disk has not taken: nothing, while it is well.
        self._unwritten = bytearray()
        self._retry_at = 0.0
        self._sync = DiskSync()

    @property
    def is_failing(self) -> bool:
        """Whether what is appended now may be lost with this process, or there is too much of it."""
        return bool(self._unwritten) or self._sync.has_failed or self.size > MOST_BYTES

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(segment.size for segment in self._segments)

    @property
    def unwritten_bytes(self) -> int:
        """Bytes the disk has not taken."""
        return len(self._unwritten)

    @property
    def unsynced_seconds(self) -> float:
        """How long the oldest bytes have waited that a loss of power would take; 0 where there are none."""
        return self._sync.lag_seconds

    def recover(self) -> Iterator[Record]:
        """The records of earlier pools, in order. Cuts the end of a file off that was not written whole."""
        known: set[str] = set()
        for path in segment_paths(self._folder):
            segment = Segment(path)
            for record, segment.size in read_records(path):
                for row in record.rows:
                    if isinstance(row, SegmentRow):
                        self.totals = row.totals
                    else:
                        # Rows of a generation whose beginning is gone are of one that was forgotten.
                        self._note(segment, row, is_known=isinstance(row, AcceptedRow) or row.generation_id in known)
                        if isinstance(row, AcceptedRow):
                            known.add(row.generation_id)
                yield record
            self._segments.append(segment)
            _cut(segment)

    def start(self, now: float) -> None:
        """Begin a file of this pool's own, and bring to the disk what is written from now on."""
        self._sync.start()
        self._begin_segment(now)
        self._write(now)

    def append(self, rows: Sequence[GenerationRow], now: float) -> None:
        """Write what a turn has to keep. Where the disk refuses, it is kept here and tried again; see `is_failing`."""
        if rows:
            if self._segments[-1].size > self._segment_bytes and not self._unwritten:
                self._begin_segment(now)
            for row in rows:
                self._note(self._segments[-1], row)
            self._add(Record(now, rows))
        if self._unwritten and now >= self._retry_at:
            self._write(now)

    def forget(self, generation_ids: Iterable[str], now: float) -> None:
        """These generations are needed no more: delete the oldest files, as far as they speak of no other.

        In order, so that whatever is left of a generation is never its beginning alone.
        """
        forgotten = frozenset(generation_ids)
        for segment in self._segments:
            segment.generation_ids -= forgotten
        current = self._segments[-1]
        if current.has_rows and not current.generation_ids and not self._unwritten:
            # What was typed stays no longer than it has to.
            self._begin_segment(now)
            self._write(now)
        # The newest file holds the totals: where it could not be written, the others stay.
        while not self._unwritten and len(self._segments) > 1 and not self._segments[0].generation_ids:
            self._segments.pop(0).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Bring all of it to the disk. Idempotent."""
        self._sync.close()

    def _note(self, segment: Segment, row: GenerationRow, *, is_known: bool = True) -> None:
        segment.has_rows = True
        if is_known:
            segment.generation_ids.add(row.generation_id)
        if counted := count_row(row):
            self.totals += counted

    def _begin_segment(self, now: float) -> None:
        number = int(self._segments[-1].path.stem) + 1 if self._segments else 1
        if self._descriptor is not None:
            self._sync.finish(self._descriptor)
            self._descriptor = None
        self._segments.append(Segment(self._folder / f"{number:08}.journal"))
        self._add(Record(now, [SegmentRow(self.boot_id, self.totals)]))

    def _add(self, record: Record) -> None:
        frame = encode_record(record)
        self._segments[-1].size += len(frame)
        self._unwritten += frame

    def _write(self, now: float) -> None:
        was_failing = self._retry_at > 0
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
                self._descriptor = os.open(self._segments[-1].path, flags, 0o600)
                self._sync.wrote(self._folder_descriptor)
            while self._unwritten:
                del self._unwritten[: os.write(self._descriptor, self._unwritten)]
        except OSError as error:
            self._retry_at = now + RETRY_SECONDS
            if not was_failing:
                log.error("the journal cannot be written, nothing new is accepted: %s", error.strerror)
            return
        self._retry_at = 0.0
        if was_failing:
            log.warning("the journal is written again")
        self._sync.wrote(self._descriptor)


def segment_paths(folder: Path) -> list[Path]:
    """The journal's files, oldest first."""
    return sorted(folder.glob("[0-9]*.journal"), key=lambda path: int(path.stem))


def _cut(segment: Segment) -> None:
    torn = segment.path.stat().st_size - segment.size
    if torn:
        log.warning("%s: its last %d bytes were not written whole and are cut off", segment.path.name, torn)
        os.truncate(segment.path, segment.size)
