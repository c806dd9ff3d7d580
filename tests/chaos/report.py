"""One line for each fault: what it was, what came of it, and whether that is as promised."""

from dataclasses import dataclass

from tests.chaos.wave import Verdict

MOST_REASONS = 5


@dataclass(frozen=True)
class Line:
    """A fault and its verdict. `stall_limit` is in seconds, None where there is none.

    `complaint` is what else was not as promised, `note` what else was measured.
    """

    fault: str
    seed: int
    verdict: Verdict
    stall_limit: float | None = None
    complaint: str | None = None
    note: str = ""

    @property
    def has_stalled(self) -> bool:
        return self.stall_limit is not None and self.verdict.longest_stall > self.stall_limit

    @property
    def is_ok(self) -> bool:
        return self.verdict.is_unbroken and not self.has_stalled and not self.complaint

    def __str__(self) -> str:
        verdict = self.verdict
        limit = "none" if self.stall_limit is None else f"{self.stall_limit:.2f}"
        note = "".join(f"  ({remark})" for remark in (self.note, self.complaint) if remark)
        return (
            f"{self.fault:<14} streams {verdict.streams:<4} seed {self.seed}  lost {verdict.lost}  "
            f"doubled {verdict.doubled}  wrong {verdict.wrong}  reconnects {verdict.reconnects:<4} "
            f"stall {verdict.longest_stall:.2f} s  limit {limit}  {'ok' if self.is_ok else 'FAILED'}{note}"
        )

    def reasons(self) -> list[str]:
        """Why it failed, the first few."""
        reasons = self.verdict.reasons
        rest = len(reasons) - MOST_REASONS
        return reasons[:MOST_REASONS] + ([f"and {rest} more"] if rest > 0 else [])
