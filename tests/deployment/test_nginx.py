"""docs/deployment/nginx.conf in a real nginx, before a real server that believes one proxy."""

import grp
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.deployment.units import DEPLOYMENT
from tests.harness import TOKEN, Reader, Server, events, free_port, make_server, wait_until

# Debian keeps it where only root's PATH leads.
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin"
NGINX, OPENSSL = shutil.which("nginx", path=PATH), shutil.which("openssl")
pytestmark = pytest.mark.skipif(not (NGINX and OPENSSL), reason="no nginx, or no openssl, on this machine")

# What a distribution's own nginx.conf has around the file; as any user, in any folder.
AROUND = """
daemon off;
user {user} {group};
pid {folder}/nginx.pid;
error_log stderr;
events {{ worker_connections 64; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/jeton.conf;
}}
"""
LONG = '{"tokens": 2000, "step_seconds": 0.05}'


@dataclass
class Proxied:
    """A server, and an nginx before it."""

    server: Server
    https: httpx.Client
    http_url: str

    def run(self, **body: object) -> dict[str, object]:
        """The arguments of a request for a generation."""
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return {"url": "/client/v4/accounts/a/ai/run/@jeton/scripted", "headers": headers, "json": body}


def configuration(folder: Path, *, jeton: int, http: int, https: int) -> Path:
    """The shipped file with other ports and a certificate of this test's own."""
    certificate = ["-subj", "/CN=jeton.example", "-keyout", folder / "jeton.key", "-out", folder / "jeton.crt"]
    new = [OPENSSL, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1"]
    subprocess.run([*new, *certificate], check=True, capture_output=True)
    text = (DEPLOYMENT / "nginx.conf").read_text("utf-8")
    for shipped, own in (
        ("127.0.0.1:8000;", f"127.0.0.1:{jeton};"),
        ("listen 80;", f"listen 127.0.0.1:{http};"),
        ("listen 443 ssl", f"listen 127.0.0.1:{https} ssl"),
        ("    listen [::]:80;\n", ""),
        ("    listen [::]:443 ssl http2;\n", ""),
        ("/etc/nginx/", f"{folder}/"),
    ):
        assert shipped in text
        text = text.replace(shipped, own)
    (folder / "jeton.conf").write_text(text)
    user, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user, group=group))
    return folder / "nginx.conf"


@pytest.fixture(scope="module")
def proxied(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    folder = tmp_path_factory.mktemp("nginx")
    server = make_server(tmp_path_factory.mktemp("proxied"), JETON_PROXIES="1")
    http, https = free_port(), free_port()
    file = configuration(folder, jeton=server.port, http=http, https=https)
    server.start()
    with (folder / "output.log").open("wb") as log:
        nginx = subprocess.Popen([NGINX, "-e", "stderr", "-c", file], stdout=log, stderr=log)
    client = httpx.Client(base_url=f"https://127.0.0.1:{https}", verify=False, timeout=30.0)
    proxied = Proxied(server, client, f"http://127.0.0.1:{http}")
    try:
        wait_until(lambda: _answers(client), 10, lambda: (folder / "output.log").read_text("utf-8"))
        yield proxied
    finally:
        client.close()
        nginx.terminate()
        nginx.wait(10)
        server.stop()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz").status_code == 200
    except httpx.HTTPError:
        return False


def test_tokens_come_while_the_rest_is_not_made_yet_and_a_client_that_leaves_ends_its_generation(proxied: Proxied):
    with proxied.https.stream("POST", **proxied.run(prompt=LONG, max_tokens=2000, stream=True)) as response:
        assert (response.status_code, response.headers["Content-Type"]) == (200, "text/event-stream")
        stream = events(response)
        taken = [next(stream).json["response"] for _ in range(3)]
        # Nearly all of it is still to come.
        assert proxied.server.state()["running"] == 1

    assert all(taken)
    wait_until(lambda: proxied.server.state()["running"] == 0, 5)


def test_playground_streams_over_https_with_a_secure_cookie(proxied: Proxied):
    page = proxied.https.get("/")
    # As a browser does; over https Flask-WTF looks at it.
    proxied.https.headers["Referer"] = str(proxied.https.base_url)
    reader = Reader(proxied.server, client=proxied.https)

    taken = reader.read_to_end(reader.submit(prompt='{"tokens": 5}'))

    assert "Secure" in page.headers["Set-Cookie"]
    assert page.headers["Strict-Transport-Security"]
    assert taken[-1].data == "[DONE]"


def test_plain_http_is_sent_to_https(proxied: Proxied):
    answer = httpx.get(f"{proxied.http_url}/models/options", headers={"Host": "jeton.example"})

    assert (answer.status_code, answer.headers["Location"]) == (308, "https://jeton.example/models/options")


def test_nobody_behind_the_proxy_is_local_whatever_they_say_of_themselves(proxied: Proxied):
    pretended = {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "127.0.0.1"}

    assert proxied.https.get("/metrics", headers=pretended).status_code == 401
    assert all("pid" not in each for each in proxied.https.get("/pool.json", headers=pretended).json()["processes"])


def test_body_that_is_too_large_is_refused_in_the_shape_of_the_api(proxied: Proxied):
    answer = proxied.https.post(**proxied.run(prompt="x" * 600_000))

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 3006)
