"""A generation's events as the events of OpenAI's Responses route, and the response that they make.

One producer for both: the stream writes the events, the plain answer is the response they end with. Source: OpenAI's
API reference (Responses, streaming events), recordings of its stream, and the types of its Python SDK. Knows no HTTP.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from webapp.web.api.openai.parts import token_text
from webapp.web.errors import RequestError
from webapp.web.generations import failure_of, tool_call_id
from webapp.web.sse import data_frame
from webapp.web.subscription import Item
from webapp.wire.generation import ChosenTokenLogprob, Delta, Finished, TokenLogprob, ToolCall, Usage
from webapp.wire.messages import Published, Submit

# `type` and `sequence_number`, and what that type has.
ResponseEvent = dict[str, object]
Logprob = dict[str, object]


@dataclass
class _Message:
    """A message that is being written: one part, of text."""

    item_id: str
    output_index: int
    texts: list[str] = field(default_factory=list)
    logprobs: list[Logprob] = field(default_factory=list)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def place(self) -> dict[str, object]:
        return {"item_id": self.item_id, "output_index": self.output_index, "content_index": 0}

    def part(self) -> dict[str, object]:
        return {"type": "output_text", "annotations": [], "logprobs": list(self.logprobs), "text": self.text}

    def item(self, status: str, content: Sequence[object]) -> dict[str, object]:
        return {"id": self.item_id, "type": "message", "status": status, "content": content, "role": "assistant"}


class ResponseEvents:
    """What becomes of one response: `response` is the object as it is now, `is_whole` whether it ended as it should.

    `repeated` are the fields that a response repeats of its request.
    """

    def __init__(self, submit: Submit, repeated: Mapping[str, object]) -> None:
        self.is_whole = False
        self._generation_id = submit.generation_id
        self._output: list[dict[str, object]] = []
        self._message: _Message | None = None
        # Of tokens that have said nothing yet, as half a character or a part of a call.
        self._unsaid_logprobs: list[Logprob] = []
        self._calls = 0
        self._next_number = 0
        self.response: dict[str, object] = {
            "id": f"resp_{submit.generation_id}",
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "completed_at": None,
            "error": None,
            "incomplete_details": None,
            "output": self._output,
            "usage": None,
            **repeated,
        }

    def begin(self) -> list[ResponseEvent]:
        """The events before the first of the generation's own."""
        return [self._event(kind, response=self.response) for kind in ("response.created", "response.in_progress")]

    def take(self, item: Item) -> list[ResponseEvent]:
        """The events that the next item of the generation means. To be encoded before the next one is taken."""
        if error := failure_of(item):
            return self._fail(error)
        match item:
            case Published(event=Delta() as delta):
                return [*self._say(delta), *(event for call in delta.tool_calls for event in self._call(call))]
            case Published(event=Finished() as finished):
                return self._finish(finished)
            case _:
                return []

    def _say(self, delta: Delta) -> list[ResponseEvent]:
        self._unsaid_logprobs += map(_logprob, delta.logprobs)
        if not delta.text:
            return []
        logprobs, self._unsaid_logprobs = self._unsaid_logprobs, []
        events, message = ([], self._message) if self._message else self._open()
        message.texts.append(delta.text)
        message.logprobs += logprobs
        said = self._event("response.output_text.delta", **message.place, delta=delta.text, logprobs=logprobs)
        return [*events, said]

    def _open(self) -> tuple[list[ResponseEvent], _Message]:
        index = len(self._output)
        message = self._message = _Message(f"msg_{self._generation_id}_{index}", index)
        events = [
            self._event("response.output_item.added", output_index=index, item=message.item("in_progress", [])),
            self._event("response.content_part.added", **message.place, part=message.part()),
        ]
        return events, message

    def _close(self, status: str) -> list[ResponseEvent]:
        """The end of the message that is being written, where one is."""
        message, self._message = self._message, None
        if message is None:
            return []
        part = message.part()
        item = message.item(status, [part])
        self._output.append(item)
        return [
            self._event("response.output_text.done", **message.place, text=message.text, logprobs=message.logprobs),
            self._event("response.content_part.done", **message.place, part=part),
            self._event("response.output_item.done", output_index=message.output_index, item=item),
        ]

    def _call(self, call: ToolCall) -> list[ResponseEvent]:
        """A whole call; the engine tells none before it is."""
        events = self._close("completed")
        self._unsaid_logprobs = []
        index = len(self._output)
        started: dict[str, object] = {
            "id": f"fc_{self._generation_id}_{index}",
            "type": "function_call",
            "status": "in_progress",
            "arguments": "",
            "call_id": tool_call_id(self._generation_id, self._calls),
            "name": call.name,
        }
        done = started | {"status": "completed", "arguments": call.arguments}
        place = {"item_id": started["id"], "output_index": index}
        self._calls += 1
        self._output.append(done)
        return [
            *events,
            self._event("response.output_item.added", output_index=index, item=started),
            self._event("response.function_call_arguments.delta", **place, delta=call.arguments),
            self._event("response.function_call_arguments.done", **place, arguments=call.arguments),
            self._event("response.output_item.done", output_index=index, item=done),
        ]

    def _finish(self, finished: Finished) -> list[ResponseEvent]:
        is_cut_off = finished.finish_reason == "length"
        status = "incomplete" if is_cut_off else "completed"
        events: list[ResponseEvent] = []
        if not self._message and not self._output:
            # An answer without a word is still a message.
            events, _ = self._open()
        events += self._close(status)
        ending: dict[str, object] = (
            {"incomplete_details": {"reason": "max_output_tokens"}}
            if is_cut_off
            else {"completed_at": int(time.time())}
        )
        self.response.update(ending, status=status, usage=_usage(finished.usage))
        self.is_whole = True
        return [*events, self._event(f"response.{status}", response=self.response)]

    def _fail(self, error: RequestError) -> list[ResponseEvent]:
        # What was being written ends without events of its own, half-way as it is.
        self._close("incomplete")
        self.response.update(status="failed", error={"code": "server_error", "message": error.message})
        return [self._event("response.failed", response=self.response)]

    def _event(self, kind: str, **fields: object) -> ResponseEvent:
        event: ResponseEvent = {"type": kind, "sequence_number": self._next_number, **fields}
        self._next_number += 1
        return event


def frames(events: Iterable[ResponseEvent]) -> bytes:
    """The events as they are streamed, each under its type as the event's name."""
    return b"".join(data_frame(event, event=str(event["type"])) for event in events)


def _usage(usage: Usage) -> dict[str, object]:
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.total_tokens,
    }


def _logprob(token: ChosenTokenLogprob) -> Logprob:
    return {**_one_logprob(token), "top_logprobs": [_one_logprob(other) for other in token.top]}


def _one_logprob(token: TokenLogprob) -> dict[str, object]:
    return {
        "token": token_text(token),
        "bytes": list(token.token_bytes),
        "logprob": token.logprob,
    }
