"""A turn of the conversation as the playground shows it. Knows no form and no HTML."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from webapp.catalog import CatalogEntry
from webapp.web.playground_forms import FormValues, HistoryMessage
from webapp.wire.messages import Submit


@dataclass(frozen=True)
class Turn:
    """One prompt and its answer; `answer` is None while it streams.

    `asked` is what the form asked for besides the messages, with the seed that was used; `messages` are what the
    next prompt sends of this turn.
    """

    prompt: str
    model_title: str
    served_by_title: str | None = None
    generation_id: str = ""
    events_url: str = ""
    abort_url: str = ""
    asked: dict[str, str] = field(default_factory=dict)
    started_at: str = ""
    answer: str | None = None
    error: dict[str, object] | None = None
    usage: dict[str, object] | None = None
    finish_reason: str | None = None
    messages: tuple[HistoryMessage, ...] = ()


def new_turn(form: FormValues, submit: Submit, entry: CatalogEntry, serving: CatalogEntry) -> Turn:
    """The turn of a generation that begins now."""
    return Turn(
        prompt=form.prompt,
        model_title=entry.title,
        served_by_title=serving.title if serving is not entry else None,
        generation_id=submit.generation_id,
        asked=form.asked(submit.request.seed),
        started_at=datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    )


def past_turns(history: Sequence[HistoryMessage], model_title: str) -> list[Turn]:
    """The turns of earlier messages, two for each; what is left over makes none."""
    pairs = zip(history[::2], history[1::2], strict=False)
    return [
        Turn(prompt=user.content, model_title=model_title, answer=answer.content, messages=(user, answer))
        for user, answer in pairs
    ]
