"""Get code over a real server: what the dialog hands out is run as it is, and gives the same text as the page."""

import html
import json
import re
from pathlib import Path

import pytest

from tests.harness import Reader, Server
from tests.web.test_snippets import ECHO, TEXT, run, said
from webapp.web.snippets import Snippet

# Its text depends on the seed.
DRAWN = json.dumps({"tokens": 12})


def snippets_of(reader: Reader, **fields: object) -> dict[str, Snippet]:
    """What POST /code hands out for this form, by name."""
    form = {"model": "@jeton/scripted", "csrf_token": reader.csrf_token} | fields
    answer = reader.client.post("/code", data=form, headers={"HX-Request": "true"})
    assert answer.status_code == 200, answer.text
    titles = re.findall(r"<summary>(.*?)</summary>", answer.text)
    code = re.findall(r'<code data-language="(\w+)">(.*?)</code></pre>', answer.text, re.DOTALL)
    return {
        title: Snippet(title, title, language, html.unescape(text))
        for title, (language, text) in zip(titles, code, strict=True)
    }


def text_at(reader: Reader, url: str) -> str:
    """The text that the page gets. Lines end as the standard of event streams says, and nowhere else."""
    lines = [line.removeprefix("data: ") for line in reader.client.get(url).text.split("\n")]
    return "".join(json.loads(line).get("response", "") for line in lines if line.startswith("{"))


def conversation(reader: Reader) -> dict[str, object]:
    """The form of a second turn: a system prompt, a first turn and a second prompt, all of them hostile."""
    first = text_at(reader, reader.submit(prompt=ECHO, system=TEXT))
    assert first == TEXT
    messages = [{"role": "user", "content": ECHO}, {"role": "assistant", "content": first}]
    return {"system": TEXT, "history": [json.dumps(message) for message in messages], "prompt": ECHO, "seed": 5}


@pytest.mark.parametrize("name", ["curl", "Python", "JavaScript"])
def test_code_of_a_hostile_conversation_gives_the_pages_text(server: Server, tmp_path: Path, name: str) -> None:
    reader = server.reader()
    form = conversation(reader)
    on_the_page = text_at(reader, reader.submit(**form))

    shown = run(snippets_of(reader, **form)[name], tmp_path)

    assert on_the_page == TEXT
    assert (said(shown) if name == "curl" else shown) == TEXT


def test_code_with_the_seed_that_was_used_gives_the_same_answer(server: Server, tmp_path: Path) -> None:
    reader = server.reader()
    turn = reader.post(prompt=DRAWN)
    found = re.search(r"""data-request=(?:'([^']*)'|"([^"]*)")""", turn.text)
    assert found, turn.text
    asked = json.loads(html.unescape(found[1] or found[2]))
    events_url = re.search(r'<token-stream[^>]*\bsrc="([^"]+)"', turn.text)
    assert events_url

    code = snippets_of(reader, **asked, prompt=DRAWN)

    assert run(code["Python"], tmp_path) == text_at(reader, events_url[1])


def test_conversation_has_no_address_and_a_lone_prompt_has_one(server: Server) -> None:
    reader = server.reader()

    assert "EventSource" not in snippets_of(reader, **conversation(reader))
    assert "EventSource" in snippets_of(reader, prompt="Hi", system="Be brief.")


def test_code_starts_nothing_and_writes_nothing_down(server: Server) -> None:
    reader = server.reader()
    before = server.state()

    snippets_of(reader, prompt="a prompt that nobody may find in the log", system="nor this one")

    assert {each["id"] for each in server.state().get("generations", [])} <= {
        each["id"] for each in before.get("generations", [])
    }
    assert "nobody may find" not in server.output
