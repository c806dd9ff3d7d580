"""What a first load of each page brings over the network, and in how few steps."""

from collections import defaultdict
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import BrowserContext, CDPSession, Page, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script
from tests.shared_runs import share

MOST_BYTES = 60_000
MARKDOWN = ("/static/markdown.js", "/static/vendor/marked/marked.esm.js")
PAGES = ["/", "/api", "/links", "/s/", "/e/"]


class Network:
    """What a page loads, by Chromium's own account: bytes as they came, compressed, without their headers."""

    def __init__(self, page: Page) -> None:
        self.session: CDPSession = page.context.new_cdp_session(page)
        self.kinds: dict[str, str] = {}
        self.initiators: dict[str, str] = {}
        self.bytes: dict[str, int] = defaultdict(int)
        self.session.send("Network.enable")
        self.session.on("Network.requestWillBeSent", self._asked)
        self.session.on("Network.responseReceived", self._received)
        self.session.on("Network.loadingFinished", self._finished)

    def _asked(self, event: dict) -> None:
        self.initiators[urlsplit(event["request"]["url"]).path] = event["initiator"]["type"]

    def _received(self, event: dict) -> None:
        path = urlsplit(event["response"]["url"]).path
        # Markdown is loaded where there is an answer, after the page is there.
        kind = "Later" if self.initiators.get(path) == "script" else event["type"]
        self.kinds[event["requestId"]] = kind
        self.bytes[kind] -= event["response"]["encodedDataLength"]

    def _finished(self, event: dict) -> None:
        if event["requestId"] in self.kinds:
            self.bytes[self.kinds[event["requestId"]]] += event["encodedDataLength"]


@pytest.mark.parametrize("path", PAGES)
def test_first_load_is_small(open_context: Callable[..., BrowserContext], server: Server, path: str) -> None:
    page = open_context().new_page()
    network = Network(page)

    page.goto(server.url + (path + share(server) if path in ("/s/", "/e/") else path), wait_until="networkidle")

    assert 0 < network.bytes["Script"] + network.bytes["Stylesheet"] < MOST_BYTES
    assert not {kind for kind in network.bytes if kind in ("Font", "Media")}


def test_playground_asks_for_all_its_scripts_at_once_and_for_markdown_when_one_types(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = open_context().new_page()
    network = Network(page)
    page.goto(server.url, wait_until="networkidle")

    scripts = {path: kind for path, kind in network.initiators.items() if path.endswith(".js")}
    # "script" is an import that was found only when the script before it had come.
    assert set(scripts.values()) == {"parser"}, scripts
    assert not set(MARKDOWN) & set(scripts)

    with page.expect_response(f"**{MARKDOWN[-1]}"):
        page.locator("#prompt").press_sequentially("a")
    assert set(MARKDOWN) <= set(network.initiators)


def test_answer_is_plain_until_markdown_has_come_and_then_whole(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = open_context().new_page()
    held = []
    page.route("**/static/markdown.js", lambda route: held.append(route))
    playground = PlaygroundPage.open(page, server)
    text = "**bold** <b>raw</b>\n\n- one\n- two"

    playground.ask(script(pieces=[text[at : at + 3] for at in range(0, len(text), 3)]))
    playground.expect_end()

    assert playground.shown == text
    assert playground.last.locator(".answer *").count() == 1
    held[0].continue_()
    expect(playground.last.locator(".answer strong")).to_have_text("bold")
    expect(playground.last.locator(".answer li")).to_have_text(["one", "two"])
    assert playground.last.locator(".answer b").count() == 0
    assert playground.text == text


def test_answer_stays_readable_where_markdown_cannot_be_loaded(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    page = open_context().new_page()
    page.route("**/static/markdown.js", lambda route: route.abort())
    playground = PlaygroundPage.open(page, server)

    playground.ask(script(pieces=["**one** ", "<b>two</b>"]))
    playground.expect_end()

    assert playground.shown == playground.text == "**one** <b>two</b>"
