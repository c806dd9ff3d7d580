"""Links into the playground: a setup in the query, and what a shared link was asked. Neither runs anything."""

import html
import json
import re

import pytest

from tests.harness import Reader, Server

HISTORY = ({"role": "user", "content": "<b>one</b>"}, {"role": "assistant", "content": "first"})


def value_of(page: str, name: str) -> str:
    """What stands in a field of the page."""
    field = re.search(rf'<input[^>]*\bname="{name}"[^>]*>', page)
    assert field, page
    found = re.search(r'value="([^"]*)"', field[0])
    assert found, field[0]
    return html.unescape(found[1])


def text_of(page: str, name: str) -> str:
    """What stands in a text area of the page; HTML leaves out its first line end."""
    found = re.search(rf'<textarea[^>]*\bname="{name}"[^>]*>\n?(.*?)</textarea>', page, re.DOTALL)
    assert found, page
    return html.unescape(found[1])


def history_of(page: str) -> list[dict[str, str]]:
    fields = re.findall(r'<input[^>]*name="history"[^>]*value="([^"]*)"', page)
    return [json.loads(html.unescape(field)) for field in fields]


def share(reader: Reader, **fields: object) -> str:
    """The slug of a link to the answer of this form."""
    events_url = reader.submit(**fields)
    reader.read_to_end(events_url)
    made = reader.client.post(events_url.replace("/events", "/share"), data={"csrf_token": reader.csrf_token})
    assert made.status_code == 303, made.text
    return made.headers["Location"].rpartition("/")[2]


def test_query_fills_the_form(server: Server):
    page = server.client.get("/?model=@jeton/scripted-small&temperature=1.5&top_k=7&seed=31&prompt=secret").text

    assert re.search(r'<option value="@jeton/scripted-small" selected', page)
    assert [value_of(page, name) for name in ("temperature", "top_k", "seed")] == ["1.5", "7", "31"]
    # What was typed belongs into the fragment, which no log sees.
    assert text_of(page, "prompt") == ""


def test_values_that_cannot_be_used_are_named_and_left_out(server: Server):
    answer = server.client.get("/?temperature=9&top_k=7&model=@no/<such>")

    assert answer.status_code == 200
    assert (value_of(answer.text, "temperature"), value_of(answer.text, "top_k")) == ("0.6", "7")
    assert "temperature: must be a number from 0 to 5" in answer.text
    assert "“@no/&lt;such&gt;” cannot be chosen here" in answer.text
    assert re.search(r'<option value="@jeton/scripted" selected', answer.text)


@pytest.mark.parametrize("query", ["seed=1e999", "max_tokens=%00", "top_p=nan", "model=", "fork=", "temperature=%FF"])
def test_no_query_breaks_the_page(server: Server, query: str):
    assert server.client.get(f"/?{query}").status_code == 200


def test_fork_asks_the_same_again_and_leaves_the_answer_out(server: Server):
    slug = share(
        server.reader(),
        prompt='{"pieces": ["</textarea>"]}',
        system="  Be\nbrief.",
        history=[json.dumps(message) for message in HISTORY],
        temperature="0.25",
        top_p="0.9",
        seed="77",
    )

    answer = server.client.get(f"/?fork={slug}")
    page = answer.text
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"

    assert text_of(page, "prompt") == '{"pieces": ["</textarea>"]}'
    assert text_of(page, "system") == "  Be\nbrief."
    assert [value_of(page, name) for name in ("temperature", "top_p", "top_k", "seed")] == ["0.25", "0.9", "", "77"]
    assert history_of(page) == list(HISTORY)
    assert "Filled in from a shared link" in page


def test_fork_of_a_link_that_never_was_says_so_on_the_playground(server: Server):
    answer = server.client.get("/?fork=AAAAAAAAAAAAAAAAAAAAAA")

    assert answer.status_code == 404
    assert 'data-code="LinkNotFound"' in answer.text
    assert 'id="composer"' in answer.text


def test_form_without_javascript_can_share_its_answer_and_leave_out_its_oldest_turn(server: Server):
    reader = server.reader()
    history = [json.dumps(message) for message in HISTORY]

    page = reader.post(fragment=False, prompt='{"pieces": ["answer"]}', history=history).text
    action = re.search(r'<form class="no-js" action="([^"]+)"', page)
    assert action
    made = reader.client.post(action[1], data={"csrf_token": reader.csrf_token})
    assert made.status_code == 303

    refused = reader.post(fragment=False, model="@jeton/scripted-small", prompt="x " * 10, history=history)
    assert refused.status_code == 413
    assert 'name="leave_out"' in refused.text
    left = reader.post(fragment=False, model="@jeton/scripted-small", prompt="x", history=history, leave_out="oldest")
    assert left.status_code == 200
    assert history_of(left.text) == []
    assert text_of(left.text, "prompt") == "x"
