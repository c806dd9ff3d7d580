"""`/worker-endpoint` without a pool: who may start work, how often, and what is never written down."""

import logging

import msgspec
import pytest
from flask import Flask
from flask.testing import FlaskClient

from webapp.settings import Settings
from webapp.web import pool_client
from webapp.web.create_app import create_app

URL = "/worker-endpoint"
ELSEWHERE = {"REMOTE_ADDR": "192.0.2.7"}


def code_of(response) -> str:
    return response.json["error"]["code"]


def test_generations_count_by_address_whatever_the_cookie(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_client, "ANSWER_SECONDS", 0.01)
    limited = create_app(msgspec.structs.replace(settings, rate_limit=2, web_processes=1))

    answers = [limited.test_client().get(URL, environ_overrides=ELSEWHERE) for _ in range(3)]

    assert [code_of(answer) for answer in answers] == ["PoolUnavailable", "PoolUnavailable", "RateLimitReached"]
    assert answers[-1].status_code == 429
    assert int(answers[-1].headers["Retry-After"]) > 0


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://localhost:3000"},
        {"Origin": "http://["},
        {"Referer": "http://elsewhere.example/page"},
        {"Referer": "http://localhost.elsewhere.example/"},
        {"Sec-Purpose": "prefetch;prerender"},
    ],
    ids=str,
)
def test_refused_callers_reach_neither_pool_nor_limits(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    monkeypatch.setattr("webapp.web.pool_client.PoolClient.submit", lambda *args: pytest.fail("submitted"))
    monkeypatch.setattr("webapp.web.limits.RateLimits.count_generation", lambda *args: pytest.fail("counted"))

    response = client.get(URL, headers=headers)

    assert (response.status_code, code_of(response)) == (403, "Forbidden")


@pytest.mark.parametrize(
    "headers",
    [{}, {"Sec-Fetch-Site": "none"}, {"Origin": "http://localhost"}, {"Referer": "http://localhost/a/page?of=it"}],
    ids=str,
)
def test_pages_of_this_site_and_people_pass(client: FlaskClient, headers: dict[str, str]) -> None:
    assert code_of(client.get(URL, headers=headers)) == "PoolUnavailable"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("top_k=0", "top_k"),
        ("max_tokens=1.5", "max_tokens"),
        ("max_tokens=1801", "max_tokens"),
        ("seed=0", "seed"),
        ("temperature=nan", "temperature"),
        ("min_p=2", "min_p"),
    ],
)
def test_bad_parameter_is_named(client: FlaskClient, query: str, field: str) -> None:
    response = client.get(f"{URL}?{query}")

    assert (response.status_code, code_of(response)) == (400, "InvalidFields")
    assert field in response.json["error"]["message"]


@pytest.mark.parametrize("query", ["", "prompt=&model=&system=&top_k=", "messages=x&tools=x&stream=x&unknown=x"])
def test_empty_and_unknown_parameters_are_as_if_not_given(client: FlaskClient, query: str) -> None:
    assert code_of(client.get(f"{URL}?{query}")) == "PoolUnavailable"


def test_browser_that_comes_back_is_told_to_try_again_while_the_pool_is_away(client: FlaskClient) -> None:
    response = client.get(URL, headers={"Last-Event-ID": f"{'0' * 32}:3"})

    assert (response.status_code, response.data) == (200, b"retry: 1000\n\n")


def test_prompt_in_the_address_is_in_no_log_line(
    app: Flask, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("webapp.web.generations.Generations.prepare", lambda *args, **fields: 1 / 0)
    monkeypatch.setitem(app.config, "PROPAGATE_EXCEPTIONS", False)
    caplog.set_level(logging.DEBUG)

    response = app.test_client().get(f"{URL}?prompt=my+secret&system=another+secret")

    assert (response.status_code, code_of(response)) == (500, "InternalServerError")
    assert caplog.text and "secret" not in caplog.text
