"""The faults `torn` and `power`: a journal whose end was not written whole."""

import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.answers import Asked, Scripts
from tests.chaos.report import Line
from tests.chaos.site import Site
from tests.chaos.wave import Wave
from webapp.pool.audit import audit_journal
from webapp.pool.journal import Journal, segment_paths
from webapp.pool.journal_records import AcceptedRow, Record, read_records
from webapp.wire.generation import Delta

TORN_RECORDS = 3
STREAMS = 4
PATIENCE_SECONDS = 60.0


def lose_power(site: Site, chance: random.Random) -> str:
    """Kill everything, tear the journal at a byte of its last records, and start again; how much was torn off.

    Some readers have seen what is torn off: they are ahead of the journal.
    """
    site.kill_everything()
    path = segment_paths(site.journal_folder)[-1]
    records = list(read_records(path))
    ends = [0, *(end for _, end in records)][-1 - TORN_RECORDS :]
    # That a generation was accepted nobody could make again.
    accepted = max((end for record, end in records if _accepts(record)), default=0)
    size = chance.randint(max(ends[0], accepted), ends[-1])
    os.truncate(path, size)
    site.start_again()
    return f"{ends[-1] - size} bytes torn off"


def _accepts(record: Record) -> bool:
    return any(isinstance(row, AcceptedRow) for row in record.rows)


def torn(site: Site, scripts: Scripts, *, seconds: float, seed: int) -> Line:
    """Copy the journal of streams that run, and recover it from every byte of its last three records."""
    wave = Wave(site, scripts.many(STREAMS, seconds=seconds))
    wave.wait_until_flowing()
    content = segment_paths(site.journal_folder)[-1].read_bytes()
    asked = {stream.generation_id: stream.asked for stream in wave.streams}
    wave.wait_until_closed(PATIENCE_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        cuts = list(_cuts(Path(folder), content, scripts, asked))
    problems = [problem for problem in cuts if problem]
    complaint = f"{len(problems)} wrong, the first: {problems[0]}" if problems else None
    return Line("torn", seed, wave.verdict(), complaint=complaint, note=f"{len(cuts)} cuts")


def _cuts(folder: Path, content: bytes, scripts: Scripts, asked: dict[str, Asked]) -> Iterator[str | None]:
    """What is wrong after each cut, None where nothing is."""
    whole = folder / "whole.journal"
    whole.write_bytes(content)
    ends = [end for _, end in read_records(whole)]
    for size in range(ends[-1 - TORN_RECORDS], ends[-1]):
        records = sum(end <= size for end in ends)
        torn_folder = folder / "torn"
        torn_folder.mkdir()
        (torn_folder / "00000001.journal").write_bytes(content[:size])
        problem = _recover(torn_folder, records) or _go_on(torn_folder, scripts, asked)
        shutil.rmtree(torn_folder)
        yield f"{problem}, cut at byte {size}" if problem else None


def _recover(folder: Path, records: int) -> str | None:
    recovered = len(list(Journal(folder).recover()))
    problems = audit_journal(folder).problems
    if recovered != records:
        return f"{recovered} records came back of {records}"
    return problems[0] if problems else None


def _go_on(folder: Path, scripts: Scripts, asked: dict[str, Asked]) -> str | None:
    """An engine that is given what the journal has left has to make the rest."""
    for generation in audit_journal(folder).generations.values():
        one = asked.get(generation.generation_id)
        token_ids = [n for event in generation.events if isinstance(event, Delta) for n in event.token_ids]
        if one and generation.text + scripts.rest(one, token_ids) != one.text:
            return f"another text after {len(token_ids)} tokens"
    return None
