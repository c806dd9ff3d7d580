"""Who is next: bounded admission, and one fair line for each model. Knows generations, not engines.

Clients take turns: the line is ordered by how many of the same client stand before or run, then by who was
served longest ago, then by arrival. So a client with a hundred generations delays another's first by no
more than one turn, also where one generation runs at a time.
"""

import itertools
import math
from collections import Counter, defaultdict

from webapp.pool.generation_log import Generation


class Refusal(Exception):
    """A generation is not taken. `retry_after` is in whole seconds; None where it would be refused again."""

    def __init__(self, code: str, message: str, retry_after: int | None = None) -> None:
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
        # How many each client has in all lines.
        self._standing = Counter[str]()
        # When each client that waits or runs was last served, as the number of that turn.
        self._last_turns: dict[str, int] = {}
        self._turns = itertools.count(1)

    def admit(self, generation: Generation, *, is_room: bool) -> None:
        """Let the generation stand in line. `is_room`: nobody would be before it. Raises Refusal."""
        submit = generation.submit
        line = self._waiting[submit.request.model]
        own = self._running[submit.client] + self._standing[submit.client]
        if own >= self._client_limit:
            raise Refusal("ClientLimitReached", f"At most {self._client_limit} generations at once for one client.", 1)
        has_to_wait = bool(line) or not is_room
        if has_to_wait and (submit.reject_if_busy or len(line) >= self._queue_length):
            # A guess that grows with the line; nobody knows how long the running ones still take.
            raise Refusal("PoolOverloaded", "Capacity temporarily exceeded, please try again.", 1 + len(line) // 8)
        self.restore(generation)

    def take(self, generation: Generation) -> None:
        """The generation leaves the line for an engine; it counts as running until `release`."""
        client = generation.submit.client
        self._leave(generation)
        self._running[client] += 1
        self._last_turns[client] = next(self._turns)

    def put_back(self, generation: Generation) -> None:
        """A generation that ran waits again, where its arrival puts it."""
        self.restore(generation)
        self.release(generation)

    def restore(self, generation: Generation) -> None:
        """A generation that was admitted once stands in line again."""
        self._waiting[generation.submit.request.model].append(generation)
        self._standing[generation.submit.client] += 1

    def release(self, generation: Generation) -> None:
        """A generation that ran has ended."""
        client = generation.submit.client
        self._running[client] -= 1
        if self._running[client] <= 0:
            del self._running[client]
        self._forget_if_gone(client)

    def remove(self, generation: Generation) -> None:
        """A generation leaves the line without having run."""
        self._leave(generation)
        self._forget_if_gone(generation.submit.client)

    def in_order(self, model: str) -> list[Generation]:
        """Those that wait for the model, the next one first."""
        turns = self._running.copy()
        keyed: list[tuple[float, int, float, Generation]] = []
        for generation in sorted(self._waiting[model], key=lambda waiting: waiting.accepted_at):
            client = generation.submit.client
            turn = -math.inf if generation.is_interrupted else turns[client]
            turns[client] += 1
            keyed.append((turn, self._last_turns.get(client, 0), generation.accepted_at, generation))
        return [generation for *_, generation in sorted(keyed, key=lambda key: key[:3])]

    def waiting_since(self, model: str) -> float | None:
        """When the one who has waited longest for this model arrived; None where nobody waits."""
        return min((generation.accepted_at for generation in self._waiting.get(model, ())), default=None)

    def length(self, model: str) -> int:
        """How many wait for this model."""
        return len(self._waiting.get(model, ()))

    def clients(self, model: str) -> set[str]:
        """Those of whom any wait for this model."""
        return {generation.submit.client for generation in self._waiting.get(model, ())}

    def models(self) -> list[str]:
        """The models for which any wait, in the order in which the first of each arrived."""
        since = {model: at for model in self._waiting if (at := self.waiting_since(model)) is not None}
        return sorted(since, key=lambda model: since[model])

    def counts(self) -> dict[str, int]:
        """How many wait, for each model for which any do."""
        return {model: len(line) for model, line in self._waiting.items() if line}

    def _leave(self, generation: Generation) -> None:
        client = generation.submit.client
        self._waiting[generation.submit.request.model].remove(generation)
        self._standing[client] -= 1
        if not self._standing[client]:
            del self._standing[client]

    def _forget_if_gone(self, client: str) -> None:
        if client not in self._running and client not in self._standing:
            self._last_turns.pop(client, None)
