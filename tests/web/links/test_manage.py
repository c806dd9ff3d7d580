"""The links of one's own: who sees, revokes and extends them, with and without htmx; keys; reports."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.shared_runs import PROMPT, make_run
from webapp.web.errors import LinkGone
from webapp.web.links.manage import LINKS_A_PAGE
from webapp.web.links.manage_key import COOKIE, new_manage_key
from webapp.web.links.store import LONGEST_DETAILS, REPORT_REASONS, SharedLinks

Post = Callable[..., object]


def rows(page: str) -> int:
    return page.count('class="own-link"')


def test_page_without_a_key_is_empty_and_gives_none(client: FlaskClient) -> None:
    page = client.get("/links")

    assert page.status_code == 200
    assert "There is none yet." in page.text and rows(page.text) == 0
    assert not [cookie for cookie in page.headers.getlist("Set-Cookie") if COOKIE in cookie]


def test_page_shows_what_this_browser_has_made_newest_first(client: FlaskClient, key: str, links: SharedLinks) -> None:
    for number in range(3):
        links.create(make_run(prompt=f"Prompt {number}"), manage_key=key, lifetime_days=1, has_prompt_in_preview=True)
    links.create(make_run(prompt="Foreign"), manage_key=new_manage_key(), lifetime_days=1, has_prompt_in_preview=True)

    page = client.get("/links").text

    assert rows(page) == 3
    assert page.index("Prompt 2") < page.index("Prompt 1") < page.index("Prompt 0")
    assert "Foreign" not in page


def test_page_keeps_the_key_for_as_long_again_out_of_the_reach_of_scripts(client: FlaskClient, slug: str) -> None:
    [cookie] = [value for value in client.get("/links").headers.getlist("Set-Cookie") if value.startswith(COOKIE)]
    [secure] = [
        value
        for value in client.get("/links", base_url="https://localhost").headers.getlist("Set-Cookie")
        if value.startswith(COOKIE)
    ]

    for flag in ("HttpOnly", "SameSite=Lax", "Path=/", f"Max-Age={400 * 24 * 3600}"):
        assert flag in cookie
    assert "Secure" in secure and "Secure" not in cookie


def test_hostile_prompt_is_text_on_the_page(client: FlaskClient, key: str, links: SharedLinks) -> None:
    run = make_run(prompt="<script>alert(1)</script>", title='"><img src=x onerror=alert(1)>')
    links.create(run, manage_key=key, lifetime_days=1, has_prompt_in_preview=True)

    page = client.get("/links").text

    assert "&lt;script&gt;alert(1)" in page and "<script>alert" not in page and "<img" not in page


def test_more_links_than_a_page_holds_are_on_the_next(client: FlaskClient, key: str, links: SharedLinks) -> None:
    for _ in range(LINKS_A_PAGE + 1):
        links.create(make_run(), manage_key=key, lifetime_days=1, has_prompt_in_preview=True)

    assert [rows(client.get(f"/links?page={page}").text) for page in (1, 2, 3, "x", "-1", "9" * 50)] == [
        LINKS_A_PAGE,
        1,
        1,
        LINKS_A_PAGE,
        LINKS_A_PAGE,
        LINKS_A_PAGE,
    ]


def test_revoked_link_is_gone_and_stays_on_the_page_without_its_text(
    client: FlaskClient, post: Post, slug: str, links: SharedLinks
) -> None:
    answer = post(f"/s/{slug}/revoke")

    assert (answer.status_code, answer.location) == (303, f"/links#{slug}")
    with pytest.raises(LinkGone):
        links.open(slug)
    page = client.get("/links").text
    assert "Revoked" in page and PROMPT not in page


def test_with_htmx_the_changed_row_comes_back(post: Post, slug: str) -> None:
    extended = post(f"/s/{slug}/extend", is_fragment=True, lifetime_days="30")
    revoked = post(f"/s/{slug}/revoke", is_fragment=True)
    again = post(f"/s/{slug}/extend", is_fragment=True, lifetime_days="30")

    assert [answer.status_code for answer in (extended, revoked, again)] == [200, 200, 410]
    assert 'data-state="live"' in extended.text and 'data-state="revoked"' in revoked.text
    assert "<html" not in extended.text + revoked.text + again.text
    assert 'role="alert"' in again.text


def test_extended_link_expires_that_many_days_from_now(post: Post, slug: str, links: SharedLinks) -> None:
    answer = post(f"/s/{slug}/extend", lifetime_days="30")

    assert answer.status_code == 303
    left = links.open(slug)[0].expires_at - datetime.now(UTC)
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


def test_form_on_the_link_itself_leads_back_to_it(post: Post, slug: str) -> None:
    assert post(f"/s/{slug}/extend", lifetime_days="1", **{"from": "page"}).location == f"/s/{slug}"


@pytest.mark.parametrize("lifetime", ["", "2", "-1", "never", "7.5", "x" * 9999, "١"])
def test_lifetime_that_there_is_not_is_refused(post: Post, slug: str, lifetime: str) -> None:
    assert post(f"/s/{slug}/extend", lifetime_days=lifetime).status_code == 400


@pytest.mark.parametrize("what", ["revoke", "extend"])
def test_only_the_browser_that_made_a_link_may_change_it(
    client: FlaskClient, post: Post, slug: str, links: SharedLinks, what: str
) -> None:
    client.set_cookie(COOKIE, new_manage_key())
    foreign = post(f"/s/{slug}/{what}", lifetime_days="7")
    client.delete_cookie(COOKIE)
    without = post(f"/s/{slug}/{what}", lifetime_days="7")

    assert [foreign.status_code, without.status_code] == [403, 403]
    assert links.open(slug)


@pytest.mark.parametrize(
    "path", ["/s/{slug}/revoke", "/s/{slug}/extend", "/s/{slug}/report", "/links/key", "/links/forget"]
)
def test_form_without_its_token_changes_nothing(client: FlaskClient, slug: str, links: SharedLinks, path: str) -> None:
    answer = client.post(path.format(slug=slug), data={"lifetime_days": "1", "reason": "spam", "key": new_manage_key()})

    assert answer.status_code == 400
    assert links.open(slug)
    assert not [cookie for cookie in answer.headers.getlist("Set-Cookie") if COOKIE in cookie]


def test_unknown_link_cannot_be_changed_or_reported(post: Post, key: str) -> None:
    paths = {"revoke": {}, "extend": {"lifetime_days": "7"}, "report": {"reason": "spam"}}

    assert [post(f"/s/{'x' * 22}/{what}", **fields).status_code for what, fields in paths.items()] == [404, 404, 404]


def test_another_browser_takes_the_key_over_and_forgets_it(
    app: Flask, post: Post, client: FlaskClient, slug: str
) -> None:
    key = client.get_cookie(COOKIE).value
    client.delete_cookie(COOKIE)

    taken = post("/links/key", key=f" {key} ")
    mine = client.get("/links").text
    forgotten = post("/links/forget")

    assert [taken.status_code, forgotten.status_code] == [303, 303]
    assert slug in mine
    assert client.get_cookie(COOKIE) is None
    assert slug not in client.get("/links").text


@pytest.mark.parametrize("key", ["", "short", "\x00" * 43, "x" * 5000])
def test_key_that_is_none_is_not_taken(client: FlaskClient, post: Post, key: str) -> None:
    assert post("/links/key", key=key).status_code == 400
    assert client.get_cookie(COOKIE) is None


def test_key_that_has_made_nothing_is_not_taken(client: FlaskClient, post: Post) -> None:
    refused = post("/links/key", key=new_manage_key())

    assert refused.status_code == 403
    assert "No shared link was made with this manage key." in refused.text
    assert client.get_cookie(COOKIE) is None


def test_report_is_kept_for_the_operator_and_thanked_for(post: Post, slug: str, links: SharedLinks) -> None:
    page = post(f"/s/{slug}/report", reason="spam", details="It sells\r\ncoins.")
    fragment = post(f"/s/{slug}/report", is_fragment=True, reason="other")

    assert [page.status_code, fragment.status_code] == [201, 201]
    assert "Thank you" in page.text and "Thank you" in fragment.text and "<html" not in fragment.text
    [reported] = [found for found in links.find_reported() if found.link.slug == slug]
    assert [report[1:] for report in reported.reports] == [("other", ""), ("spam", "It sells\ncoins.")]


@pytest.mark.parametrize(
    "fields",
    [{}, {"reason": "boring"}, {"reason": "spam", "details": "x" * (LONGEST_DETAILS + 1)}],
    ids=["none", "unknown", "long"],
)
def test_report_that_cannot_be_kept_gives_the_form_again(post: Post, slug: str, fields: dict[str, str]) -> None:
    page = post(f"/s/{slug}/report", **fields)
    fragment = post(f"/s/{slug}/report", is_fragment=True, **fields)

    assert [page.status_code, fragment.status_code] == [400, 400]
    assert '<details class="report" open>' in fragment.text
    assert fields.get("details", "") in fragment.text


def test_form_offers_each_reason_that_is_kept(post: Post, slug: str) -> None:
    form = post(f"/s/{slug}/report", is_fragment=True).text

    assert not [reason for reason in REPORT_REASONS if f'<option value="{reason}">' not in form]
