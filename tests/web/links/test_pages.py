"""The page of a shared link, without a browser: what it shows, to whom, and what it refuses."""

import re
from collections.abc import Callable
from html import unescape

import msgspec
import pytest
from flask.testing import FlaskClient

from tests.browser.test_hostile_output import HOSTILE
from tests.shared_runs import make_run
from webapp.web.create_app import POOL_EXTENSION
from webapp.web.links.shown_run import draw_pace, parameters, run_body
from webapp.web.links.store import SharedLinks
from webapp.wire.generation import Finished, GenerationRequest, Message
from webapp.wire.messages import GenerationRecord


def open_link(links: SharedLinks, *, has_prompt_in_preview: bool = True, **fields: object) -> str:
    run = msgspec.structs.replace(make_run(), **fields)
    made = links.create(run, manage_key="nobody's", lifetime_days=7, has_prompt_in_preview=has_prompt_in_preview)
    return made.slug


def meta(page: str, name: str) -> str:
    found = re.search(rf'<meta (?:property|name)="{name}" content="([^"]*)">', page)
    assert found, name
    return unescape(found[1])


def test_page_shows_all_of_the_run_without_a_script(client: FlaskClient, links: SharedLinks):
    request = GenerationRequest(
        model="@jeton/scripted",
        asked_model="@jeton/stands-in",
        context_window=4096,
        max_tokens=99,
        seed=4242,
        temperature=0.25,
        top_k=7,
        stop=("END",),
        messages=(
            Message("system", "Be brief."),
            Message("user", "Earlier?"),
            Message("assistant", "Much earlier."),
            Message("user", "And now?"),
        ),
    )
    slug = open_link(
        links,
        request=request,
        model="@jeton/stands-in",
        model_title="The asked one",
        serving_title="The other one",
        revision="4f7c1e2a90",
        device="cuda",
        precision="int8",
        finish_reason="length",
    )

    response = client.get(f"/s/{slug}")

    shown = unescape(response.text)
    assert response.status_code == 200
    for text in ("Be brief.", "Earlier?", "Much earlier.", "And now?", "Once upon a time there was a **coin**"):
        assert text in shown, text
    for text in ("The asked one", "The other one", "4f7c1e2a90", "cuda", "int8", "4242", "0.25", "99", "length"):
        assert text in shown, text
    assert "0.40 s" in shown and "6.5 tokens/s" in shown and "2.40 s" in shown
    assert "curl -N" in shown and "<iframe src=" in shown


def test_page_is_for_nobody_to_find(client: FlaskClient, slug: str):
    for path in (f"/s/{slug}", f"/s/{slug}/run.json", f"/s/{slug}/events?after=99", "/s/AAAAAAAAAAAAAAAAAAAAAA"):
        response = client.get(path)
        assert response.headers["X-Robots-Tag"] == "noindex, nofollow", path
        assert response.headers["Referrer-Policy"] == "no-referrer", path
    assert client.head(f"/s/{slug}").status_code == 200
    assert meta(client.get(f"/s/{slug}").text, "robots") == "noindex, nofollow"


def test_preview_says_the_prompt_only_where_its_maker_has_allowed_it(client: FlaskClient, links: SharedLinks):
    open_slug, closed_slug = open_link(links), open_link(links, has_prompt_in_preview=False)
    opened, closed = (client.get(f"/s/{slug}").text for slug in (open_slug, closed_slug))

    for name in ("og:description", "description"):
        assert meta(opened, name).startswith("Write a very short story")
        assert "short story" not in meta(closed, name)
    assert meta(opened, "og:url") == f"http://localhost/s/{open_slug}"
    assert meta(opened, "og:image") == f"http://localhost/s/{open_slug}/og.png"
    assert "Scripted" in meta(opened, "og:title") and meta(opened, "twitter:card") == "summary_large_image"


def test_link_that_is_gone_says_so_everywhere(client: FlaskClient, links: SharedLinks):
    slug = open_link(links)
    links.take_down(slug)

    assert client.get(f"/s/{slug}").status_code == client.head(f"/s/{slug}").status_code == 410
    assert "taken down" in client.get(f"/s/{slug}").text
    for path in ("run.json", "events"):
        response = client.get(f"/s/{slug}/{path}")
        assert (response.status_code, response.json["error"]["code"]) == (410, "LinkGone")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        unknown = client.get(f"/s/AAAAAAAAAAAAAAAAAAAAAA/{path}")
        assert (unknown.status_code, unknown.json["error"]["code"]) == (404, "LinkNotFound")
    assert client.get("/s/AAAAAAAAAAAAAAAAAAAAAA").status_code == 404


