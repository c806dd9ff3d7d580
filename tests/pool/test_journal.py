"""The journal's files: what was appended comes back, whatever was torn; they are rotated, deleted, and private."""

import errno
import resource
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness import wait_until
from tests.pool.driving import submit
from webapp.pool import disk_sync
from webapp.pool import journal as journal_module
from webapp.pool.audit import audit_journal
from webapp.pool.journal import Journal, segment_paths
from webapp.pool.journal_records import (
    AcceptedRow,
    EventRow,
    GenerationRow,
    SegmentRow,
    Totals,
    encode_record,
    read_records,
)
from webapp.wire.generation import Delta, Failed, Finished, Started, Usage

END = Finished("stop", Usage(1, 2))


def begin(folder: Path, **given: int) -> Journal:
    journal = Journal(folder, **given)
    list(journal.recover())
    journal.start(1.0)
    return journal


def whole(generation_id: str) -> list[GenerationRow]:
    """All rows of a generation of two tokens."""
    return [
        AcceptedRow(submit(generation_id)),
        EventRow(generation_id, Started(1, "cpu", "scripted")),
        EventRow(generation_id, Delta(0, "mot ", (7,))),
        EventRow(generation_id, Delta(1, "dit 🪙", (8,))),
        EventRow(generation_id, END),
    ]


def rows(folder: Path) -> list[GenerationRow]:
    """What another journal reads back from this folder."""
    recovered = [row for record in Journal(folder).recover() for row in record.rows]
    return [row for row in recovered if isinstance(row, AcceptedRow | EventRow)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "journal"


def test_what_was_appended_is_read_back_in_order(folder: Path) -> None:
    journal = begin(folder)
    for number, row in enumerate(whole("g")):
        journal.append([row], now=2.0 + number)

    recovered = list(Journal(folder).recover())

    assert [row for record in recovered[1:] for row in record.rows] == whole("g")
    assert [record.at for record in recovered[1:]] == [2.0, 3.0, 4.0, 5.0, 6.0]


def test_journal_torn_at_any_byte_of_its_last_records_loses_only_those(folder: Path, tmp_path: Path) -> None:
    journal = begin(folder)
    written = whole("g")
    for row in written:
        journal.append([row], now=2.0)
    (path,) = segment_paths(folder)
    ends = [end for _, end in read_records(path)]
    content = path.read_bytes()

    for size in range(ends[-4], len(content)):
        torn = tmp_path / "torn"
        shutil.rmtree(torn, ignore_errors=True)
        torn.mkdir()
        (torn / path.name).write_bytes(content[:size])

        left = sum(end <= size for end in ends)
        assert rows(torn) == written[: left - 1]
        # What follows joins on to what is left.
        begin(torn).append([EventRow("g", END)], now=3.0)
        assert rows(torn) == [*written[: left - 1], EventRow("g", END)]


@pytest.mark.parametrize("damage", ["flipped", "of another version"])
def test_record_that_cannot_be_read_ends_its_file(folder: Path, damage: str) -> None:
    journal = begin(folder)
    for row in whole("g"):
        journal.append([row], now=2.0)
    (path,) = segment_paths(folder)
    content = bytearray(path.read_bytes())
    end = [end for _, end in read_records(path)][2]
    if damage == "flipped":
        content[end + 12] ^= 1
    else:
        content[end:] = encode_record({"another": "version"})
    path.write_bytes(content)

    assert rows(folder) == whole("g")[:2]


def test_file_is_followed_by_the_next_when_it_is_large(folder: Path) -> None:
    journal = begin(folder, segment_bytes=200)
    for number in range(3):
        for row in whole(f"g{number}"):
            journal.append([row], now=2.0)

    assert len(segment_paths(folder)) > 2
    assert rows(folder) == [*whole("g0"), *whole("g1"), *whole("g2")]


def test_files_go_once_all_their_generations_are_forgotten(folder: Path) -> None:
    journal = begin(folder, segment_bytes=200)
    for name in ("a", "b", "c"):
        for row in whole(name):
            journal.append([row], now=2.0)
    before = segment_paths(folder)

    journal.forget(["a"], now=3.0)
    assert before[0] not in segment_paths(folder)
    assert rows(folder)[-10:] == [*whole("b"), *whole("c")]

    journal.forget(["b", "c"], now=3.0)
    journal.append([], now=3.0)
    # Nothing that somebody has typed is left, and the totals go on.
    (last,) = segment_paths(folder)
    assert last not in before and rows(folder) == []
    assert audit_journal(folder).totals == Totals(accepted=3, finished=3)
    assert journal.size == last.stat().st_size


def test_totals_outlive_files_and_pools(folder: Path) -> None:
    journal = begin(folder)
    journal.append(whole("finished"), now=2.0)
    aborted = EventRow("aborted", Finished("abort", Usage(1, 0)))
    journal.append([AcceptedRow(submit("aborted")), aborted, AcceptedRow(submit("failed"))], now=2.0)
    journal.forget(["finished"], now=3.0)
    journal.append([EventRow("failed", Failed("EngineLost", "lost"))], now=3.0)

    again = begin(folder)
    again.append([AcceptedRow(submit("running"))], now=4.0)

    assert again.totals == audit_journal(folder).totals == Totals(accepted=4, finished=1, aborted=1, failed=1)
    assert again.totals.running == 1


def test_clock_of_another_boot_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "boot_id"
    other.write_text("another-boot\n")
    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_BOOT_ID", other)
        begin(folder).append(whole("a"), now=2.0)
    begin(folder).append(whole("b"), now=2.0)

    journal = Journal(folder)
    begun = [row.boot_id for record in journal.recover() for row in record.rows if isinstance(row, SegmentRow)]

    assert begun == ["another-boot", journal.boot_id]


def test_folder_and_files_are_for_this_user_only(folder: Path) -> None:
    begin(folder).append(whole("g"), now=2.0)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in segment_paths(folder)} == {0o600}


