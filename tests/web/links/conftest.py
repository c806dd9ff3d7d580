"""The links of the app that all tests share, and the form's token of a browser."""

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.shared_runs import make_run
from webapp.web.create_app import LINKS_EXTENSION
from webapp.web.links.manage_key import COOKIE, new_manage_key
from webapp.web.links.store import SharedLinks


@pytest.fixture
def links(app: Flask) -> SharedLinks:
    return app.extensions[LINKS_EXTENSION]


@pytest.fixture
def key(client: FlaskClient) -> str:
    """The manage key of the client, which has one."""
    made = new_manage_key()
    client.set_cookie(COOKIE, made)
    return made


@pytest.fixture
def slug(links: SharedLinks, key: str) -> str:
    """A link that the client has made."""
    made = links.create(make_run(), manage_key=key, lifetime_days=7, has_prompt_in_preview=True)
    return made.slug


@pytest.fixture
def post(client: FlaskClient) -> Callable[..., object]:
    """Sends a form with its token, as a page of this site does; as htmx does with `is_fragment`."""

    def send(path: str, *, is_fragment: bool = False, **fields: object) -> object:
        token = re.search(r'name="csrf-token" content="([^"]+)"', client.get("/links").text)
        headers = {"HX-Request": "true"} if is_fragment else {}
        return client.post(path, data={"csrf_token": token[1]} | fields, headers=headers)

    return send
