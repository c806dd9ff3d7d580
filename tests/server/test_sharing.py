"""Making a shared link over a real server: of the server's record, by whom the run belongs to, only when whole."""

import html
import json
import re
import time

import httpx
import pytest

from tests.harness import Reader, Server, script, text_of

FRAGMENT = {"HX-Request": "true"}


def share(reader: Reader, url: str, *, fragment: bool = True, **fields: object) -> httpx.Response:
    """Ask for a link to the generation whose events are at `url`."""
    form = {"csrf_token": reader.csrf_token} | fields
    return reader.client.post(url.replace("/events", "/share"), data=form, headers=FRAGMENT if fragment else {})


def link_in(answer: httpx.Response) -> str:
    assert answer.status_code == 201, answer.text
    found = re.search(r'id="shared-url"[^>]* value="([^"]+)"', answer.text)
    assert found, answer.text
    return html.unescape(found[1])


def run_of(url: str) -> dict:
    """What anybody reads at a link."""
    answer = httpx.get(f"{url}/run.json")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_link_shows_the_servers_own_record_to_anybody(reader: Reader):
    url = reader.submit(
        prompt=script(pieces=["a", " <b>", "\n🪙"]), system="Be brief.", seed=7, model="@cf/meta/llama-2-7b-chat-int8"
    )
    text = text_of(reader.read_to_end(url))

    # What a client says about the run is no field of the form.
    link = link_in(share(reader, url, lifetime_days="1", text="forged", messages="forged", seed="8"))

    shown = run_of(link)
    assert "".join(piece for _, piece in shown["texts"]) == text == "a <b>\n🪙"
    assert "forged" not in json.dumps(shown)
    assert shown["model"] == "@cf/meta/llama-2-7b-chat-int8"
    page = httpx.get(link)
    assert page.status_code == 200
    assert "Be brief." in page.text
    assert "forged" not in page.text


def test_manage_key_is_given_once_and_kept_from_scripts(reader: Reader):
    url = reader.submit(prompt=script(pieces=["a"]))
    reader.read_to_end(url)

    first = share(reader, url)
    second = share(reader, url)

    cookie = first.headers["set-cookie"]
    assert "jeton_manage_key=" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie
    key = re.search(r"jeton_manage_key=([\w-]+)", cookie)[1]
    assert key in first.text
    assert key not in second.text and 'id="manage-key"' not in second.text
    # Each time is a link of its own.
    assert link_in(first) != link_in(second)


def test_without_javascript_the_browser_is_sent_to_the_link(reader: Reader):
    url = reader.submit(prompt=script(pieces=["a"]))
    reader.read_to_end(url)

    answer = share(reader, url, fragment=False)

    assert answer.status_code == 303
    assert re.fullmatch(
        rf"{re.escape(str(reader.client.base_url)).rstrip('/')}/s/[\w-]{{22,}}", answer.headers["location"]
    )
    assert reader.client.get(answer.headers["location"]).status_code == 200


def test_stopped_answer_can_be_shared_with_the_text_it_has(reader: Reader):
    url = reader.submit(prompt=script(tokens=500, step_seconds=0.02), max_tokens=1000)
    with reader.attached(url) as stream:
        for event in stream:
            if event.event_id == "3":
                break
    reader.abort(url)

    text = text_of(reader.read_to_end(url))

    shown = run_of(link_in(share(reader, url)))
    assert "".join(piece for _, piece in shown["texts"]) == text
    assert shown["usage"]["finish_reason"] == "abort"


def test_moments_are_those_of_the_run(reader: Reader):
    url = reader.submit(prompt=script(pieces=["a", "b", "c"], prefill_seconds=0.3, step_seconds=0.4))
    reader.read_to_end(url)

    moments = [moment for moment, _ in run_of(link_in(share(reader, url)))["texts"]]

    assert moments == sorted(moments)
    assert 280 <= moments[0] <= moments[-1] - 150


def test_running_answer_is_not_shared(reader: Reader):
    url = reader.submit(prompt=script(tokens=500, step_seconds=0.05))

    answer = share(reader, url)

    reader.abort(url)
    assert (answer.status_code, 'data-code="RunNotShareable"' in answer.text) == (409, True)


def test_failed_answer_is_not_shared(reader: Reader):
    url = reader.submit(prompt=script(pieces=["a", "b"], fail_at=1))
    reader.read_to_end(url)

    answer = share(reader, url)

    assert (answer.status_code, 'data-code="RunNotShareable"' in answer.text) == (409, True)


@pytest.mark.parametrize("action", ["share", "drop"])
def test_somebody_elses_generation_is_not_there(server: Server, reader: Reader, action: str):
    url = reader.submit(prompt=script(pieces=["a"]))
    reader.read_to_end(url)
    another = server.reader()

    for path in (url, "/generations/none/events"):
        headers = FRAGMENT | {"X-CSRFToken": another.csrf_token}
        answer = another.client.post(path.replace("/events", f"/{action}"), headers=headers)
        assert answer.status_code == 404
        assert action == "drop" or "Run it again to share it." in answer.text


@pytest.mark.parametrize("action", ["share", "drop"])
def test_form_without_its_csrf_token_changes_nothing(reader: Reader, action: str):
    url = reader.submit(prompt=script(pieces=["a"]))
    reader.read_to_end(url)

    answer = reader.client.post(url.replace("/events", f"/{action}"), headers=FRAGMENT)

    assert (answer.status_code, "CsrfTokenInvalid" in answer.text) == (400, True)


@pytest.mark.parametrize(
    "fields",
    [{"lifetime_days": "2"}, {"lifetime_days": "-1"}, {"lifetime_days": "never"}, {"has_prompt_in_preview": "maybe"}],
    ids=lambda fields: next(iter(fields.values())),
)
def test_bad_field_is_refused_by_name(reader: Reader, fields: dict):
    url = reader.submit(prompt=script(pieces=["a"]))
    reader.read_to_end(url)

    answer = share(reader, url, **fields)

    assert answer.status_code == 400
    assert 'data-code="InvalidFields"' in answer.text and next(iter(fields)) in answer.text


def test_dropped_reader_comes_back_for_the_rest(reader: Reader):
    url = reader.submit(prompt=script(tokens=60, step_seconds=0.03), seed=3)
    taken = []
    with reader.attached(url) as stream:
        for event in stream:
            taken += [event] if event.event_id else []
            if event.event_id == "5":
                dropped_at = time.monotonic()
                answer = reader.client.post(url.replace("/events", "/drop"), headers={"X-CSRFToken": reader.csrf_token})
                assert answer.status_code == 204

    # The server has cut it off, long before the answer's end.
    assert taken[-1].data != "[DONE]" and time.monotonic() - dropped_at < 1.5
    with reader.attached(url, after=int(taken[-1].event_id)) as stream:
        taken += [event for event in stream if event.event_id]
    assert [event.event_id for event in taken] == [str(number) for number in range(1, 62)]
    assert taken[-1].data == "[DONE]"
