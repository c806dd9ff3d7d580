"""The form: refusals, keys, small screens, no JavaScript, and a name for every control."""

from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}

CONTROLS = "button, a[href], input, select, textarea, meter, progress, summary, aside"
UNNAMED = """controls => [...document.querySelectorAll(controls)]
  .filter((element) => element.type !== "hidden" && !element.closest("select > button"))
  .filter((element) => {
    const labels = [...(element.labels ?? [])].map((label) => label.textContent).join("");
    const by = document.getElementById(element.getAttribute("aria-labelledby"))?.id ?? "";
    return !(element.getAttribute("aria-label") || by || labels.trim() || element.textContent.trim() || element.title);
  })
  .map((element) => element.outerHTML.slice(0, 120))"""


def test_refused_parameter_says_why_and_keeps_the_prompt(playground: PlaygroundPage):
    page = playground.page
    page.locator("#temperature").evaluate("field => field.removeAttribute('max')")
    playground.set("temperature", 9)
    page.locator("#prompt").fill("a prompt to keep")
    page.locator("#run").click()

    expect(playground.problem).to_contain_text("temperature")
    expect(page.locator("#prompt")).to_have_value("a prompt to keep")
    expect(page.locator("#temperature")).to_have_attribute("aria-invalid", "true")
    expect(page.locator("#temperature")).to_be_focused()
    expect(playground.turns).to_have_count(0)

    playground.set("temperature", 1)
    expect(playground.problem).to_have_count(0)
    playground.ask(script(pieces=["fine"]))
    playground.expect_end()


def test_browser_itself_refuses_what_is_past_the_limits(playground: PlaygroundPage):
    playground.set("temperature", 9)
    playground.page.locator("#prompt").fill("a")
    playground.page.locator("#run").click()
    playground.page.wait_for_timeout(300)
    assert playground.submissions() == []

    playground.set("temperature", 0)
    playground.ask(script(pieces=["fine"]))
    playground.expect_end()


def test_empty_prompt_is_refused_by_the_browser_and_by_the_server(playground: PlaygroundPage):
    page = playground.page
    page.locator("#run").click()
    page.wait_for_timeout(300)
    assert playground.submissions() == []

    page.locator("#prompt").fill("   ")
    page.locator("#run").click()
    expect(playground.problem).to_contain_text("prompt")
    expect(page.locator("#prompt")).to_have_value("   ")
    expect(playground.turns).to_have_count(0)


def test_server_that_is_away_costs_no_prompt(playground: PlaygroundPage):
    playground.page.context.set_offline(True)
    playground.page.locator("#prompt").fill("keep me")
    playground.page.locator("#run").click()
    expect(playground.problem).to_contain_text("could not be reached")
    playground.page.context.set_offline(False)

    expect(playground.page.locator("#prompt")).to_have_value("keep me")
    playground.ask(script(pieces=["fine"]))
    playground.expect_end()


@pytest.mark.parametrize("key", ["Enter", "Control+Enter", "Meta+Enter"])
def test_key_runs_the_prompt(playground: PlaygroundPage, key: str):
    playground.page.locator("#prompt").fill(script(pieces=["ran"]))
    playground.page.keyboard.press(key)
    playground.expect_end()

    assert playground.text == "ran"
    expect(playground.page.locator("#prompt")).to_be_focused()
    expect(playground.page.locator("#prompt")).to_have_value("")


