"""The journal's records and their bytes: one record for each turn of the pool that had something to keep.

A record is its length and the CRC-32 of its payload (two little-endian 32-bit numbers), then the payload in msgpack.
One that was torn by a crash is told by these two, and ends its file. Knows no folder.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
from msgspec import Struct

from webapp.wire.generation import Delta, Failed, Finished, Started
from webapp.wire.messages import Submit

_HEAD = struct.Struct("<II")


class Totals(Struct, frozen=True, array_like=True):
    """How many generations this journal has ever seen, by how they ended."""

    accepted: int = 0
    finished: int = 0
    aborted: int = 0
    failed: int = 0

    @property
    def running(self) -> int:
        """Those that have not ended, waiting ones included."""
        return self.accepted - self.finished - self.aborted - self.failed

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(
            self.accepted + other.accepted,
            self.finished + other.finished,
            self.aborted + other.aborted,
            self.failed + other.failed,
        )


class SegmentRow(Struct, frozen=True, array_like=True, tag="s"):
    """The first row of a file: the boot whose monotonic clock it goes by, and the totals before it."""

    boot_id: str
    totals: Totals


class AcceptedRow(Struct, frozen=True, array_like=True, tag="a"):
    """A generation was accepted."""

    submit: Submit

    @property
    def generation_id(self) -> str:
        return self.submit.generation_id


class EventRow(Struct, frozen=True, array_like=True, tag="e", gc=False):
    """An event of a generation. All but Started are numbered, by their order."""

    generation_id: str
    event: Started | Delta | Finished | Failed


GenerationRow = AcceptedRow | EventRow


class Record(Struct, frozen=True, array_like=True):
    """All that one turn has to keep. `at` is in monotonic seconds."""

    at: float
    rows: Sequence[SegmentRow | GenerationRow]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


def encode_record(record: Record) -> bytes:
    """The record as it stands on disk."""
    payload = _encode(record)
    return _HEAD.pack(len(payload), zlib.crc32(payload)) + payload


def read_records(path: Path) -> Iterator[tuple[Record, int]]:
    """The whole records of a file, each with the offset of its end; stops before one that cannot be read."""
    content = memoryview(path.read_bytes())
    end = 0
    while end + _HEAD.size <= len(content):
        length, checksum = _HEAD.unpack_from(content, end)
        payload = content[end + _HEAD.size : end + _HEAD.size + length]
        if len(payload) < length or zlib.crc32(payload) != checksum:
            return
        try:
            record = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            # Whole, but of a version of Jeton that kept other things.
            return
        end += _HEAD.size + length
        yield record, end


def count_row(row: GenerationRow) -> Totals | None:
    """What a row adds to the totals; None where that is nothing, as of most."""
    if isinstance(row, AcceptedRow):
        return Totals(accepted=1)
    match row.event:
        case Finished(finish_reason="abort"):
            return Totals(aborted=1)
        case Finished():
            return Totals(finished=1)
        case Failed():
            return Totals(failed=1)
        case _:
            return None
