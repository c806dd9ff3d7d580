"""A shared link in a frame: what it needs of browsers, which is nothing, and what it says where the link is gone."""

import html

import pytest
from flask.testing import FlaskClient

from tests.shared_runs import PROMPT, make_run
from webapp.settings import SettingInvalid, Settings, read_settings
from webapp.web.create_app import create_app
from webapp.web.database import Database
from webapp.web.links.embed import embed_code
from webapp.web.links.store import SharedLinks


def test_everything_is_there_without_a_script_or_a_cookie(client: FlaskClient, slug: str) -> None:
    page = client.get(f"/e/{slug}")

    assert page.status_code == 200
    assert PROMPT in page.text and "Once upon a time there was a **coin** that could talk." in page.text
    assert "Set-Cookie" not in page.headers and "csrf" not in page.text
    # An icon of another file does not show where the page's origin is nobody's.
    assert "icons.svg" not in page.text


def test_any_site_may_frame_it_and_nobody_may_index_it(client: FlaskClient, slug: str) -> None:
    headers = client.get(f"/e/{slug}").headers

    assert headers["Content-Security-Policy"].endswith("frame-ancestors *")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "X-Frame-Options" not in headers
    assert headers["X-Robots-Tag"] == "noindex, nofollow"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_no_other_page_may_be_framed(client: FlaskClient, slug: str) -> None:
    for path in ("/", f"/s/{slug}", "/links", "/api", "/nothing"):
        assert "frame-ancestors 'none'" in client.get(path).headers["Content-Security-Policy"]


def test_static_files_may_be_loaded_by_a_page_whose_origin_is_nobodys(client: FlaskClient) -> None:
    for path in ("style.css", "embed.css", "embed.js"):
        headers = client.get(f"/static/{path}", headers={"Origin": "null"}).headers

        assert headers["Access-Control-Allow-Origin"] == "*"
        assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


def test_gone_link_says_so_in_the_frame(client: FlaskClient, slug: str, key: str, links: SharedLinks) -> None:
    links.revoke(slug, key)

    gone, unknown = client.get(f"/e/{slug}"), client.get("/e/none")

    assert [gone.status_code, unknown.status_code] == [410, 404]
    assert "revoked" in gone.text and PROMPT not in gone.text
    for page in (gone, unknown):
        assert "frame-ancestors *" in page.headers["Content-Security-Policy"]
        assert "Set-Cookie" not in page.headers


def test_hostile_texts_are_text(client: FlaskClient, key: str, links: SharedLinks) -> None:
    hostile = "</div></template><script>alert(1)</script>"
    run = make_run(prompt=hostile, texts=((1, hostile),), title=hostile)
    slug = links.create(run, manage_key=key, lifetime_days=1, has_prompt_in_preview=True).slug

    page = client.get(f"/e/{slug}").text

    assert hostile not in page and page.count(html.escape(hostile)) >= 3


@pytest.mark.parametrize(("theme", "is_set"), [("dark", True), ("light", True), ("pink", False), ('"><b>', False)])
def test_theme_is_light_or_dark_or_the_readers(*, client: FlaskClient, slug: str, theme: str, is_set: bool) -> None:
    page = client.get(f"/e/{slug}", query_string={"theme": theme}).text

    assert (f'data-theme="{theme}"' in page) == is_set
    assert ("data-theme" in page) == is_set


def test_embed_code_is_safe_html_whatever_the_title() -> None:
    code = embed_code("https://jeton.example/e/abc?a=1&b=2", "\"><script>alert('1')</script>")

    assert "<script>" not in code
    assert code.count('"') % 2 == 0 and code.startswith('<iframe src="https://jeton.example/e/abc?a=1&amp;b=2"')
    assert 'sandbox="allow-scripts allow-popups ' in code


@pytest.mark.parametrize(
    ("value", "ancestors"),
    [("", "*"), ("*", "*"), ("none", "'none'"), ("https://a.example https://*.b.example:8443", None)],
)
def test_setting_says_who_may_frame_it(settings: Settings, value: str, ancestors: str | None) -> None:
    read = read_settings({"JETON_EMBED_ANCESTORS": value})
    app = create_app(
        Settings(
            **{name: getattr(settings, name) for name in ("data_dir", "cache_dir", "run_dir", "models_file")},
            embed_ancestors=read.embed_ancestors,
        )
    )
    Database(settings.database_url).upgrade(settings.data_dir / "database.lock")

    policy = app.test_client().get("/e/none").headers["Content-Security-Policy"]

    assert policy.endswith(f"frame-ancestors {ancestors or value}")


@pytest.mark.parametrize(
    "value", ["* none", "example.com", "https://a; script-src *", "https://a\nX: y", "javascript:", "'self'"]
)
def test_setting_that_is_no_list_of_sites_stops_the_start(value: str) -> None:
    with pytest.raises(SettingInvalid, match="JETON_EMBED_ANCESTORS"):
        read_settings({"JETON_EMBED_ANCESTORS": value})
