"""One answer on the page: it streams, survives faults, stops, fails, and leaves nothing behind."""

import os
import re
import signal
from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script, wait_until


def whole_text(server: Server, *, tokens: int, seed: int) -> str:
    return server.run(prompt=script(tokens=tokens), seed=seed).json()["result"]["response"]


def test_prompt_streams_over_one_connection_that_is_closed_at_the_end(playground: PlaygroundPage):
    playground.set("seed", 21)
    playground.ask(script(tokens=60, step_seconds=0.03))
    playground.expect_phase("Streaming")
    playground.wait_for_characters(1)
    early = playground.text
    playground.wait_for_characters(len(early) + 20)
    playground.expect_end()

    text = playground.text
    assert text.startswith(early) and len(early) < len(text)
    assert text == whole_text(playground.server, tokens=60, seed=21)
    assert playground.last.locator(".answer").get_attribute("aria-busy") == "false"
    expect(playground.last.locator("[data-figure=tokens]")).to_have_text("61")
    # Long past the time after which an event source that was left open would have come back.
    playground.page.wait_for_timeout(2000)
    assert len(playground.connections()) == 1
    assert playground.text == text


def test_killed_web_processes_cause_no_gap_and_no_double(playground: PlaygroundPage):
    server = playground.server
    playground.set("seed", 22)
    playground.ask(script(tokens=120, step_seconds=0.03))
    playground.wait_for_characters(30)

    for process in server.processes("web"):
        os.kill(process["pid"], signal.SIGKILL)
    playground.expect_end()

    assert playground.text == whole_text(server, tokens=120, seed=22)
    assert len(playground.connections()) > 1


def test_stop_frees_the_engine_and_keeps_the_text(playground: PlaygroundPage):
    playground.set("max_tokens", 2000)
    playground.ask(script(tokens=2000, step_seconds=0.02))
    playground.wait_for_characters(30)
    assert playground.running() == 1

    playground.page.locator("#stop").click()
    playground.expect_end("Stopped")

    wait_until(lambda: playground.running() == 0, 1)
    text = playground.text
    assert text
    expect(playground.page.locator("#run")).to_be_visible()
    expect(playground.page.locator("#announcer")).to_have_text("The answer was stopped.")
    playground.page.wait_for_timeout(500)
    assert (playground.text, len(playground.connections())) == (text, 1)


def test_leaving_the_page_frees_the_engine_after_the_grace(playground: PlaygroundPage):
    playground.set("max_tokens", 2000)
    playground.ask(script(tokens=2000, step_seconds=0.02))
    playground.wait_for_characters(30)

    playground.page.goto("about:blank")
    playground.page.wait_for_timeout(1000)
    assert playground.running() == 1

    wait_until(lambda: playground.running() == 0, 8)


def test_failure_of_the_engine_keeps_the_text_and_says_so(playground: PlaygroundPage):
    playground.ask(script(pieces=["so ", "far ", "so ", "good"], fail_at=3))
    playground.expect_end("Failed")

    assert playground.text == "so far so "
    assert playground.shown.strip() == "so far so"
    expect(playground.last.locator(".problem")).to_contain_text("scripted")
    expect(playground.page.locator("#run")).to_be_enabled()
    # A failed answer is no part of what is asked next.
    assert playground.page.locator("[name=history]").count() == 0


def test_long_wait_for_the_first_token_names_its_phase_and_its_seconds(playground: PlaygroundPage):
    playground.ask(script(tokens=3, prefill_seconds=3.5))

    playground.expect_phase("Reading prompt, 4 tokens")
    expect(playground.last.locator(".phase")).to_have_text(re.compile(r"Reading prompt, 4 tokens · [1-3] s"))
    playground.expect_end()


def test_queued_answer_shows_its_place_and_then_streams(open_playground: Callable[..., PlaygroundPage]):
    def ask_small(seconds: float) -> PlaygroundPage:
        opened = open_playground()
        opened.page.locator("#model").select_option("@jeton/scripted-small")
        opened.ask(script(tokens=20, step_seconds=seconds))
        return opened

    # Longer than any machine takes to open three pages; they are stopped.
    running = [ask_small(3), ask_small(3)]
    waiting = ask_small(0)

    waiting.expect_phase("Queued, place 1")
    for opened in running:
        opened.page.locator("#stop").click()
        opened.expect_end("Stopped")
    waiting.expect_end()


def test_cold_model_shows_how_far_it_has_loaded_and_then_answers(
    open_context: Callable[..., BrowserContext], own_server: Callable[..., Server]
):
    playground = PlaygroundPage.open(open_context().new_page(), own_server())
    playground.page.locator("#model").select_option("@jeton/scripted-slow")
    card = playground.page.locator('.card[data-model="@jeton/scripted-slow"]')
    expect(card).to_contain_text("Cold: loads at first use")

    playground.ask(script(tokens=3))

    playground.expect_phase("Loading model")
    expect(card).to_have_attribute("data-state", "loading")
    playground.expect_end()
    expect(card).to_have_attribute("data-state", "loaded")


def test_model_that_does_not_fit_says_why_and_cannot_be_chosen(playground: PlaygroundPage):
    option = playground.page.locator('#model option[value="@jeton/scripted-huge"]')

    expect(option).to_be_disabled()
    expect(option).to_contain_text("@jeton/scripted-huge needs about 900000.0 GB of memory")
