"""A shared run as its page shows it and as its JSON says it. Knows no link, no route and no HTML."""

from collections.abc import Mapping, Sequence

import msgspec
from msgspec import Struct

from webapp.web.links.replay import moments
from webapp.web.links.shared_run import SharedRun
from webapp.web.playground_frames import usage
from webapp.web.snippets import body_of_messages
from webapp.wire.generation import Finished, GenerationRequest, Message

# The drawing of the pace: so many columns, so high. Its unit is that of the SVG's own view.
PACE_COLUMNS = 100
PACE_HEIGHT = 24
# Set against the busiest column; less would not be seen.
_LOWEST_COLUMN = 3


class ShownRun(Struct, frozen=True, kw_only=True):
    """The parts of the page. `earlier` are the turns that were sent along; `stand_in` is the title of what answered."""

    prompt: str
    system: str
    earlier: tuple[Message, ...]
    answer: str
    stand_in: str | None
    figures: Mapping[str, object]
    total_milliseconds: int
    pace: str


def shown_run(run: SharedRun) -> ShownRun:
    """What the page shows of it."""
    messages = list(run.request.messages)
    system = messages.pop(0).content if messages and messages[0].role == "system" else ""
    prompt = messages.pop().content if messages and messages[-1].role == "user" else run.request.prompt or ""
    found = moments(run)
    return ShownRun(
        prompt=prompt,
        system=system,
        earlier=tuple(messages),
        answer=run.text,
        stand_in=run.serving_title if run.request.model != run.model else None,
        figures=figures(run),
        total_milliseconds=found[-1],
        pace=draw_pace(found[:-1], found[-1]),
    )


def figures(run: SharedRun) -> dict[str, object]:
    """Counts and durations, as the `usage` event says them."""
    return usage(Finished(run.finish_reason, run.usage, run.timings))


def draw_pace(texts: Sequence[int], total: int) -> str:
    """How many texts came when, as the path of an SVG: a column each, as high as it was busy; none where it stalled."""
    columns = [0] * PACE_COLUMNS
    for moment in texts:
        columns[min(PACE_COLUMNS - 1, PACE_COLUMNS * moment // max(1, total))] += 1
    most = max(columns)
    scale = (PACE_HEIGHT - _LOWEST_COLUMN) / max(1, most)
    heights = [round(_LOWEST_COLUMN + scale * count, 1) if count else 0 for count in columns]
    return "".join(f"M{x} {PACE_HEIGHT}v-{height:g}h1v{height:g}z" for x, height in enumerate(heights) if height)


def parameters(request: GenerationRequest) -> dict[str, object]:
    """All that was asked for besides the messages, by the names of the API."""
    given: dict[str, object] = {
        "max_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k or None,
        "min_p": request.min_p or None,
        "seed": request.seed,
        "repetition_penalty": request.repetition_penalty,
        "frequency_penalty": request.frequency_penalty or None,
        "presence_penalty": request.presence_penalty or None,
        "stop": list(request.stop) or None,
        "lora": request.adapter,
        "raw": request.raw or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def messages_of(request: GenerationRequest) -> list[dict[str, str]]:
    """The messages, also where only a prompt was given."""
    messages = request.messages or (Message("user", request.prompt or ""),)
    return [{"role": message.role, "content": message.content} for message in messages]


def run_body(request: GenerationRequest) -> dict[str, object]:
    """The body of a streamed run that asks for the same, as the run route takes it."""
    # What is as without it is left out.
    neutral = {"top_p": 1.0, "repetition_penalty": 1.0}
    given = {name: value for name, value in parameters(request).items() if neutral.get(name) != value}
    return body_of_messages(messages_of(request)) | given | {"stream": True}


def is_same_request(one: GenerationRequest, other: GenerationRequest) -> bool:
    """Whether both ask for the same, whichever model answers it under whichever limit."""
    return _bare(one) == _bare(other)


def _bare(request: GenerationRequest) -> GenerationRequest:
    return msgspec.structs.replace(request, model="", context_window=0, asked_model="", logprobs=None)
