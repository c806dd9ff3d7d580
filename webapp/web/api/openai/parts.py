"""Parts that the answers of OpenAI's text routes share: their head, their usage, and the chunks of a stream.

Source: OpenAI's API reference, chat and completions. Knows no route, and of a choice only that it has an index.
"""

import time
from collections.abc import Sequence
from typing import Protocol

from webapp.web.api.openai.errors import error_body
from webapp.web.generations import WholeAnswer, failure_of
from webapp.web.sse import DONE, Item, data_frame
from webapp.wire.generation import Delta, Finished, FinishReason, TokenLogprob, Usage
from webapp.wire.messages import Published

Choice = dict[str, object]


class ChoiceWriter(Protocol):
    """What a route makes of the events of one choice."""

    def delta(self, index: int, delta: Delta) -> Choice | None:
        """The choice of a chunk; None where nothing of it is for the reader."""
        ...

    def end(self, index: int, finish_reason: FinishReason) -> Choice:
        """The choice of its last chunk."""
        ...


class ChunkWriter:
    """Writes a stream of so many choices: their chunks, the usage where it is wanted, and `[DONE]`.

    `choices_each` are the choices of one prompt. A failure is the last chunk, and `[DONE]` does not follow: clients
    raise their exception for it.
    """

    def __init__(
        self, head: dict[str, object], writer: ChoiceWriter, *, count: int, choices_each: int, has_usage: bool
    ) -> None:
        self._head = head
        self._writer = writer
        self._usages: dict[int, Usage] = {}
        self._count = count
        self._choices_each = choices_each
        # The reference has the usage in every chunk of such a stream, null in all but the last.
        self._usage_so_far: dict[str, object] = {"usage": None} if has_usage else {}

    def chunk(self, choice: Choice) -> bytes:
        """The frame of one chunk."""
        return data_frame(self._head | {"choices": [choice]} | self._usage_so_far)

    def write(self, index: int, item: Item) -> bytes:
        """The frames of an event of the choice with this index."""
        if error := failure_of(item):
            return data_frame(error_body(error))
        match item:
            case Published(event=Delta() as delta):
                choice = self._writer.delta(index, delta)
                return self.chunk(choice) if choice else b""
            case Published(event=Finished(finish_reason=reason, usage=usage)):
                self._usages[index] = usage
                return self.chunk(self._writer.end(index, reason)) + self._end()
            case _:
                return b""

    def _end(self) -> bytes:
        if len(self._usages) < self._count:
            return b""
        if not self._usage_so_far:
            return DONE
        usages = [self._usages[index] for index in range(self._count)]
        return data_frame(self._head | {"choices": [], "usage": usage_of(usages, self._choices_each)}) + DONE


def head(answer_id: str, kind: str, *, model: str) -> dict[str, object]:
    """What an answer, and each chunk of a stream, begins with; `model` is what was asked for."""
    return {"id": answer_id, "object": kind, "created": int(time.time()), "model": model}


def end_of(answer: WholeAnswer) -> Finished:
    """How a whole answer ended."""
    assert answer.finished is not None
    return answer.finished


def usage_of(usages: Sequence[Usage], choices_each: int = 1) -> dict[str, int]:
    """The usage of all choices together: a prompt counts once, however many choices it has."""
    prompt_tokens = sum(usage.prompt_tokens for usage in usages[::choices_each])
    completion_tokens = sum(usage.completion_tokens for usage in usages)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def token_text(token: TokenLogprob) -> str:
    r"""What the token says; bytes that are no whole character as `\xe2`, as OpenAI writes them."""
    return token.token_bytes.decode(errors="backslashreplace")
