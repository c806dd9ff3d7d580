"""The next token ids of all rows at once, without state: a seed and a position name the noise.

A row's choice depends on its own logits, parameters, seed and position only, never on the other rows.
Noise is Gumbel-distributed, a hash of (seed, position, token id), added to the scaled logits; the largest
sum wins, which is a sample of the softmax (https://arxiv.org/abs/1611.01144, section 2).
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

from webapp.engine.sequence import Sequence
from webapp.engine.text import Constraint
from webapp.wire.generation import GenerationRequest

# Sorting a vocabulary costs more than a small model's step: only its best are ever sorted. Enough for the
# usual top-k, and enough for nearly all of the mass without one.
_FEW = 128
_MANY = 1024
# From here on what is missing to 1 may be float32's rounding.
_ALL_OF_THE_MASS = 1 - 1e-6
# Repetition, frequency, presence.
_NO_PENALTIES = (1.0, 0.0, 0.0)

# Constants of splitmix64 (https://prng.di.unimi.it/splitmix64.c), as signed 64-bit integers.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_MIX_ONE = 0xBF58476D1CE4E5B9 - (1 << 64)
_MIX_TWO = 0x94D049BB133111EB - (1 << 64)
# The token id whose noise decides whether the sample is one of the best.
_NO_TOKEN = -1


class Sampler:
    """The sampling parameters of one batch, a sequence for each row.

    Order, as transformers has it: repetition penalty, frequency and presence penalties, what the row's constraint
    allows, temperature, top-k, top-p, min-p. A top-k above 1024 counts as 1024; tokens as likely as the last one kept
    are kept too.
    Min-p keeps what is at least `min_p` times as likely as the likeliest (https://arxiv.org/abs/2407.01082): a bound
    on differences of logits, so it sorts nothing, and top-k and top-p before it do not change it.
    """

    def __init__(self, rows: list[Sequence], *, device: str) -> None:
        self._rows = rows
        self._constraints = {at: row.constraint for at, row in enumerate(rows) if row.constraint}
        requests = [row.dispatch.request for row in rows]

        def column(values: Iterable[float], dtype: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(list(values), dtype=dtype, device=device)[:, None]

        temperature = [request.temperature for request in requests]
        top_k = [min(request.top_k, _MANY) if request.temperature > 0 else 1 for request in requests]
        self._is_greedy = column(temperature) <= 0
        self._temperature = column([value if value > 0 else 1.0 for value in temperature])
        self._top_k = column(top_k, torch.long)
        self._top_p = column([request.top_p for request in requests])
        self._least = column([request.min_p for request in requests]).log()
        self._seed = column([request.seed for request in requests], torch.long)
        self._has_noise = any(value > 0 for value in temperature)
        self._has_greedy = any(value <= 0 for value in temperature)
        self._has_min_p = any(request.min_p > 0 for request in requests)
        self._is_open = 0 in top_k
        self._width = _FEW if all(0 < k <= _FEW for k in top_k) else _MANY
        is_penalised = any(_penalties(request) != _NO_PENALTIES for request in requests)
        self._penalties = Penalties(rows, device=device) if is_penalised else None

    def has_rows(self, rows: list[Sequence]) -> bool:
        """Whether this sampler was made for just these sequences, in this order."""
        return len(rows) == len(self._rows) and all(one is other for one, other in zip(rows, self._rows, strict=True))

    def sample(self, logits: Tensor, positions: Tensor) -> Tensor:
        """The next token id of each row. `logits` (rows, vocabulary) in float32; `positions` (rows) keys the noise."""
        if self._penalties:
            logits = self._penalties.apply(logits)
        if self._constraints:
            logits = _constrained(logits, self._constraints)
        if not self._has_noise:
            token_ids = logits.argmax(-1)
        else:
            token_ids = self._sample(logits, positions[:, None])
            if self._has_greedy:
                token_ids = torch.where(self._is_greedy[:, 0], logits.argmax(-1), token_ids)
        if self._penalties:
            self._penalties.count(token_ids)
        return token_ids

    def _sample(self, logits: Tensor, positions: Tensor) -> Tensor:
        # Temperature changes no order: without need the whole vocabulary is not scaled.
        best, token_ids = logits.topk(min(self._width, logits.shape[-1]), dim=-1)
        # Sums of exponentials keep their digits near 1 only.
        top = best[:, :1]
        best = (best - top) / self._temperature
        last = best.gather(-1, (self._top_k - 1).clamp(0, best.shape[-1] - 1))
        kept = best.masked_fill((best < last) & (self._top_k > 0), -math.inf)
        total = kept.logsumexp(-1, keepdim=True)
        if self._is_open:
            total = torch.where(self._top_k > 0, total, self._whole_mass((logits - top) / self._temperature))
        probabilities = (kept - total).exp()
        kept = kept.masked_fill(best < _top_p_threshold(best, probabilities, self._top_p), -math.inf)
        kept = kept.masked_fill(best < self._least, -math.inf)
        winner = (kept + gumbel_noise(self._seed, positions, token_ids)).argmax(-1, keepdim=True)
        chosen = token_ids.gather(-1, winner)[:, 0]
        if self._is_open:
            mass = probabilities.sum(-1, keepdim=True)
            drawn = uniform_noise(self._seed, positions, _NO_TOKEN).clamp_max(_ALL_OF_THE_MASS)
            is_beyond = mass < torch.where(self._top_p < 1, self._top_p, drawn)
            # What min-p keeps may end among the best, and so may what a constraint allows.
            is_beyond &= (best[:, -1:] >= self._least) & best[:, -1:].isfinite()
            rows = (is_beyond & (self._top_k == 0))[:, 0].nonzero()[:, 0]
            if len(rows):
                scaled = (logits[rows] - top[rows]) / self._temperature[rows]
                chosen[rows] = self._sample_beyond(rows, scaled, token_ids[rows], positions[rows])
        return chosen

    def _whole_mass(self, scaled: Tensor) -> Tensor:
        """The logarithm of the mass that the sample is drawn from, or that top-p takes its share of: it comes first."""
        if self._has_min_p:
            scaled = scaled.masked_fill((scaled < self._least) & (self._top_p >= 1), -math.inf)
        return scaled.logsumexp(-1, keepdim=True)

    def _sample_beyond(self, rows: Tensor, scaled: Tensor, best_ids: Tensor, positions: Tensor) -> Tensor:
        """For rows whose best are not enough: all that top-p keeps, or, without top-p, all but the best."""
        top_p, seed, least = self._top_p[rows], self._seed[rows], self._least[rows]
        ordered = scaled.sort(-1, descending=True).values
        threshold = _top_p_threshold(ordered, ordered.softmax(-1), top_p)
        is_best = torch.zeros_like(scaled, dtype=torch.bool).scatter_(-1, best_ids, True)
        is_cut = torch.where(top_p < 1, scaled < threshold, is_best) | (scaled < least)
        kept = scaled.masked_fill(is_cut, -math.inf)
        token_ids = torch.arange(scaled.shape[-1], device=scaled.device)[None]
        return (kept + gumbel_noise(seed, positions, token_ids)).argmax(-1)


class Penalties:
    """Repetition, frequency and presence penalties, and the token counts of each row they need.

    The repetition penalty covers prompt and completion, as in transformers; the other two the completion
    alone, as OpenAI's API defines them.
    """

    def __init__(self, rows: list[Sequence], *, device: str) -> None:
        self._rows = rows
        self._device = device
        self._is_seen: Tensor | None = None
        self._counts: Tensor | None = None
        values = [_penalties(row.dispatch.request) for row in rows]
        self._repetition, self._frequency, self._presence = torch.tensor(values, device=device).T[:, :, None]

    def apply(self, logits: Tensor) -> Tensor:
        is_seen, counts = self._tables(logits.shape[-1])
        repeated = torch.where(logits > 0, logits / self._repetition, logits * self._repetition)
        logits = torch.where(is_seen, repeated, logits)
        return logits - counts * self._frequency - (counts > 0) * self._presence

    def count(self, token_ids: Tensor) -> None:
        """Take note of each row's new token id. Comes after `apply`."""
        assert self._is_seen is not None
        assert self._counts is not None
        self._is_seen.scatter_(-1, token_ids[:, None], True)
        self._counts.scatter_add_(-1, token_ids[:, None], torch.ones_like(token_ids[:, None], dtype=torch.float32))

    def _tables(self, vocabulary: int) -> tuple[Tensor, Tensor]:
        if self._is_seen is None or self._counts is None:
            self._is_seen = torch.zeros(len(self._rows), vocabulary, dtype=torch.bool, device=self._device)
            self._counts = torch.zeros(len(self._rows), vocabulary, device=self._device)
            for index, row in enumerate(self._rows):
                completion = torch.tensor(row.completion_ids, dtype=torch.long, device=self._device)
                self._is_seen[index, torch.tensor(row.token_ids, device=self._device)] = True
                self._counts[index] = torch.bincount(completion, minlength=vocabulary)
        return self._is_seen, self._counts


def _constrained(logits: Tensor, constraints: dict[int, Constraint]) -> Tensor:
    """A copy in which what a row's constraint does not allow is impossible; the other rows stay as they are."""
    logits = logits.clone()
    for row, constraint in constraints.items():
        allowed = torch.frombuffer(bytearray(constraint.allowed()), dtype=torch.uint8)[: logits.shape[-1]]
        logits[row, : len(allowed)].masked_fill_((allowed == 0).to(logits.device), -math.inf)
        # A model may have more outputs than its tokenizer has tokens.
        logits[row, len(allowed) :] = -math.inf
    return logits


def _penalties(request: GenerationRequest) -> tuple[float, float, float]:
    return request.repetition_penalty, request.frequency_penalty, request.presence_penalty


def gumbel_noise(seed: Tensor, position: Tensor, token_id: Tensor) -> Tensor:
    return -(-uniform_noise(seed, position, token_id).log()).log()


def uniform_noise(seed: Tensor, position: Tensor, token_id: Tensor | int) -> Tensor:
    """A float64 strictly between 0 and 1 for each (seed, position, token id), broadcast."""
    # Hashed one after the other, so that no sum of the three can stand for another.
    mixed = _splitmix64(_splitmix64(_splitmix64(seed) + position) + token_id)
    # 52 bits and a half fit a float64's mantissa: never rounded up to 1, whose Gumbel noise is infinite.
    return (_shift_right(mixed, 12).double() + 0.5) * 2.0**-52


def _splitmix64(value: Tensor) -> Tensor:
    value = value + _GAMMA
    value = (value ^ _shift_right(value, 30)) * _MIX_ONE
    value = (value ^ _shift_right(value, 27)) * _MIX_TWO
    return value ^ _shift_right(value, 31)


def _shift_right(value: Tensor, bits: int) -> Tensor:
    """A logical shift; torch's own on int64 repeats the sign."""
    return (value >> bits) & ((1 << (64 - bits)) - 1)


def _top_p_threshold(ordered: Tensor, probabilities: Tensor, top_p: Tensor) -> Tensor:
    """The smallest value that top-p keeps: the largest come first, until their mass reaches `top_p`."""
    before = probabilities.cumsum(-1) - probabilities
    count = (before < top_p).sum(-1, keepdim=True).clamp_min(1)
    return torch.where(top_p < 1, ordered.gather(-1, count - 1), -math.inf)
