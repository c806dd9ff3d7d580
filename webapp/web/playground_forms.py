"""The playground's form: what the browser sends becomes typed fields, and what a link says becomes a form.

Knows nothing of pages and generations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import msgspec
from msgspec import Struct
from werkzeug.datastructures import MultiDict

from webapp.web.errors import InvalidFields
from webapp.web.fields import read_struct
from webapp.web.request_fields import DEFAULT_MAX_TOKENS, DEFAULT_TEMPERATURE, GenerationFields, read_fields
from webapp.wire.generation import GenerationRequest

# What a link to a setup may say besides the model; its texts stand in the fragment, which no server sees.
PARAMETERS = ("temperature", "top_p", "top_k", "max_tokens", "seed", "repetition_penalty")
# Of the earlier turns. The page shows each again, which takes a millisecond; a form has room for thousands.
MOST_MESSAGES = 300


class HistoryMessage(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of a finished turn, as the form carries it."""

    role: str
    content: str


@dataclass(frozen=True)
class FormValues:
    """What stands in the composer, as text."""

    model: str
    system: str = ""
    prompt: str = ""
    temperature: str = str(DEFAULT_TEMPERATURE)
    top_p: str = ""
    top_k: str = ""
    max_tokens: str = str(DEFAULT_MAX_TOKENS)
    seed: str = ""
    repetition_penalty: str = ""

    def asked(self, seed: int) -> dict[str, str]:
        """What it asks for besides the messages, with the seed that was used."""
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "prompt"}
        return values | {"seed": str(seed)}


def form_values(form: MultiDict[str, str]) -> FormValues:
    """What was typed, to show it again, also where it is wrong."""
    names = FormValues.__dataclass_fields__
    return FormValues(**({"model": ""} | {name: _text(form, name) for name in names if name in form}))


def read_history(form: MultiDict[str, str]) -> list[HistoryMessage]:
    """The messages of the earlier turns. Raises InvalidFields."""
    texts = form.getlist("history")
    if len(texts) > MOST_MESSAGES:
        raise InvalidFields({"history": f"must have at most {MOST_MESSAGES} messages"})
    try:
        return [msgspec.json.decode(text, type=HistoryMessage) for text in texts]
    except (msgspec.MsgspecError, RecursionError) as error:
        raise InvalidFields({"history": str(error)}) from None


def read_form(form: MultiDict[str, str], history: Sequence[HistoryMessage]) -> GenerationFields:
    """The typed fields: system prompt, earlier turns and the new prompt become the messages. Raises InvalidFields."""
    if not _text(form, "prompt").strip():
        raise InvalidFields({"prompt": "is empty"})
    parameters = read_fields({name: form[name] for name in form if name not in ("messages", "options")}, is_form=True)
    return msgspec.structs.replace(parameters, prompt=None, messages=read_messages(form, history).messages)


def read_messages(form: MultiDict[str, str], history: Sequence[HistoryMessage]) -> GenerationFields:
    """The fields of the messages alone, whose prompt may still be empty. Raises InvalidFields."""
    prompt, system_prompt = _text(form, "prompt"), _text(form, "system")
    system = [HistoryMessage("system", system_prompt)] if system_prompt.strip() else []
    messages = (*system, *history, HistoryMessage("user", prompt))
    return read_fields({"messages": [msgspec.structs.asdict(message) for message in messages]})


def read_setup(query: Mapping[str, str], form: FormValues) -> tuple[FormValues, InvalidFields | None]:
    """The form with the parameters that a link gives, and what is wrong with those that cannot be used."""
    given = {name: query[name] for name in PARAMETERS if query.get(name)}
    problem = None
    try:
        read_struct(GenerationFields, given, is_form=True)
    except InvalidFields as error:
        problem = error
    good = {name: value for name, value in given.items() if not problem or name not in problem.fields}
    return FormValues(**(_as_dict(form) | good)), problem


def form_of(request: GenerationRequest, model: str) -> tuple[FormValues, list[HistoryMessage]]:
    """The form that asks for the same again, and the messages of the turns before."""
    messages = [HistoryMessage(message.role, message.content) for message in request.messages]
    system = messages.pop(0).content if messages and messages[0].role == "system" else ""
    prompt = messages.pop().content if messages and messages[-1].role == "user" else request.prompt or ""
    form = FormValues(
        model=model,
        system=system,
        prompt=prompt,
        temperature=f"{request.temperature:g}",
        top_p="" if request.top_p == 1 else f"{request.top_p:g}",
        top_k=str(request.top_k or ""),
        max_tokens=str(request.max_tokens),
        seed=str(request.seed),
        repetition_penalty="" if request.repetition_penalty == 1 else f"{request.repetition_penalty:g}",
    )
    return form, messages


def _as_dict(form: FormValues) -> dict[str, str]:
    return {field.name: getattr(form, field.name) for field in fields(form)}


def _text(form: MultiDict[str, str], name: str) -> str:
    """A field's text with the line ends that were typed: a form sends each as CR LF."""
    return form.get(name, "").replace("\r\n", "\n")
