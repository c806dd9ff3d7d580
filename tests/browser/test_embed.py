"""A shared link in a frame of another site: sandboxed, without a cookie, replayed, and the only page that frames."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from playwright.sync_api import Browser, BrowserContext, FrameLocator, expect

from tests.harness import Server
from tests.shared_runs import PROMPT, links_of, make_run, share
from webapp.web.links.embed import embed_code

WHOLE = "Once upon a time there was a coin that could talk. It!"
SANDBOX = "allow-scripts allow-popups"
HOSTILE = "<img src=x onerror=alert(1)></template></main><script>alert(2)</script>"


class Site(BaseHTTPRequestHandler):
    """Another site, whose only page frames what its query says."""

    def __init__(self, frames: dict[str, str], *arguments: object) -> None:
        self.frames = frames
        super().__init__(*arguments)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.end_headers()
        self.wfile.write(f"<!doctype html><title>A blog</title>{self.frames.get(self.path, '')}".encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@pytest.fixture
def frames() -> dict[str, str]:
    """What the other site's pages hold, by their path."""
    return {}


@pytest.fixture
def site(frames: dict[str, str]) -> Iterator[str]:
    """The address of another site: another port is another origin."""
    listening = ThreadingHTTPServer(("127.0.0.1", 0), partial(Site, frames))
    thread = threading.Thread(target=listening.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listening.server_port}"
    listening.shutdown()
    listening.server_close()


def answer(frame: FrameLocator, text: str) -> None:
    expect(frame.locator("token-stream")).to_have_count(1)
    expect(frame.locator(".answer")).to_have_text(text)


def test_frame_in_a_sandbox_shows_and_replays_the_run_without_a_cookie(
    open_context: Callable[..., BrowserContext], server: Server, site: str, frames: dict[str, str]
) -> None:
    slug = share(server)
    frames["/"] = f'<iframe src="{server.url}/e/{slug}" sandbox="{SANDBOX}" width="600" height="400"></iframe>'
    context = open_context()
    page = context.new_page()
    page.goto(site)
    frame = page.frame_locator("iframe")

    answer(frame, WHOLE)
    expect(frame.locator(".prompt")).to_have_text(PROMPT)
    # As Markdown: so the modules were loaded, by a page whose origin is nobody's.
    expect(frame.locator(".answer strong")).to_have_text("coin")

    frame.get_by_role("button", name="Replay").click()
    expect(frame.locator(".phase")).to_have_attribute("data-phase", "streaming")
    expect(frame.locator(".answer")).not_to_have_text(WHOLE)
    expect(frame.locator(".phase")).to_have_attribute("data-phase", "done")
    answer(frame, WHOLE)
    expect(frame.get_by_role("status")).to_have_text("The replay is complete.")

    frame.get_by_role("button", name="Replay").click()
    frame.get_by_role("button", name="Show all").click()
    answer(frame, WHOLE)

    assert context.cookies() == []


def test_embed_code_works_as_it_is_and_hostile_texts_are_text(
    open_context: Callable[..., BrowserContext], server: Server, site: str, frames: dict[str, str]
) -> None:
    run = make_run(prompt=HOSTILE, texts=((10, HOSTILE[:20]), (20, HOSTILE[20:])), title=HOSTILE)
    slug = share(server, run)
    frames["/"] = embed_code(f"{server.url}/e/{slug}?theme=dark", HOSTILE)
    page = open_context(viewport={"width": 390, "height": 800}).new_page()
    page.goto(site)
    frame = page.frame_locator("iframe")

    expect(frame.locator(".prompt")).to_have_text(HOSTILE)
    answer(frame, HOSTILE)
    frame.get_by_role("button", name="Replay").click()
    expect(frame.locator(".phase")).to_have_attribute("data-phase", "done")
    answer(frame, HOSTILE)
    assert frame.locator("html").evaluate("root => getComputedStyle(root).colorScheme") == "dark"
    # Nothing is wider than the frame.
    assert frame.locator("main").evaluate("main => main.scrollWidth <= main.clientWidth")

    with page.context.expect_page() as opened:
        frame.get_by_role("link", name="Open in Jeton").click()
    expect(opened.value.locator(".prompt")).to_have_text(HOSTILE)
    assert opened.value.url == f"{server.url}/s/{slug}"


def test_link_is_opened_from_a_sandbox_that_nothing_escapes_too(
    browser: Browser, server: Server, site: str, frames: dict[str, str]
) -> None:
    frames["/"] = f'<iframe src="{server.url}/e/{share(server)}" sandbox="{SANDBOX}"></iframe>'
    # Not a watched one: what is opened is in the sandbox too, and Chromium says that it has no icons there.
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site)
        with context.expect_page() as opened:
            page.frame_locator("iframe").get_by_role("link", name="Open in Jeton").click()
        expect(opened.value.locator(".prompt")).to_have_text(PROMPT)
        expect(opened.value.locator(".answer strong")).to_have_text("coin")


def test_frame_says_what_is_there_without_scripts_and_that_a_revoked_link_is_gone(
    open_context: Callable[..., BrowserContext], server: Server, site: str, frames: dict[str, str]
) -> None:
    slugs = [share(server), share(server, manage_key="k" * 43)]
    links_of(server).revoke(slugs[1], "k" * 43)
    frames["/"] = "".join(f'<iframe src="{server.url}/e/{slug}" sandbox="{SANDBOX}"></iframe>' for slug in slugs)
    page = open_context(java_script_enabled=False).new_page()
    page.goto(site)

    expect(page.frame_locator("iframe >> nth=0").get_by_text("**coin**")).to_be_visible()
    expect(page.frame_locator("iframe >> nth=0").get_by_role("button", name="Replay")).to_be_hidden()
    expect(page.frame_locator("iframe >> nth=1").get_by_text("was revoked")).to_be_visible()


def test_no_other_page_can_be_framed(browser: Browser, server: Server, site: str, frames: dict[str, str]) -> None:
    paths = {"/", f"/s/{share(server)}", "/links"}
    frames["/"] = "".join(f'<iframe src="{server.url}{path}"></iframe>' for path in paths)
    refused: dict[str, str] = {}
    # Not a watched one: Chromium says on its console what was refused.
    with browser.new_context() as context:
        page = context.new_page()
        page.on(
            "requestfailed", lambda request: refused.update({request.url.removeprefix(server.url): request.failure})
        )
        page.goto(site)

    assert refused == dict.fromkeys(paths, "net::ERR_BLOCKED_BY_RESPONSE")
