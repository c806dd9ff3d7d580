"""One request as code to take home: curl, Python, JavaScript, a page, a Worker. Knows no route's behaviour.

What the user typed is hostile here as anywhere: it is quoted by the language's own means, and what cannot be seen
(control characters, marks that turn the direction of text) is written as an escape.
"""

import json
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from webapp.web import snippet_templates as templates
from webapp.web.worker_endpoint import PARAMETERS as ENDPOINT_PARAMETERS

# What the openai package takes by name; the rest goes into `extra_body`.
_OPENAI_NAMES = (
    "stream",
    "max_tokens",
    "temperature",
    "top_p",
    "seed",
    "frequency_penalty",
    "presence_penalty",
    "stop",
    "response_format",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
)
# gunicorn reads no longer a request line than 4094 bytes.
_LONGEST_QUERY_BYTES = 3500
_PLACEHOLDER = re.compile(r"__([A-Z]+)__")

Writer = Callable[[object], str]


@dataclass(frozen=True)
class Snippet:
    """The request in one language. `language` is what highlighters call it."""

    name: str
    title: str
    language: str
    text: str


class _Arguments(dict[str, object]):
    """Of a call in Python, by name."""


def write_snippets(model: str, body: Mapping[str, object], *, base_url: str, account: str = "local") -> list[Snippet]:
    """The request with this body, as the run route takes it, in every language that can say it.

    A conversation of several turns, or a prompt too long for an address, has no EventSource.
    """
    address = base_url.rstrip("/")
    values = {
        "OPENAI": f"{address}/v1",
        "URL": f"{address}/client/v4/accounts/{quote(account)}/ai/run/{quote(model, safe='@/')}",
        "MODEL": model,
        "BODY": dict(body),
        "CALL": _openai_call(model, body),
        "QUERY": _endpoint_query(model, body),
    }

    def fill(template: templates.Template, write: Writer) -> str:
        return _fill(template.streamed if body.get("stream") else template.whole, values, write)

    page = Snippet("eventsource", "EventSource", "html", fill(templates.PAGE, _script_in_html))
    return [
        Snippet("curl", "curl", "bash", fill(templates.CURL, _shell)),
        Snippet("python", "Python", "python", fill(templates.PYTHON, _python)),
        Snippet("openai", "Python, openai", "python", fill(templates.OPENAI, _python)),
        Snippet("javascript", "JavaScript", "javascript", fill(templates.JAVASCRIPT, _javascript)),
        *([page] if values["QUERY"] else []),
        Snippet("worker", "Worker", "javascript", fill(templates.WORKER, _javascript)),
    ]


def body_of_messages(messages: Sequence[Mapping[str, object]]) -> dict[str, object]:
    """What a body says for these messages: of one prompt alone `prompt`, the same to the model and shorter to read."""
    match messages:
        case [{"role": "user", "content": prompt}]:
            return {"prompt": prompt}
        case _:
            return {"messages": messages}


def _openai_call(model: str, body: Mapping[str, object]) -> _Arguments:
    given = {name: body[name] for name in _OPENAI_NAMES if name in body}
    match body.get("response_format"):
        case {"type": "json_schema", "json_schema": schema}:
            # OpenAI gives the schema a name; Workers AI has it bare.
            named = {"name": "answer", "schema": schema}
            given["response_format"] = {"type": "json_schema", "json_schema": named}
    extra = {name: value for name, value in body.items() if name not in (*_OPENAI_NAMES, "prompt", "messages")}
    call = {"model": model, "messages": _messages(body)} | given
    return _Arguments(call | ({"extra_body": extra} if extra else {}))


def _endpoint_query(model: str, body: Mapping[str, object]) -> dict[str, str] | None:
    """What the address of /worker-endpoint says for this request; None where it cannot say it."""
    match _messages(body):
        case [{"role": "user", "content": str(prompt)}]:
            texts = {"prompt": prompt}
        case [{"role": "system", "content": str(system)}, {"role": "user", "content": str(prompt)}]:
            texts = {"system": system, "prompt": prompt}
        case _:
            return None
    given = {name: str(body[name]) for name in ENDPOINT_PARAMETERS if isinstance(body.get(name), str | int | float)}
    query = {"model": model} | texts | given
    return query if len(urlencode(query)) <= _LONGEST_QUERY_BYTES else None


def _messages(body: Mapping[str, object]) -> object:
    return body.get("messages") or [{"role": "user", "content": body.get("prompt")}]


def _fill(template: str, values: Mapping[str, object], write: Writer) -> str:
    """The template with its values, all put in at once, so that none is taken for a placeholder."""

    def written(found: re.Match[str]) -> str:
        line = template[template.rfind("\n", 0, found.start()) + 1 : found.start()]
        indent = line[: len(line) - len(line.lstrip())]
        # Every line break is the writer's own: those of a text are escaped.
        return write(values[found[1]]).replace("\n", f"\n{indent}")

    return _PLACEHOLDER.sub(written, template)


# --- how each language writes a value ---------------------------------------------------------------


def _shell(value: object) -> str:
    return shlex.quote(value if isinstance(value, str) else _json(value))


def _python(value: object) -> str:
    if isinstance(value, _Arguments):
        return "\n".join(f"{name}={_python_value(argument)}," for name, argument in value.items())
    return _python_value(value)


def _python_value(value: object) -> str:
    if not isinstance(value, dict):
        return repr(value)
    lines = "".join(f"    {name!r}: {member!r},\n" for name, member in value.items())
    return f"{{\n{lines}}}"


def _javascript(value: object) -> str:
    return _json(value, indent=2 if isinstance(value, dict) else None)


def _script_in_html(value: object) -> str:
    return _javascript(value).replace("<", "\\u003c")


def _json(value: object, *, indent: int | None = None) -> str:
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    # What is not printable is in a string, but for the line breaks of the indent.
    return "".join(each if each.isprintable() or each == "\n" else _escape(each) for each in text)


def _escape(character: str) -> str:
    return json.dumps(character)[1:-1] if ord(character) > 0x7E else f"\\u{ord(character):04x}"
