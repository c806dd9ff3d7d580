"""The three published examples, curl, Worker and page, against Jeton: only their address differs."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.browser.conftest import ARGUMENTS, CHROMIUM, NO_CHROMIUM
from tests.clients.programs import NODE_MODULES
from tests.harness import PROJECT_FOLDER, TOKEN, Server, events, text_of

PUBLISHED = PROJECT_FOLDER / "examples" / "published"
WORKER_EXAMPLE = PROJECT_FOLDER / "examples" / "worker"
# Each word that the page shows is a change of its own.
COUNT_CHANGES = """
addEventListener("DOMContentLoaded", () => {
  window.changes = 0;
  new MutationObserver((records) => { window.changes += records.length; }).observe(el, { childList: true });
});
"""


@contextmanager
def running_worker(folder: Path, server: Server) -> Iterator[str]:
    """The address of the published Worker script in workerd, run as examples/worker runs it."""
    shutil.copytree(WORKER_EXAMPLE, folder, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "node_modules").symlink_to(NODE_MODULES)
    environ = os.environ | {"JETON_URL": server.url, "JETON_TOKEN": TOKEN, "PORT": "0"}
    with subprocess.Popen(["node", "start.js"], cwd=folder, env=environ, stdout=subprocess.PIPE, text=True) as process:
        try:
            said = process.stdout.readline()
            yield re.search(r"runs at (\S+),", said)[1]
        finally:
            process.terminate()


@pytest.mark.browser
@pytest.mark.node_clients
@pytest.mark.skipif(CHROMIUM is None, reason=NO_CHROMIUM)
def test_the_three_published_examples_curl_worker_and_page_work_verbatim_but_for_the_address(
    server: Server, tmp_path: Path
):
    curl = (PUBLISHED / "curl.sh").read_text("utf-8")
    curl = curl.replace("https://api.cloudflare.com", server.url).replace("<account>", "an-account")
    printed = subprocess.check_output(["bash", "-c", curl.replace("<token>", TOKEN)], text=True)

    assert_stream(httpx.Response(200, text=printed))

    assert (WORKER_EXAMPLE / "worker.js").read_bytes() == (PUBLISHED / "worker.js").read_bytes()
    with running_worker(tmp_path / "worker", server) as worker_url:
        with httpx.stream("GET", f"{worker_url}/worker-endpoint", timeout=60) as response:
            assert response.headers["content-type"] == "text/event-stream"
            response.read()
        assert_stream(response)

        page = (PUBLISHED / "page.html").read_text("utf-8")
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            assert_page_shows_the_stream(browser, page, worker_url)
            assert_page_shows_the_stream(browser, page, server.url)
            browser.close()


def assert_stream(response: httpx.Response) -> None:
    taken = list(events(response))
    assert taken[-1].data == "[DONE]"
    assert len(taken) > 2
    assert text_of(taken)


def assert_page_shows_the_stream(browser: Browser, html: str, origin: str) -> None:
    """The page, as part of this site, shows text piece by piece and closes its EventSource at the end."""
    page = browser.new_page()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.route(f"{origin}/page", lambda route: route.fulfill(body=html, content_type="text/html"))
    page.add_init_script(COUNT_CHANGES)
    page.goto(f"{origin}/page")
    page.wait_for_function("source.readyState === EventSource.CLOSED")

    assert page.evaluate("changes") > 2
    assert page.inner_text("#el").strip()
    assert asked == [f"{origin}/page", f"{origin}/worker-endpoint"]


@pytest.mark.node_clients
def test_the_worker_example_has_the_versions_that_are_tested():
    tested = {name: package_version(NODE_MODULES, name) for name in ("@cloudflare/ai", "esbuild", "miniflare")}
    said = json.loads((WORKER_EXAMPLE / "package.json").read_text("utf-8"))

    assert said["dependencies"] == tested


def package_version(folder: Path, name: str) -> str:
    return json.loads((folder / name / "package.json").read_text("utf-8"))["version"]
