"""Reading while an answer grows: scrolling, selecting, going away and coming back, narrow windows, paper."""

from collections.abc import Callable

from playwright.sync_api import Browser, BrowserContext, Page, expect

from tests.browser.conftest import ARGUMENTS, CHROMIUM
from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script
from tests.shared_runs import share

LINES = [f"line {number}\n\n" for number in range(2000)]
AT_END = """() => {
  const { scrollHeight, scrollTop, clientHeight } = scroller;
  return scrollHeight - scrollTop - clientHeight;
}"""
# Nothing of these may widen a page.
WIDE = (
    f"{'w' * 300} https://example.org/{'a' * 300} `{'c' * 300}`\n\n```python\n{'x = 1; ' * 60}\n```\n\n"
    f"| {'h' * 80} | {'i' * 80} |\n| - | - |\n| {'j' * 80} | 2 |\n\n# {'T' * 120}\n\n> {'q' * 200}\n"
)


def test_scroll_and_selection_are_the_readers_own(playground: PlaygroundPage) -> None:
    page = playground.page
    # Longer than the test, which stops it.
    playground.set("max_tokens", 2000)
    playground.ask(script(pieces=LINES, step_seconds=0.02))
    playground.wait_for_characters(1500)
    assert page.evaluate(AT_END) < 30

    page.locator("#scroller").hover()
    page.mouse.wheel(0, -400)
    expect(page.locator("#jump")).to_be_visible()
    page.evaluate(
        "() => getSelection().selectAllChildren([...document.querySelectorAll('.answer p')].find("
        "(p) => p.textContent === 'line 5'))"
    )
    top = page.evaluate("() => scroller.scrollTop")
    playground.wait_for_characters(len(playground.text) + 400)

    # What has settled is never drawn again, so the selection is still there; and nothing has moved.
    assert page.evaluate("() => scroller.scrollTop") == top
    assert page.evaluate("() => getSelection().toString().trim()") == "line 5"
    playground.page.locator("#stop").click()
    playground.expect_end("Stopped")
    assert page.evaluate("() => scroller.scrollTop") == top
    page.locator("#jump").click()
    assert page.evaluate(AT_END) < 30
    expect(page.locator("#jump")).to_be_hidden()


def test_page_comes_back_from_the_cache_and_goes_on_where_it_was(browser: Browser, server: Server) -> None:
    """Of the browser's own back and forward: the page with a live stream is kept whole."""
    # Playwright switches that cache off.
    kept = browser.browser_type.launch(
        executable_path=CHROMIUM, args=ARGUMENTS, ignore_default_args=["--disable-back-forward-cache"]
    )
    try:
        page = kept.new_context().new_page()
        page.add_init_script("addEventListener('pageshow', (event) => { window.wasKept = event.persisted; });")
        playground = PlaygroundPage.open(page, server)
        playground.set("seed", 51)
        playground.ask(script(tokens=150, step_seconds=0.03))
        playground.wait_for_characters(30)
        page.evaluate("() => { window.mark = 'the same document'; }")

        page.goto(f"{server.url}/s/{share(server)}")
        page.evaluate("() => { window.mark = 'the shared link'; }")
        # Playwright's own way would wait for a load, which a page that was kept has none of.
        page.evaluate("() => { history.back(); }")

        page.wait_for_function("() => window.wasKept")
        assert page.evaluate("() => window.mark") == "the same document"
        playground.expect_end()
        assert playground.text == server.run(prompt=script(tokens=150), seed=51).json()["result"]["response"]
        page.evaluate("() => { window.wasKept = false; history.forward(); }")
        page.wait_for_function("() => window.wasKept")
        assert page.evaluate("() => window.mark") == "the shared link"
    finally:
        kept.close()


def test_nothing_widens_a_narrow_page_nor_goes_missing_on_paper(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    # As wide as a window of 1280 pixels at 400 %, which is what WCAG 1.4.10 asks for.
    page = open_context(viewport={"width": 320, "height": 640}).new_page()
    playground = PlaygroundPage.open(page, server)
    playground.ask(script(pieces=[WIDE]))
    playground.expect_end()
    expect(playground.last.locator("table")).to_be_visible()
    assert overhang(page) == 0
    assert page.evaluate("() => scroller.scrollWidth - scroller.clientWidth") == 0
    for path in ("/api", "/links", "/nothing", f"/s/{share(server)}", f"/e/{share(server)}"):
        page.goto(server.url + path)
        assert overhang(page) == 0, path

    page.goto(server.url)
    page.emulate_media(media="print")
    expect(page.locator("#composer")).to_be_hidden()
    expect(playground.last.locator(".answer")).to_be_visible()
    # All of it, not what a window would show.
    assert page.evaluate("() => document.body.scrollHeight >= document.querySelector('.turn').offsetHeight")
    assert page.evaluate("() => getComputedStyle(scroller).overflowY") == "visible"


def overhang(page: Page) -> int:
    return page.evaluate("() => document.documentElement.scrollWidth - document.documentElement.clientWidth")
