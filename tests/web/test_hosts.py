"""By which names a server may be called, as it is reached from this machine only, from everywhere, or by a proxy."""

import msgspec
import pytest
from werkzeug.test import create_environ, run_wsgi_app

from webapp.settings import Settings
from webapp.web.create_app import create_app
from webapp.web.hosts import is_local_name


def status(settings: Settings, name: str) -> int:
    """What a server of these settings answers where it is called by this name."""
    return create_app(settings).test_client().get("/healthz", headers={"Host": name}).status_code


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("localhost", True),
        ("localhost:8000", True),
        ("LocalHost", True),
        ("app.localhost:1", True),
        ("127.0.0.1", True),
        ("127.8.7.6:80", True),
        ("[::1]:8000", True),
        ("::1", False),
        ("notlocalhost", False),
        ("localhost.evil.example", False),
        ("127.0.0.1.evil.example", False),
        ("192.0.2.1", False),
        ("localhost:8000/", False),
        ("localhost@evil.example", False),
        ("", False),
    ],
)
def test_local_names_are_those_no_other_site_can_have(name: str, *, expected: bool) -> None:
    assert is_local_name(name) is expected


@pytest.mark.parametrize(
    ("changes", "is_answered"),
    [({}, False), ({"host": "::1"}, False), ({"host": "0.0.0.0"}, True), ({"proxies": 1}, True)],
    ids=str,
)
def test_other_names_are_for_servers_that_others_reach(
    settings: Settings, changes: dict[str, object], *, is_answered: bool
) -> None:
    changed = msgspec.structs.replace(settings, **changes)

    assert status(changed, "jeton.example") == (200 if is_answered else 400)
    assert status(changed, "localhost:8000") == 200


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a@b", "<script>", "a:b", "a:" + "9" * 5000, "[::1", "é"])
def test_name_that_is_none_is_refused_everywhere(settings: Settings, host: str) -> None:
    assert status(msgspec.structs.replace(settings, host="0.0.0.0"), host) == 400


@pytest.mark.parametrize("host", ["x" * 64, "a." + "x" * 3000, "x..y", ".x", "xn--a"])
def test_name_with_a_part_that_is_none_is_refused_on_pages_that_write_addresses(settings: Settings, host: str) -> None:
    app = create_app(msgspec.structs.replace(settings, proxies=1))

    for path in ("/", "/api", "/links", "/nowhere"):
        # Werkzeug's client would read the name itself.
        _, status, _ = run_wsgi_app(app, create_environ(path) | {"HTTP_HOST": host}, buffered=True)
        assert (path, status) == (path, "400 BAD REQUEST")


@pytest.mark.parametrize("path", ["/client/v4/accounts/a/ai/run/x", "/client/v4/nowhere"])
def test_api_answers_another_name_in_its_own_shape(settings: Settings, path: str) -> None:
    client = create_app(settings).test_client()

    answer = client.post(path, headers={"Host": "my-box:8000"}, json={})

    (problem,) = msgspec.json.decode(answer.data)["errors"]
    assert (answer.status_code, problem["code"]) == (400, 5006)
    assert "HOST" in problem["message"], problem
