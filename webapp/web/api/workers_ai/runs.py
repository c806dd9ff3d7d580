"""One run of a model as Workers AI has it: its result, or its stream of chunks.

Shared by the two doors there are, the REST route and the Worker binding. Knows neither route nor envelope.
"""

from collections.abc import Callable, Mapping

import msgspec
from flask import Response, request

from webapp.catalog import Catalog, ModelNotFound
from webapp.web import errors
from webapp.web.api.envelope import describe, request_id
from webapp.web.api.workers_ai.pooling import Pooling, pooling_of
from webapp.web.api.workers_ai.run_types import (
    EmbeddingFields,
    EmbeddingResult,
    TextResult,
    ToolCallResult,
    UsageResult,
)
from webapp.web.embeddings import EmbeddingAnswer, Embeddings
from webapp.web.fields import read_struct
from webapp.web.gate import Gate
from webapp.web.generations import Generations, WholeAnswer, failure_of, tool_call_id
from webapp.web.replies import name_stand_in
from webapp.web.request_fields import GenerationFields, find_model, read_fields
from webapp.web.sse import DONE, Item, data_frame, stream
from webapp.wire.generation import Delta, Finished, ToolCall, Usage
from webapp.wire.messages import Published

# What writes a stream, made of the ids of its generation and its request: nothing of the request is at hand any more
# while the stream is written.
Writer = Callable[[str, str], Callable[[Item], bytes]]


class Runs:
    """Runs models for whoever the gate let in."""

    def __init__(self, catalog: Catalog, generations: Generations, embeddings: Embeddings, gate: Gate) -> None:
        self._catalog = catalog
        self._generations = generations
        self._embeddings = embeddings
        self._gate = gate
        embedding = [entry for entry in catalog.entries if entry.task == "text-embeddings"]
        self._poolings: dict[str, Pooling | None] = {entry.name: pooling_of(entry) for entry in embedding}

    def run(self, given: Mapping[str, object], model: str, reply: Callable[[object], Response]) -> Response:
        """What `given` asks of the model: a stream, or the reply that `reply` makes of the result.

        Raises RequestError.
        """
        if self.makes_embeddings(model):
            texts = self._read_texts(given, model)
            return self.embed(texts, model, field="text", reply=lambda answer: reply(self._embedded(answer)))
        fields = read_fields(given)
        is_json = fields.response_format is not None and fields.response_format.type != "text"
        if is_json and fields.stream:
            raise errors.InvalidFields({"stream": "JSON mode does not stream; leave out stream or response_format"})
        return self.generate(
            fields, model, reply=lambda answer: reply(_result(answer, is_json=is_json)), write=TextChunks
        )

    def generate(
        self, fields: GenerationFields, model: str, *, reply: Callable[[WholeAnswer], Response], write: Writer
    ) -> Response:
        """A text: streamed by `write`, or replied whole. Raises RequestError."""
        holder = self._gate.holder
        submit, entry, serving = self._generations.prepare(fields, model, owner=holder, client=holder)
        self._gate.count_generation(request)
        if fields.stream:
            subscription, items = self._generations.start(submit)
            response = stream(subscription, write(submit.generation_id, request_id()), items=items)
        else:
            response = reply(self._generations.answer(submit))
        return name_stand_in(response, entry, serving)

    def embed(
        self, texts: list[str], model: str, *, field: str, reply: Callable[[EmbeddingAnswer], Response]
    ) -> Response:
        """Vectors, in one reply. `field` is what the texts were called. Raises RequestError."""
        holder = self._gate.holder
        self._gate.count_generation(request)
        answer = self._embeddings.answer(texts, model, owner=holder, client=holder, field=field)
        return name_stand_in(reply(answer), answer.entry, answer.serving)

    def makes_embeddings(self, model: str) -> bool:
        """Whether the catalogue has a model of this name that makes vectors, not text."""
        try:
            return self._catalog.find(model).task == "text-embeddings"
        except ModelNotFound:
            return False

    def sequence_length(self, model: str) -> int:
        """The most tokens that the model makes. Raises RequestError."""
        entry, _ = find_model(self._catalog, model)
        return entry.sequence_length

    def _read_texts(self, given: Mapping[str, object], model: str) -> list[str]:
        if given.get("requests") is not None:
            # Cloudflare's queue for batches.
            raise errors.FeatureUnsupported("requests: this server runs no batches; send one request for each")
        fields = read_struct(EmbeddingFields, given)
        pooling = self._poolings[model]
        if fields.pooling not in (None, pooling):
            how = f"by {pooling}" if pooling else "as its own files say; leave it out"
            raise errors.InvalidFields({"pooling": f"{model} pools {how}"})
        return [fields.text] if isinstance(fields.text, str) else fields.text

    def _embedded(self, answer: EmbeddingAnswer) -> EmbeddingResult:
        vectors = answer.vectors()
        return EmbeddingResult([len(vectors), len(vectors[0])], vectors, self._poolings.get(answer.serving.name))


