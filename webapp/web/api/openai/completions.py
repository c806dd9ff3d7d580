"""OpenAI's older `POST completions`: text that goes on from a prompt, without a chat template.

Source: OpenAI's API reference, completions (legacy). Knows not where it is served.
"""

import codecs
from collections.abc import Sequence

from flask import Blueprint, Response

from webapp.catalog import Catalog
from webapp.web.api.openai.fields import CompletionFields, read_completion_fields
from webapp.web.api.openai.parts import Choice, ChunkWriter, end_of, head, token_text, usage_of
from webapp.web.choices import Choices
from webapp.web.generations import WholeAnswer
from webapp.web.json_body import read_json_body
from webapp.web.replies import json_reply, name_stand_in
from webapp.web.request_fields import find_model
from webapp.wire.generation import ChosenTokenLogprob, Delta, FinishReason


def add_routes(routes: Blueprint, catalog: Catalog, *, choices: Choices) -> None:
    """Add the route to these."""

    @routes.post("/completions")
    def completions(account: str = "") -> Response:
        fields = read_completion_fields(read_json_body())
        entry, _ = find_model(catalog, fields.model)
        prepared = choices.prepare(fields.to_choices(entry), fields.model, logprobs=fields.logprobs)
        submits = prepared.submits
        start = head(f"cmpl-{submits[0].generation_id}", "text_completion", model=fields.model)
        completion = _CompletionWriter(fields)
        if fields.stream:
            writer = ChunkWriter(
                start, completion, count=len(submits), choices_each=fields.n or 1, has_usage=fields.has_usage
            )
            opening = b"".join(map(writer.chunk, completion.echoes()))
            response = choices.stream(submits, writer.write, opening=opening)
        else:
            answers = choices.answers(submits)
            usages = [end_of(answer).usage for answer in answers]
            body = start | {
                "choices": [completion.choice(index, answer) for index, answer in enumerate(answers)],
                "usage": usage_of(usages, fields.n or 1),
            }
            response = json_reply(body)
        return name_stand_in(response, prepared.entry, prepared.serving)


class _CompletionWriter:
    """The choices of an answer, and of a stream's chunks."""

    def __init__(self, fields: CompletionFields) -> None:
        choices_each = fields.n or 1
        self._echoes = [prompt for prompt in fields.prompts for _ in range(choices_each)] if fields.echo else []
        self._offsets = [_Offset() for _ in range(len(fields.prompts) * choices_each)]

    def echoes(self) -> list[Choice]:
        """The choices of the chunks that repeat the prompts, where that is wanted."""
        return [_choice(index, prompt) for index, prompt in enumerate(self._echoes)]

    def choice(self, index: int, answer: WholeAnswer) -> Choice:
        """The whole choice."""
        text = self._echoes[index] + answer.text if self._echoes else answer.text
        logprobs = self._logprobs(index, answer.logprobs)
        return _choice(index, text, logprobs=logprobs, finish_reason=end_of(answer).finish_reason)

    def delta(self, index: int, delta: Delta) -> Choice | None:
        if not delta.text and not delta.logprobs:
            return None
        return _choice(index, delta.text, logprobs=self._logprobs(index, delta.logprobs))

    def end(self, index: int, finish_reason: FinishReason) -> Choice:
        return _choice(index, "", finish_reason=finish_reason)

    def _logprobs(self, index: int, tokens: Sequence[ChosenTokenLogprob]) -> dict[str, object] | None:
        if not tokens:
            return None
        return {
            "tokens": [token_text(token) for token in tokens],
            "token_logprobs": [token.logprob for token in tokens],
            # The chosen token is among them, also where it is none of the likeliest.
            "top_logprobs": [{token_text(one): one.logprob for one in (*token.top, token)} for token in tokens],
            "text_offset": [self._offsets[index].pass_over(token) for token in tokens],
        }


class _Offset:
    """Where each token begins in its text, in characters; one that goes on with a character, where that ends."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._characters = 0

    def pass_over(self, token: ChosenTokenLogprob) -> int:
        start = self._characters
        self._characters += len(self._decoder.decode(token.token_bytes))
        return start


def _choice(
    index: int, text: str, *, logprobs: dict[str, object] | None = None, finish_reason: str | None = None
) -> Choice:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish_reason}
