"""OpenAI's `POST chat/completions`: its answers and the chunks of its streams. Knows not where it is served.

Source: OpenAI's API reference, chat.
"""

from collections import Counter
from collections.abc import Sequence

from flask import Blueprint, Response

from webapp.catalog import Catalog
from webapp.web.api.openai.fields import read_chat_fields
from webapp.web.api.openai.parts import Choice, ChunkWriter, end_of, head, token_text, usage_of
from webapp.web.choices import Choices
from webapp.web.generations import WholeAnswer, tool_call_id
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply, name_stand_in
from webapp.web.request_fields import find_model
from webapp.wire.generation import ChosenTokenLogprob, Delta, FinishReason, TokenLogprob, ToolCall
from webapp.wire.messages import Submit


def add_routes(routes: Blueprint, catalog: Catalog, *, choices: Choices) -> None:
    """Add the route to these."""

    @routes.post("/chat/completions")
    def chat_completions(account: str = "") -> Response:
        fields = read_chat_fields(read_json_body())
        entry, _ = find_model(catalog, fields.model)
        asked = fields.to_choices(entry)
        prepared = choices.prepare(asked, fields.model, logprobs=fields.most_logprobs)
        submits = prepared.submits
        answer_id = f"chatcmpl-{submits[0].generation_id}"
        if fields.stream:
            chunk_head = head(answer_id, "chat.completion.chunk", model=fields.model)
            chat = _ChatWriter(submits)
            writer = ChunkWriter(
                chunk_head, chat, count=len(submits), choices_each=len(submits), has_usage=fields.has_usage
            )
            opening = b"".join(writer.chunk(chat.begin(index)) for index in range(len(submits)))
            response = choices.stream(submits, writer.write, opening=opening)
        else:
            answers = choices.answers(submits)
            body = head(answer_id, "chat.completion", model=fields.model) | {
                "choices": [_choice(index, submits[index], answer) for index, answer in enumerate(answers)],
                "usage": usage_of([end_of(answer).usage for answer in answers], len(answers)),
            }
            response = json_reply(body)
        return name_stand_in(response, prepared.entry, prepared.serving)


class _ChatWriter:
    """The choices of a stream's chunks."""

    def __init__(self, submits: Sequence[Submit]) -> None:
        self._submits = submits
        # How many calls each choice has asked for.
        self._calls = Counter[int]()

    def begin(self, index: int) -> Choice:
        return _chunk_choice(index, {"role": "assistant", "content": "", "refusal": None})

    def delta(self, index: int, delta: Delta) -> Choice | None:
        content: dict[str, object] = {"content": delta.text} if delta.text else {}
        if delta.tool_calls:
            content["tool_calls"] = [self._call(index, call) for call in delta.tool_calls]
        if not content and not delta.logprobs:
            return None
        return _chunk_choice(index, content, logprobs=delta.logprobs)

    def end(self, index: int, finish_reason: FinishReason) -> Choice:
        return _chunk_choice(index, {}, finish_reason=_finish_reason(finish_reason, self._calls[index]))

    def _call(self, index: int, call: ToolCall) -> dict[str, object]:
        position = self._calls[index]
        self._calls[index] += 1
        return {"index": position} | _tool_call(self._submits[index], position, call)


def _choice(index: int, submit: Submit, answer: WholeAnswer) -> Choice:
    message: dict[str, object] = {"role": "assistant", "content": answer.text, "refusal": None}
    if answer.tool_calls:
        calls = [_tool_call(submit, position, call) for position, call in enumerate(answer.tool_calls)]
        message |= {"content": answer.text or None, "tool_calls": calls}
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(answer.logprobs),
        "finish_reason": _finish_reason(end_of(answer).finish_reason, len(answer.tool_calls)),
    }


def _chunk_choice(
    index: int,
    delta: dict[str, object],
    *,
    logprobs: Sequence[ChosenTokenLogprob] = (),
    finish_reason: str | None = None,
) -> Choice:
    return {"index": index, "delta": delta, "logprobs": _logprobs(logprobs), "finish_reason": finish_reason}


def _finish_reason(reason: FinishReason, calls: int) -> str:
    return "tool_calls" if calls and reason == "stop" else reason


def _tool_call(submit: Submit, position: int, call: ToolCall) -> dict[str, object]:
    return {
        "id": tool_call_id(submit.generation_id, position),
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _logprobs(tokens: Sequence[ChosenTokenLogprob]) -> dict[str, object] | None:
    """None where none were asked for."""
    if not tokens:
        return None
    content = [_logprob(token) | {"top_logprobs": [_logprob(other) for other in token.top]} for token in tokens]
    return {"content": content, "refusal": None}


def _logprob(token: TokenLogprob) -> dict[str, object]:
    return {"token": token_text(token), "logprob": token.logprob, "bytes": list(token.token_bytes)}