@pytest.fixture
def full_disk(folder: Path) -> Iterator[None]:
    """Files of this process may not grow past 300 bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_full_disk_is_told_and_what_it_refused_is_written_later(folder: Path, full_disk: None) -> None:
    journal = begin(folder)
    assert not journal.is_failing

    for row in whole("g"):
        journal.append([row], now=2.0)
    assert journal.is_failing
    assert journal.unwritten_bytes > 0

    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    journal.append([], now=2.1)
    # A disk that has refused is left alone for a moment.
    assert journal.is_failing
    journal.append([], now=3.0)

    assert not journal.is_failing
    assert rows(folder) == whole("g")
    assert audit_journal(folder).problems == []


def test_too_large_a_journal_takes_nothing_new(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_module, "MOST_BYTES", 200)
    journal = begin(folder)
    journal.append(whole("g"), now=2.0)

    assert journal.is_failing

    journal.forget(["g"], now=3.0)
    journal.append([], now=3.0)
    assert not journal.is_failing


def test_close_brings_everything_to_the_disk(folder: Path) -> None:
    journal = begin(folder)
    journal.append(whole("g"), now=2.0)
    assert journal.unsynced_seconds >= 0

    journal.close()
    journal.close()

    assert journal.unsynced_seconds == 0


def test_file_between_two_that_are_needed_stays_until_it_is_the_oldest(folder: Path) -> None:
    # given: one that runs on over three files, beside one that ends in the second
    journal = begin(folder, segment_bytes=1)
    journal.append([AcceptedRow(submit("long")), AcceptedRow(submit("short"))], now=2.0)
    journal.append(whole("short")[1:], now=2.0)
    journal.append([EventRow("long", Delta(0, "a", (1,)))], now=2.0)

    # when: the one that has ended is forgotten
    journal.forget(["short"], now=3.0)

    # then: its end is not gone before its beginning
    assert audit_journal(folder).problems == []
    assert len(segment_paths(folder)) == 3

    journal.append([EventRow("long", Finished("stop", Usage(1, 1)))], now=4.0)
    journal.forget(["long"], now=5.0)
    assert len(segment_paths(folder)) == 1
    assert audit_journal(folder).totals == Totals(accepted=2, finished=2)


def test_files_of_forgotten_generations_go_also_after_a_restart(folder: Path) -> None:
    journal = begin(folder, segment_bytes=1)
    journal.append([AcceptedRow(submit("old"))], now=2.0)
    journal.append([*whole("old")[1:], AcceptedRow(submit("other"))], now=2.0)
    # The file with its beginning is gone and the next is not, as when the pool is killed just then.
    for path in segment_paths(folder)[:-1]:
        path.unlink()

    again = begin(folder)
    again.forget(["other"], now=3.0)

    assert len(segment_paths(folder)) == 1
    assert rows(folder) == []


def test_forgetting_the_last_leaves_a_whole_journal_at_once(folder: Path) -> None:
    journal = begin(folder)
    journal.append(whole("g"), now=2.0)

    journal.forget(["g"], now=3.0)

    assert not journal.is_failing
    assert audit_journal(folder).totals == Totals(accepted=1, finished=1)


def test_disk_that_failed_once_is_tried_again_without_another_write(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = begin(folder)
    is_broken = True

    def sync(descriptor: int) -> None:
        if is_broken:
            raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(disk_sync.os, "fdatasync", sync)
    journal.append(whole("g"), now=2.0)
    wait_until(lambda: journal.is_failing, 5)
    assert journal.unsynced_seconds > 0

    is_broken = False

    wait_until(lambda: not journal.is_failing, 5)
    wait_until(lambda: journal.unsynced_seconds == 0, 5)
