"""What the settings say of shared links: whether any are made, how many, for how long."""

import msgspec
import pytest
from flask import Flask

from tests.shared_runs import make_run
from webapp.settings import Settings
from webapp.web import pool_client
from webapp.web.create_app import LINKS_EXTENSION, create_app
from webapp.web.errors import LinkQuotaReached
from webapp.web.links.store import SharedLinks


def make_app(settings: Settings, **changes: object) -> Flask:
    app = create_app(msgspec.structs.replace(settings, **changes))
    app.config["WTF_CSRF_ENABLED"] = False
    app.test_cli_runner().invoke(args=["upgrade-database"])
    return app


def make(links: SharedLinks, *, key: str = "k", days: int | None = 7) -> str:
    return links.create(make_run(), manage_key=key, lifetime_days=days, has_prompt_in_preview=True).slug


def test_server_without_sharing_makes_no_links_and_keeps_those_there_are(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_client, "ANSWER_SECONDS", 0.02)
    slug = make(make_app(settings).extensions[LINKS_EXTENSION])
    client = make_app(settings, is_sharing_allowed=False).test_client()

    made = client.post("/generations/some/share")
    page = client.get("/").get_data(as_text=True)

    assert made.status_code == 404
    assert "share-dialog" not in page
    assert client.get(f"/s/{slug}").status_code == 200


def test_settings_bound_the_links(settings: Settings) -> None:
    links = make_app(settings, links_of_one=1, links_total=2, is_link_for_ever_allowed=True).extensions[LINKS_EXTENSION]
    make(links, days=None)

    with pytest.raises(LinkQuotaReached, match="This browser"):
        make(links)
    make(links, key="another")
    with pytest.raises(LinkQuotaReached, match="This server"):
        make(links, key="a third")