def test_shift_enter_is_a_new_line_and_escape_stops(playground: PlaygroundPage):
    page = playground.page
    page.locator("#prompt").fill("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    expect(page.locator("#prompt")).to_have_value("one\ntwo")
    assert playground.submissions() == []

    playground.set("max_tokens", 2000)
    playground.ask(script(tokens=2000, step_seconds=0.02))
    playground.wait_for_characters(20)
    page.locator("#prompt").focus()
    page.keyboard.press("Escape")
    playground.expect_end("Stopped")


def test_enter_while_an_answer_streams_sends_nothing(playground: PlaygroundPage):
    playground.ask(script(tokens=60, step_seconds=0.03))
    playground.page.locator("#prompt").fill("next")
    playground.page.keyboard.press("Enter")
    playground.expect_end()

    assert len(playground.submissions()) == 1
    expect(playground.page.locator("#prompt")).to_have_value("next")


def test_examples_fill_the_prompt_and_do_not_run(playground: PlaygroundPage):
    playground.page.locator(".example").first.click()

    expect(playground.page.locator("#prompt")).not_to_have_value("")
    expect(playground.page.locator("#prompt")).to_be_focused()
    assert playground.submissions() == []


def test_whole_conversation_works_without_javascript(open_context: Callable[..., BrowserContext], server: Server):
    page = open_context(java_script_enabled=False).new_page()
    page.goto(server.url)
    expect(page.locator("#dice")).to_be_hidden()
    first = script(pieces=["first <b>answer</b>", "\n  with lines"])
    page.locator("#seed").fill("7")

    page.locator("#prompt").fill(first)
    page.locator("#run").click()

    expect(page.locator(".turn")).to_have_count(1)
    assert page.locator(".answer").text_content() == "first <b>answer</b>\n  with lines"
    expect(page.locator(".phase")).to_have_text("Done")
    expect(page.locator("#seed")).to_have_value("7")
    expect(page.locator("#prompt")).to_have_value("")

    page.locator("#prompt").fill(script(pieces=["second"]))
    page.locator("#run").click()

    expect(page.locator(".turn")).to_have_count(2)
    assert page.locator(".answer").all_text_contents() == ["first <b>answer</b>\n  with lines", "second"]
    assert page.locator(".prompt").first.text_content() == first

    page.locator("#prompt").fill("   ")
    page.locator("#run").click()
    expect(page.locator("#composer-error")).to_contain_text("prompt")
    expect(page.locator(".turn")).to_have_count(2)


def test_phone_has_no_sideways_scroll_and_its_panel_opens(open_playground: Callable[..., PlaygroundPage]):
    playground = open_playground(**PHONE)
    page = playground.page
    long_line = (
        "```python\n" + "x" * 300 + "\n```\n" + "y" * 300 + "\n\n| a | b |\n|---|---|\n| " + "z" * 200 + " | c |\n"
    )
    playground.ask(script(pieces=[long_line]))
    playground.expect_end()
    _expect_no_sideways_scroll(playground)

    expect(page.locator("#panel")).to_be_hidden()
    page.get_by_role("button", name="Model and parameters").click()
    expect(page.locator("#panel")).to_be_visible()
    expect(page.locator("#temperature")).to_be_visible()
    _expect_no_sideways_scroll(playground)
    page.get_by_role("button", name="Close").click()
    expect(page.locator("#panel")).to_be_hidden()


def test_phone_says_in_the_panel_what_was_refused(open_playground: Callable[..., PlaygroundPage]):
    playground = open_playground(**PHONE)
    page = playground.page
    page.locator("#temperature").evaluate("field => { field.removeAttribute('max'); field.value = 9; }")
    page.locator("#prompt").fill("a")
    page.locator("#run").click()

    expect(page.locator("#panel")).to_be_visible()
    expect(page.locator("#temperature")).to_be_focused()
    assert "temperature" in page.locator("#temperature").evaluate("field => field.validationMessage")
    playground.set("temperature", 1)
    assert page.locator("#temperature").evaluate("field => field.validationMessage") == ""
    expect(playground.problem).to_have_count(0)


def test_enter_on_a_phone_is_a_new_line(open_playground: Callable[..., PlaygroundPage]):
    playground = open_playground(**PHONE)
    playground.page.locator("#prompt").fill("a")
    playground.page.locator("#prompt").press("Enter")

    expect(playground.page.locator("#prompt")).to_have_value("a\n")
    assert playground.submissions() == []


def test_every_control_has_a_name_and_every_id_is_unique(playground: PlaygroundPage):
    playground.ask(script(pieces=["```python\nprint(1)\n```"]))
    playground.expect_end()

    assert playground.page.evaluate(UNNAMED, CONTROLS) == []
    ids = playground.page.evaluate("[...document.querySelectorAll('[id]')].map(({ id }) => id)")
    assert len(ids) == len(set(ids))
    assert playground.page.evaluate("document.documentElement.lang") == "en"
    assert playground.page.locator("main h1").count() == 1


def test_page_that_does_not_exist_leads_back(playground: PlaygroundPage):
    answer = playground.page.goto(f"{playground.server.url}/nowhere")

    assert answer.status == 404
    expect(playground.page.locator("h1")).to_be_visible()
    playground.page.get_by_role("link", name="Back to the playground").click()
    expect(playground.page.locator("#prompt")).to_be_visible()


def _expect_no_sideways_scroll(playground: PlaygroundPage) -> None:
    for selector in ("html", "#scroller", "#panel"):
        overflow = playground.page.locator(selector).evaluate("element => element.scrollWidth - element.clientWidth")
        assert overflow <= 0, selector
