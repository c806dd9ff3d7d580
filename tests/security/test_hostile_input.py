"""Input that no schema foresees: whatever JSON, form or header comes, it is the client's error or an answer."""

import json
from collections.abc import Iterator
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import TOKEN, Reader, Server
from tests.security.callers import RUN, send_raw

MEGABYTE = 1024 * 1024
# Numbers and texts at and past the edges of what any part can hold, as JSON writes them.
VALUES = {
    "past 64 bits": str(2**64),
    "far past 64 bits": "9" * 4000,
    "endless": "1" + "0" * 100_000,
    "smallest of 64 bits": str(-(2**63)),
    "NaN": "NaN",
    "Infinity": "-Infinity",
    "past a double": "1e400",
    "nearly nothing": "1e-400",
    "minus nothing": "-0.0",
    "a megabyte": json.dumps("x" * MEGABYTE),
    "most of a body": json.dumps("x" * 500_000),
    "a megabyte of escapes": '"' + "\\u0000" * (MEGABYTE // 6) + '"',
    "deep lists": "[" * 100_000,
    "deep lists that end": "[" * 50_000 + "]" * 50_000,
    "deep objects": '{"a":' * 50_000 + "1" + "}" * 50_000,
    "half a character": '"\\ud800"',
    "a list of everything": '[null, true, 1.5, "", [], {}]',
    "an object": '{"role": {"content": []}}',
}
FIELDS = ["prompt", "messages", "max_tokens", "temperature", "seed", "stream", "options", "tools"]
any_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS) | st.text(max_size=5), inner),
    max_leaves=20,
)
tried = settings(deadline=None, max_examples=100, derandomize=True, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def api(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def reader(server: Server) -> Reader:
    return server.reader()


@pytest.fixture(autouse=True, scope="module")
def nobody_ends(server: Server) -> Iterator[None]:
    """No process ends while this file's requests come."""
    before = {process["pid"] for process in server.state()["processes"]}
    yield
    assert before <= {process["pid"] for process in server.state()["processes"]}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", VALUES)
def test_value_past_any_edge_is_an_answer_or_the_clients_error(api: httpx.Client, field: str, value: str) -> None:
    body = f'{{"prompt": "hi", "max_tokens": 1, "{field}": {VALUES[value]}}}'

    answer = api.post(RUN, content=body)

    assert answer.status_code in (200, 400, 413)
    assert answer.status_code == 200 or answer.json()["success"] is False


@given(body=any_json)
@tried
def test_any_json_is_an_answer_or_the_clients_error(api: httpx.Client, body: object) -> None:
    # NaN and Infinity go out as they are, which JSON does not have.
    answer = api.post(RUN, content=json.dumps(body))

    assert answer.status_code in (200, 400)


@given(body=st.binary(max_size=500))
@tried
def test_any_bytes_are_the_clients_error(api: httpx.Client, body: bytes) -> None:
    assert api.post(RUN, content=body).status_code == 400


@pytest.mark.parametrize("field", ["prompt", "history", "max_tokens", "seed", "temperature", "model", "csrf_token"])
@pytest.mark.parametrize("value", VALUES)
def test_form_with_a_value_past_any_edge_is_answered_or_refused(reader: Reader, field: str, value: str) -> None:
    form: dict[str, object] = {"prompt": '{"tokens": 1}', "max_tokens": "1"}

    answer = reader.post(**(form | {field: VALUES[value]}))

    assert answer.status_code in (201, 400, 404, 413)
    assert '<token-stream src="' in answer.text or 'data-code="' in answer.text


@given(
    fields=st.dictionaries(
        st.sampled_from(["prompt", "system", "history", "max_tokens", "top_k", "model", "raw"]) | st.text(max_size=5),
        st.text(max_size=20),
    )
)
@tried
def test_any_form_is_answered_or_refused(reader: Reader, fields: dict[str, str]) -> None:
    headers = {"HX-Request": "true", "X-CSRFToken": reader.csrf_token}

    assert reader.client.post("/generations", data=fields, headers=headers).status_code in (201, 400, 404)


@given(value=st.binary(min_size=1, max_size=40).filter(lambda value: b"\r" not in value and b"\n" not in value))
@tried
def test_any_bytes_in_a_header_or_address_are_no_fault(server: Server, value: bytes) -> None:
    names = (b"Last-Event-ID", b"Cookie", b"Authorization", b"X-CSRFToken", b"Content-Type", b"HX-Request")
    headers = b"".join(b"%b: %b\r\n" % (name, value) for name in names)
    address = quote(value).encode()

    for line in (b"GET /generations/%b/events?after=%b", b"GET /models/options?selected=%b&%b", b"POST /%b?%b"):
        request = line % (address, address) + b" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n" + headers
        assert send_raw(server, request + b"\r\n").status < 500
