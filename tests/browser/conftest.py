"""A headless Chromium, and pages that fail their test on anything a careful page never does."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, expect, sync_playwright

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_CHROMIUM = "no chromium on this machine (sh tests/install_chromium.sh)"
TIMEOUT_MILLISECONDS = 15_000

# Runs in every page before the page's own scripts.
RECORD_VIOLATIONS = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
});
"""
# Of every refusal and every broken connection; the tests ask for some.
EXPECTED_CONSOLE_ERRORS = ("Failed to load resource:", "htmx: htmx:error: Failed to fetch")


# First, so that -m browser finds the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.parent.name != "browser":
            continue
        item.add_marker(pytest.mark.browser)
        if CHROMIUM is None:
            item.add_marker(pytest.mark.skip(reason=NO_CHROMIUM))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if CHROMIUM is None:
        terminalreporter.section("BROWSER TESTS LEFT OUT", sep="!", red=True, bold=True)
        terminalreporter.line(f"The page was not tested: {NO_CHROMIUM}", red=True, bold=True)


# Not for the session: while Playwright runs, no other test of the process could run an event loop.
@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    expect.set_options(timeout=TIMEOUT_MILLISECONDS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield launched
        launched.close()


@pytest.fixture
def open_context(browser: Browser) -> Iterator[Callable[..., BrowserContext]]:
    """Opens contexts whose pages are watched; the test fails where one of them did something forbidden."""
    offences: list[str] = []
    with ExitStack() as opened:

        def open_one(**options: object) -> BrowserContext:
            context = browser.new_context(viewport=options.pop("viewport", {"width": 1280, "height": 800}), **options)
            context.set_default_timeout(TIMEOUT_MILLISECONDS)
            context.add_init_script(RECORD_VIOLATIONS)
            context.on("page", lambda page: _watch(page, offences))
            opened.callback(context.close)
            return context

        yield open_one
    assert not offences, "\n".join(offences)


@pytest.fixture
def open_playground(open_context: Callable[..., BrowserContext], server: Server) -> Callable[..., PlaygroundPage]:
    """Opens the playground of the scripted server, each time in a browser of its own."""

    def open_one(**options: object) -> PlaygroundPage:
        return PlaygroundPage.open(open_context(**options).new_page(), server)

    return open_one


@pytest.fixture
def playground(open_playground: Callable[..., PlaygroundPage]) -> PlaygroundPage:
    return open_playground()


def _watch(page: Page, offences: list[str]) -> None:
    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(EXPECTED_CONSOLE_ERRORS):
            offences.append(f"console: {message.text}")

    def on_request(request: Request) -> None:
        address = urlsplit(request.url)
        if address.scheme not in ("data", "blob") and address.hostname != "127.0.0.1":
            offences.append(f"foreign request: {request.url}")

    def on_dialog(dialog: object) -> None:
        offences.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("console", on_console)
    page.on("request", on_request)
    page.on("dialog", on_dialog)
    page.on("pageerror", lambda error: offences.append(f"page error: {error}"))