class TextChunks:
    """The frames of one stream: `data:` lines only, without ids, as the published stream has them.

    A failure half-way has errors in its last chunk and no `[DONE]`: clients then know the answer is not whole.
    """

    def __init__(self, generation_id: str, request_id: str) -> None:
        self._generation_id = generation_id
        self._request_id = request_id
        self._calls = 0

    def __call__(self, item: Item) -> bytes:
        if error := failure_of(item):
            return data_frame(failure_chunk(error, self._request_id))
        match item:
            case Published(event=Delta(text=text, tool_calls=())):
                return data_frame({"response": text})
            case Published(event=Delta(text=text, tool_calls=calls)):
                return data_frame({"response": text, "tool_calls": [self._call(call) for call in calls]})
            case Published(event=Finished(usage=usage)):
                return data_frame({"response": "", "usage": _usage(usage)}) + DONE
            case _:
                return b""

    def _call(self, call: ToolCall) -> dict[str, object]:
        # workers-ai-provider joins the arguments of calls that have the same index, or none.
        index = self._calls
        self._calls += 1
        return {
            "index": index,
            "id": tool_call_id(self._generation_id, index),
            "name": call.name,
            "arguments": _arguments(call),
        }


def failure_chunk(error: errors.RequestError, request_id: str) -> dict[str, object]:
    """The last chunk of a stream that has failed."""
    _, number, message = describe(error, request_id)
    return {"response": "", "success": False, "errors": [{"message": message, "code": number}]}


def _result(answer: WholeAnswer, *, is_json: bool) -> TextResult:
    assert answer.finished is not None
    # Calls may stand instead of the value.
    is_value = is_json and (answer.text or not answer.tool_calls)
    return TextResult(
        _read_json_answer(answer) if is_value else answer.text,
        [ToolCallResult(call.name, _arguments(call)) for call in answer.tool_calls],
        _usage(answer.finished.usage),
    )


def _read_json_answer(answer: WholeAnswer) -> msgspec.Raw:
    value = _to_json(answer.text)
    if value is None:
        assert answer.finished is not None
        reached = answer.finished.finish_reason == "length"
        why = "max_tokens cut it off" if reached else "the model has written something else"
        raise errors.JsonModeFailed(f"The answer is no whole JSON value: {why}")
    return value


def _arguments(call: ToolCall) -> msgspec.Raw | str:
    value = _to_json(call.arguments)
    return call.arguments if value is None else value


def _to_json(text: str) -> msgspec.Raw | None:
    """The JSON value that the text is, on one line; None where it is none.

    Its numbers stay as they are written: read as ours, some would come out changed.
    """
    try:
        value = msgspec.json.decode(text, type=msgspec.Raw)
        return msgspec.Raw(msgspec.json.format(bytes(value), indent=-1))
    except (msgspec.MsgspecError, RecursionError):
        return None


def _usage(usage: Usage) -> UsageResult:
    return UsageResult(usage.prompt_tokens, usage.completion_tokens, usage.total_tokens)
