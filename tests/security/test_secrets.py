"""What users type, models say and clients prove themselves with is in no log and no database, at any log level."""

import stat

import httpx
import pytest

from tests.harness import TOKEN, Reader, Server, script
from tests.security.callers import OPERATOR_TOKEN, RUN, make_token, new_address, send_raw

MARKER = "xyzzy-no-log-may-hold-this"
BREAKS = f'{MARKER}"\r\n\0\u2028\ud7ff%s%(name)s {{}} \x1b[31m<script>'


def known(address: str, token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}


def test_nothing_that_a_client_sends_or_reads_is_in_a_log_or_the_database(guarded: Server) -> None:
    address, token = new_address(), make_token(guarded)
    client = httpx.Client(base_url=guarded.url, headers=known(address, token))
    completion = script(pieces=[MARKER, BREAKS])
    assert MARKER in client.post(RUN, json={"prompt": completion}).json()["result"]["response"]
    for body in (
        {"prompt": BREAKS},
        {"prompt": completion, "stream": True},
        {"messages": [{"role": "system", "content": BREAKS}, {"role": "user", "content": completion}]},
        {"prompt": script(pieces=[MARKER] * 9, fail_at=3), "stream": True},
        {"prompt": script(pieces=[MARKER] * 9, out_of_memory_at=3)},
        {"prompt": f"{MARKER} " * 5000},
        {"prompt": MARKER, "top_k": MARKER, "messages": MARKER, "tools": [MARKER]},
        {"prompt": MARKER * 100_000},
        [MARKER],
    ):
        client.post(RUN, json=body)
    client.post(RUN, content=f'{{"prompt": "{MARKER}')
    client.post(RUN.replace("scripted", MARKER), json={"prompt": "hi"})
    client.post(RUN, json={"prompt": "hi"}, headers=known(address, MARKER))
    client.post(RUN, json={"prompt": "hi"}, headers=known(address, OPERATOR_TOKEN))
    client.get(f"/{MARKER}?{MARKER}={MARKER}", headers={"X-Any": MARKER, "Referer": f"http://{MARKER}/"})
    client.get("/models/options", params={"selected": BREAKS})
    client.get(f"/generations/{MARKER}/events", headers={"Last-Event-ID": MARKER})
    client.get("/", headers={"Cookie": f"jeton_session={MARKER}; other={MARKER}"})
    client.request(MARKER.upper(), "/")
    _use_the_playground(guarded, address)
    _send_what_cannot_be_read(guarded)
    with client.stream("POST", RUN, json={"prompt": script(pieces=[MARKER] * 99, step_seconds=0.05), "stream": True}):
        # Left in the middle.
        pass
    assert client.get("/healthz").status_code == 200

    on_disk = {path: path.read_bytes() for path in guarded.data_dir.rglob("*") if path.is_file()}
    assert b"gunicorn.error" in on_disk[guarded.data_dir / "output.log"], "the log has no debug lines"
    for path, content in on_disk.items():
        # Prompts and completions are kept there, so that no crash loses them.
        if path.parent.name == "journal":
            continue
        for secret in (MARKER, TOKEN, OPERATOR_TOKEN, token):
            assert secret.encode() not in content, f"{path.name} holds {secret}"


def _use_the_playground(server: Server, address: str) -> None:
    reader = Reader(server)
    reader.client.headers["X-Forwarded-For"] = address
    for fragment in (True, False):
        reader.post(prompt=script(pieces=[MARKER]), system=BREAKS, fragment=fragment)
        reader.post(prompt=MARKER, history=MARKER, fragment=fragment)
        reader.post(prompt=MARKER, model=MARKER, temperature=MARKER, fragment=fragment)
    reader.client.post("/generations", data={"prompt": MARKER, "csrf_token": MARKER})
    reader.read_to_end(reader.submit(prompt=script(pieces=[MARKER, MARKER])))


def _send_what_cannot_be_read(server: Server) -> None:
    marker = MARKER.encode()
    host = b"Host: localhost\r\n"
    get = b"GET / HTTP/1.1\r\n" + host
    for data in (
        b"GET /%b\0 HTTP/1.1\r\n" % marker + host + b"\r\n",
        b"%b / HTTP/1.1\r\n" % marker + host + b"\r\n",
        get + b"Authorization : Bearer %b\r\n\r\n" % marker,
        get + b"Cookie: a\r\n %b\r\n\r\n" % marker,
        get + b"Expect: %b\r\n\r\n" % marker,
        get + b"Transfer-Encoding: %b\r\n\r\n" % marker,
        b"GET /%b HTTP/1.1\r\nHost: %b@\r\nConnection: close\r\n\r\n" % (marker, marker),
        # Cut off: the connection ends in the middle of a header, and of a chunk.
        get + b"Authorization: Bearer %b" % marker,
        f"POST {RUN} HTTP/1.1\r\nAuthorization: Bearer {OPERATOR_TOKEN}\r\n".encode()
        + host
        + b"Transfer-Encoding: chunked\r\n\r\n%b\r\n" % marker,
    ):
        send_raw(server, data, is_cut_off=True)


@pytest.mark.parametrize("folder", [".", "run", "journal"])
def test_data_is_for_this_user_only(guarded: Server, folder: str) -> None:
    path = guarded.data_dir / folder

    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_key_and_journal_are_for_this_user_only(guarded: Server) -> None:
    files = [guarded.data_dir / "secret-key", *(guarded.data_dir / "journal").iterdir()]

    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in files} == {
        path.name: "0o600" for path in files
    }
