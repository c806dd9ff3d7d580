"""The composer says how full the context window is, and never drops a turn by itself."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.browser.playground_page import PlaygroundPage
from tests.browser.test_conversation import sent_history
from tests.harness import Server, script

# Reads 10 tokens, which are words here.
SMALL = "@jeton/scripted-small"


@pytest.fixture(scope="module", autouse=True)
def small_model_is_loaded(server: Server) -> None:
    assert server.run(SMALL, prompt="a", max_tokens=1).status_code == 200


def test_conversation_that_outgrows_the_window_says_so_and_can_leave_turns_out(playground: PlaygroundPage):
    page = playground.page
    meter, outgrown = page.locator("#context-text"), page.locator("#outgrown")
    expect(page.locator("#context")).to_be_hidden()
    page.locator("#model").select_option(SMALL)
    playground.set("max_tokens", 20)
    page.locator("#prompt").fill("one two three")
    expect(meter).to_have_text("3 of 10 tokens")
    playground.ask(script(pieces=["a b c"]))
    playground.expect_end()
    playground.ask(script(pieces=["d"]))
    playground.expect_end(turns=2)
    # {"pieces": ["a b c"]} has four words.
    expect(meter).to_have_text("10 of 10 tokens: nearly full")
    expect(outgrown).to_be_hidden()

    # It is refused as it says, and the prompt comes back.
    page.locator("#prompt").fill("now more")
    expect(outgrown).to_contain_text("This conversation has 12 tokens; the model reads 10.")
    page.locator("#run").click()
    playground.expect_end("Failed", turns=3)
    expect(page.locator("#prompt")).to_have_value("now more")

    page.get_by_role("button", name="Leave out the oldest turn").click()
    expect(meter).to_have_text("5 of 10 tokens")
    expect(outgrown).to_be_hidden()
    first = playground.turns.first
    expect(first.get_by_text("not sent with the next prompt")).to_be_visible()
    page.reload()
    expect(first.get_by_text("not sent with the next prompt")).to_be_visible()
    expect(meter).to_have_text("5 of 10 tokens")
    page.locator("#run").click()
    playground.expect_end(turns=4)
    assert [message["content"] for message in sent_history(playground)] == [script(pieces=["d"]), "d"]

    first.get_by_role("button", name="Take it in again").click()
    expect(first.get_by_text("not sent with the next prompt")).to_be_hidden()
    expect(outgrown).to_be_visible()
    outgrown.get_by_role("button", name="New conversation").click()
    expect(playground.turns).to_have_count(0)
    expect(outgrown).to_be_hidden()


def test_prompt_alone_past_the_window_is_to_be_shortened(playground: PlaygroundPage):
    page = playground.page
    page.locator("#model").select_option(SMALL)
    page.locator("#prompt").fill("x " * 11)

    expect(page.locator("#outgrown")).to_contain_text("This prompt has 11 tokens; the model reads 10.")
    expect(page.get_by_role("button", name="Leave out the oldest turn")).to_be_hidden()
    page.locator("#prompt").fill("x " * 60_000)
    expect(page.locator("#outgrown")).to_contain_text("more than 10 tokens")


def test_model_that_is_not_loaded_is_not_counted_and_one_count_is_asked_for_many_keys(playground: PlaygroundPage):
    page = playground.page
    page.locator("#model").select_option("@jeton/scripted-other")
    page.locator("#prompt").press_sequentially("a few words and some more")

    expect(page.locator("#context-text")).to_have_text("Tokens are counted once the model is loaded")
    counts = [request for request in playground.requests if request.url.endswith("/tokens")]
    assert len(counts) == 1


def test_server_that_counts_nothing_stops_nobody(open_playground: Callable[..., PlaygroundPage]):
    playground = open_playground()
    playground.page.route(re.compile("/tokens$"), lambda route: route.fulfill(status=502, body="<html>"))
    playground.ask(script(pieces=["fine"]))
    playground.expect_end()

    expect(playground.page.locator("#context")).to_be_hidden()
