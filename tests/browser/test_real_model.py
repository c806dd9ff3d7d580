"""The real model on the page."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server


def test_real_model_answers_with_its_figures(open_context: Callable[..., BrowserContext], real_server: Server):
    playground = PlaygroundPage.open(open_context().new_page(), real_server)
    playground.set("temperature", 0)
    playground.set("max_tokens", 60)
    playground.ask("Where is New York?")
    playground.expect_phase("Streaming")
    expect(playground.last.locator(".phase")).to_have_text("Done", timeout=60_000)

    assert "New York" in playground.text
    expect(playground.last.locator("[data-figure=speed]")).to_contain_text("tokens/s")
    expect(playground.last.locator("[data-figure=engine]")).not_to_be_empty()
    expect(playground.page.locator("#context-text")).to_contain_text("of 4,096 tokens")
