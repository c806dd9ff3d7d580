"""The picture's route: fresh each time it is asked for, and gone with its link."""

import io

from flask.testing import FlaskClient
from PIL import Image

from tests.shared_runs import make_run
from webapp.web.links.store import SharedLinks


def test_picture_is_a_png_that_any_site_may_show(client: FlaskClient, slug: str) -> None:
    answer = client.get(f"/s/{slug}/og.png")

    assert (answer.status_code, answer.content_type) == (200, "image/png")
    assert Image.open(io.BytesIO(answer.data)).size == (1200, 630)
    assert answer.headers["Cross-Origin-Resource-Policy"] == "cross-origin"
    assert answer.headers["X-Robots-Tag"] == "noindex, nofollow"
    assert "Set-Cookie" not in answer.headers


def test_cache_that_has_it_asks_and_gets_nothing_again_until_it_is_gone(
    client: FlaskClient, slug: str, key: str, links: SharedLinks
) -> None:
    first = client.get(f"/s/{slug}/og.png")
    known = {"If-None-Match": first.headers["ETag"]}
    again = client.get(f"/s/{slug}/og.png", headers=known)
    links.revoke(slug, key)
    gone = client.get(f"/s/{slug}/og.png", headers=known)

    assert first.headers["Cache-Control"] == "no-cache"
    assert [again.status_code, again.data, gone.status_code] == [304, b"", 410]
    assert "revoked" in gone.text


def test_head_has_the_headers_and_draws_nothing(client: FlaskClient, slug: str) -> None:
    answer = client.head(f"/s/{slug}/og.png")

    assert (answer.status_code, answer.content_type, answer.data) == (200, "image/png", b"")
    # It would be that of the picture.
    assert "Content-Length" not in answer.headers


def test_prompt_is_in_the_picture_only_where_its_maker_allowed_it(
    client: FlaskClient, key: str, links: SharedLinks
) -> None:
    slugs = [
        links.create(make_run(prompt=prompt), manage_key=key, lifetime_days=1, has_prompt_in_preview=False).slug
        for prompt in ("One secret", "Another secret")
    ]

    one, other = (client.get(f"/s/{slug}/og.png").data for slug in slugs)

    assert one == other


def test_unknown_link_has_no_picture(client: FlaskClient) -> None:
    assert client.get("/s/none/og.png").status_code == 404
