"""One generation as every process sees it: what was asked, and the events that answer it.

Knows nothing of sockets, HTTP or models.
"""

from collections.abc import Iterator
from typing import Literal

from msgspec import Struct

FinishReason = Literal["stop", "length", "abort"]


class Tool(Struct, frozen=True, omit_defaults=True):
    """A function that the model may ask to have called. `parameters` is a JSON schema, as text."""

    name: str
    description: str = ""
    parameters: str = "{}"


class ToolCall(Struct, frozen=True, array_like=True):
    """A call that the model asks for. `arguments` is a JSON object, as text.

    `call_id` is what a client has called it by, in an earlier turn; the engine gives none.
    """

    name: str
    arguments: str
    call_id: str = ""


class Message(Struct, frozen=True, omit_defaults=True):
    """One turn of a conversation.

    An assistant's turn may hold `tool_calls`; a tool's turn answers one of them, by its id where there are several.
    """

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    # Of the tool that answers.
    name: str = ""


class GenerationRequest(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was asked, validated, with the seed resolved.

    Exactly one of `prompt` and `messages` is given. `model` names the catalogue entry whose engine
    answers; `context_window` is the limit, in tokens, of the entry that was asked for, which may be
    another one (a stand-in answers under the limits of the model it stands in for).

    `logprobs` asks for the log-probability of each token and of so many of the likeliest at its place,
    0 to 20; None leaves them off.

    `json_schema`, a JSON schema as text, makes the answer one JSON value that it allows. `tools` are shown to the
    model by its chat template; with `has_to_call` it calls one of them at least, without `has_parallel_calls` at
    most one. `adapter` names one of the catalogue entry's LoRA adapters.

    `asked_model` names the entry that was asked for, where that is another one than `model`.

    `inputs` are texts to embed: there is no prompt then, and each input is answered as if its vector were one token,
    by a Delta whose text is the vector in base64, float32 and little-endian. `max_tokens` is their number.
    """

    model: str
    context_window: int
    max_tokens: int
    seed: int
    prompt: str | None = None
    messages: tuple[Message, ...] = ()
    raw: bool = False
    temperature: float = 0.6
    top_p: float = 1.0
    # 0 leaves top-k off.
    top_k: int = 0
    repetition_penalty: float = 1.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    stop: tuple[str, ...] = ()
    # 0 leaves min-p off.
    min_p: float = 0.0
    logprobs: int | None = None
    json_schema: str | None = None
    tools: tuple[Tool, ...] = ()
    has_to_call: bool = False
    has_parallel_calls: bool = True
    adapter: str | None = None
    inputs: tuple[str, ...] = ()
    asked_model: str = ""

    def texts(self) -> Iterator[str]:
        """All that can be long in it."""
        yield self.prompt or ""
        yield self.json_schema or ""
        yield from self.inputs
        yield from self.stop
        for message in self.messages:
            yield from (message.content, message.name, message.tool_call_id)
            for call in message.tool_calls:
                yield from (call.name, call.arguments, call.call_id)
        for tool in self.tools:
            yield from (tool.name, tool.description, tool.parameters)


class Usage(Struct, frozen=True, array_like=True):
    """Token counts, as both APIs report them."""

    prompt_tokens: int
    completion_tokens: int

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Timings(Struct, frozen=True, array_like=True):
    """Durations in seconds as the pool saw them, so that they span re-dispatches.

    `time_to_first_token` counts from the acceptance and includes `queue_time`.
    """

    queue_time: float
    time_to_first_token: float
    decode_time: float

    def tokens_per_second(self, completion_tokens: int) -> float:
        """The decode rate: the tokens after the first, over the time they took; 0.0 for fewer than two."""
        return (completion_tokens - 1) / self.decode_time if completion_tokens > 1 and self.decode_time > 0 else 0.0


class Queued(Struct, frozen=True, array_like=True, tag="q"):
    """The generation waits; `place` counts from 1."""

    place: int


class Loading(Struct, frozen=True, array_like=True, tag="l"):
    """The generation waits for its model to load; `fraction` is between 0 and 1."""

    fraction: float


class Started(Struct, frozen=True, array_like=True, tag="s"):
    """An engine has taken the generation and reads its prompt."""

    prompt_tokens: int
    device: str
    precision: str


class TokenLogprob(Struct, frozen=True, array_like=True):
    """A token and its log-probability.

    `token_bytes` is what the token alone says, which may be part of a UTF-8 character; of a special token, its name.
    `logprob` is the logarithm of the model's own softmax, before penalties, temperature and truncation, as
    vLLM's `raw_logprobs`; at least -9999.0, which OpenAI's API says for "very unlikely".
    """

    token_id: int
    token_bytes: bytes
    logprob: float


class ChosenTokenLogprob(TokenLogprob, frozen=True, array_like=True):
    """The token that was chosen. `top` are the likeliest at its place, likeliest first; it may be one of them."""

    top: tuple[TokenLogprob, ...] = ()


class Delta(Struct, frozen=True, array_like=True, tag="d", gc=False):
    """New text, and the token ids that made it.

    `position` is the number of completion tokens before these. Text that may be half a character or
    the start of a stop sequence is held back, and may belong to token ids of an earlier delta.
    `logprobs` has one for each of `token_ids` where they were asked for, else none. What ends a text
    (the end of the turn, a stop sequence) is among them where the last delta has other text, else it is not sent.
    `tool_calls` are those that these tokens have completed; what they look like in the model's own words is no text.
    """

    position: int
    text: str
    token_ids: tuple[int, ...]
    logprobs: tuple[ChosenTokenLogprob, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()


class Finished(Struct, frozen=True, array_like=True, tag="f"):
    """The generation ended as it should. The pool adds the timings."""

    finish_reason: FinishReason
    usage: Usage
    timings: Timings | None = None


class Failed(Struct, frozen=True, array_like=True, tag="x"):
    """The generation ended with an error; the text so far stays valid."""

    code: str
    message: str


EngineEvent = Started | Delta | Finished | Failed
GenerationEvent = Queued | Loading | Started | Delta | Finished | Failed
