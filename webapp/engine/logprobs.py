"""The log-probabilities of the tokens that were chosen, for the rows that asked for them. Knows nothing of text."""

from dataclasses import dataclass

from torch import Tensor

# The least that is told: OpenAI's API says it for "very unlikely", and JSON has no minus infinity.
LEAST_LOGPROB = -9999.0


@dataclass(frozen=True)
class Logprobs:
    """Of one row's chosen token, and of the likeliest token ids at its place, likeliest first."""

    chosen: float
    top: list[tuple[int, float]]


def row_logprobs(logits: Tensor, token_ids: list[int], counts: list[int | None]) -> list[Logprobs | None]:
    """For each row its chosen token's and its `counts` likeliest; None for the rows whose count is None.

    `logits` (rows, vocabulary) are the model's own, before penalties, temperature and truncation.
    """
    asked = {row: count for row, count in enumerate(counts) if count is not None}
    return [_of_row(logits[row], token_ids[row], asked[row]) if row in asked else None for row in range(len(counts))]


def _of_row(logits: Tensor, token_id: int, count: int) -> Logprobs:
    logprobs = (logits - logits.logsumexp(-1)).clamp_min(LEAST_LOGPROB)
    best = logprobs.topk(min(count, len(logprobs)))
    top = list(zip(best.indices.tolist(), best.values.tolist(), strict=True))
    return Logprobs(float(logprobs[token_id]), top)
