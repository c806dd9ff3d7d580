"""The moments of a journal on one clock. Linux's monotonic clock begins anew at each boot. Knows no files."""

from webapp.pool.journal_records import Record, SegmentRow


class JournalClock:
    """Puts the seconds of several boots one after the other: what passed between two of them counts as nothing.

    So a text keeps its pace over a loss of power, and no moment comes before the one that was recorded before it.
    """

    def __init__(self) -> None:
        self._boot_id = ""
        self._at = 0.0
        # From the clock of this boot to the one of the first.
        self._offset = 0.0

    def read(self, record: Record) -> float:
        """The moment of the next record."""
        first = record.rows[0] if record.rows else None
        if isinstance(first, SegmentRow) and first.boot_id != self._boot_id:
            self._offset = self._at - record.at if self._boot_id else 0.0
            self._boot_id = first.boot_id
        self._at = max(self._at, record.at + self._offset)
        return self._at

    def behind(self, now: float, *, boot_id: str) -> float:
        """What to add to its moments for those of the present clock: none of them is then after `now`."""
        to_present = now - self._at
        return min(-self._offset, to_present) if boot_id == self._boot_id else to_present
