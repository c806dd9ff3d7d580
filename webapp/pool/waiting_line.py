"""Who is next: bounded admission, and one fair line for each model. Knows generations, not engines.

Clients take turns: the line is ordered by how many of the same client stand before, then by arrival, so
a client with a hundred generations delays another's first by no more than one turn.
"""

import math
from collections import Counter, defaultdict

from webapp.pool.generation_log import Generation


class Refusal(Exception):
    """A generation is not taken. `retry_after` is in whole seconds."""

    def __init__(self, code: str, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.code = code
        self.retry_after = retry_after


class WaitingLine:
    """The generations that wait for an engine, by model.

    `queue_length` bounds those that wait for one model; `client_limit` those of one client, waiting and running.
    """

    def __init__(self, *, queue_length: int, client_limit: int) -> None:
        self._queue_length = queue_length
        self._client_limit = client_limit
        self._waiting: dict[str, list[Generation]] = defaultdict(list)
        self._running = Counter[str]()

    def admit(self, generation: Generation, *, is_room: bool) -> None:
        """Let the generation stand in line. `is_room`: an engine could take it at once. Raises Refusal."""
        submit = generation.submit
        line = self._waiting[submit.request.model]
        own = self._running[submit.client] + sum(other.submit.client == submit.client for other in self._all())
        if own >= self._client_limit:
            raise Refusal("ClientLimitReached", f"At most {self._client_limit} generations at once for one client.", 1)
        has_to_wait = bool(line) or not is_room
        if has_to_wait and (submit.reject_if_busy or len(line) >= self._queue_length):
            # A guess that grows with the line; nobody knows how long the running ones still take.
            raise Refusal("PoolOverloaded", "Capacity temporarily exceeded, please try again.", 1 + len(line) // 8)
        line.append(generation)

    def take(self, generation: Generation) -> None:
        """The generation leaves the line for an engine; it counts as running until `release`."""
        self._waiting[generation.submit.request.model].remove(generation)
        self._running[generation.submit.client] += 1

    def put_back(self, generation: Generation) -> None:
        """A generation whose engine was lost waits again, where its arrival puts it."""
        self.release(generation)
        self._waiting[generation.submit.request.model].append(generation)

    def release(self, generation: Generation) -> None:
        """A generation that ran has ended."""
        client = generation.submit.client
        self._running[client] -= 1
        if self._running[client] <= 0:
            del self._running[client]

    def remove(self, generation: Generation) -> None:
        """A generation leaves the line without having run."""
        self._waiting[generation.submit.request.model].remove(generation)

    def in_order(self, model: str) -> list[Generation]:
        """Those that wait for the model, the next one first."""
        turns = self._running.copy()
        keyed: list[tuple[float, float, Generation]] = []
        for generation in sorted(self._waiting[model], key=lambda waiting: waiting.accepted_at):
            # One whose engine was lost goes first: its reader has already seen the start.
            turn = -math.inf if generation.is_suspect else turns[generation.submit.client]
            turns[generation.submit.client] += 1
            keyed.append((turn, generation.accepted_at, generation))
        return [generation for _, _, generation in sorted(keyed, key=lambda key: key[:2])]

    def counts(self) -> dict[str, int]:
        """How many wait, for each model for which any do."""
        return {model: len(line) for model, line in self._waiting.items() if line}

    def _all(self) -> list[Generation]:
        return [generation for line in self._waiting.values() for generation in line]