def test_record_says_the_whole_run(client: FlaskClient, slug: str, links: SharedLinks):
    _, run = links.open(slug)

    response = client.get(f"/s/{slug}/run.json")

    assert response.headers["Access-Control-Allow-Origin"] == "*"
    assert "Set-Cookie" not in response.headers
    assert response.json["messages"][0] == {"role": "system", "content": "Be brief."}
    assert response.json["parameters"]["seed"] == 7
    assert [tuple(each) for each in response.json["texts"]] == list(run.texts)
    assert response.json["text"] == run.text
    assert response.json["usage"]["finish_reason"] == "stop"


def test_hostile_texts_stay_text(client: FlaskClient, links: SharedLinks):
    hostile = "".join(piece for pieces in HOSTILE.values() for piece in pieces)
    messages = tuple(Message(role, hostile) for role in ("system", "user", "assistant", "user"))
    run = make_run(prompt=hostile, texts=((1, hostile),), title=hostile)
    request = msgspec.structs.replace(run.request, messages=messages, stop=(hostile,), adapter=hostile)
    slug = open_link(
        links, texts=run.texts, request=request, model_title=hostile, serving_title=hostile, revision=hostile
    )

    page = client.get(f"/s/{slug}").text

    assert "alert(1)" in page
    for tag in ("<img", "<scr" + "ipt>", "<iframe", "<style", "<svg onload", "<b ", "data-hx-get='"):
        assert tag not in page, tag


def test_own_link_can_be_revoked_on_its_page(client: FlaskClient, slug: str, links: SharedLinks):
    assert f"/s/{slug}/revoke" in client.get(f"/s/{slug}").text
    assert "/revoke" not in client.get(f"/s/{open_link(links)}").text


def test_running_again_needs_the_token_of_the_form(client: FlaskClient, slug: str, post: Callable):
    assert client.post(f"/s/{slug}/run").status_code == 400
    # Nobody answers here.
    response = post(f"/s/{slug}/run", is_fragment=True)
    assert (response.status_code, "PoolUnavailable" in response.text) == (503, True)


def test_form_is_taken_over_https_though_the_page_sends_no_referrer(client: FlaskClient, slug: str):
    page = client.get(f"/s/{slug}", base_url="https://localhost").text
    token = re.search(r'name="csrf_token" value="([^"]+)"', page)

    response = client.post(f"/s/{slug}/run", data={"csrf_token": token[1]}, base_url="https://localhost")

    assert response.status_code == 503, response.text


def test_model_that_is_not_here_is_a_clear_refusal(client: FlaskClient, links: SharedLinks, post: Callable):
    unknown = post(f"/s/{open_link(links, model='@gone/model')}/run", is_fragment=True)

    assert (unknown.status_code, "ModelNotFound" in unknown.text) == (404, True)


@pytest.mark.parametrize(("texts", "total"), [((), 0), ((0,), 0), ((5, 5, 900), 1000), ((1000,), 1000)])
def test_pace_is_drawn_within_its_frame(texts: tuple[int, ...], total: int):
    columns = re.findall(r"M(\d+) 24v-([\d.]+)h1v\2z", draw_pace(texts, total))

    assert sum(1 for _ in columns) == len(set(texts))
    assert all(0 <= int(x) < 100 and 0 < float(height) <= 24 for x, height in columns)


def test_code_asks_for_the_same_and_leaves_out_what_is_as_without_it():
    request = make_run().request
    assert parameters(request)["top_p"] == 1.0

    body = run_body(request)

    assert body == {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": request.messages[1].content},
        ],
        "max_tokens": 256,
        "temperature": 0.6,
        "seed": 7,
        "stream": True,
    }


def test_run_of_an_entry_that_is_no_longer_in_the_catalogue_is_still_compared(
    client: FlaskClient, links: SharedLinks, slug: str, monkeypatch: pytest.MonkeyPatch
):
    _, run = links.open(slug)
    record = GenerationRecord(
        ask=1,
        request=msgspec.structs.replace(run.request, model="@gone/model"),
        prompt_tokens=12,
        device="cpu",
        precision="int8",
        texts=list(run.texts),
        end=Finished(run.finish_reason, run.usage, run.timings),
    )
    monkeypatch.setattr(client.application.extensions[POOL_EXTENSION], "record", lambda *_: record)

    answer = client.get(f"/s/{slug}/run/any")

    assert answer.status_code == 200
    assert "@gone/model" in answer.text
