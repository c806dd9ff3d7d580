"""Get code: the dialog holds the very request on the page, by hand, by keyboard and without JavaScript."""

import json
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import BrowserContext, Locator, Page, Route, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script
from tests.web.test_snippets import ECHO, TEXT, run, said
from webapp.web.snippets import Snippet


def dialog(playground: PlaygroundPage) -> Locator:
    return playground.page.locator("#code-dialog")


def code(playground: PlaygroundPage, language: str) -> str:
    """What the open dialog says in this language."""
    snippet = dialog(playground).locator(".snippet").filter(has=playground.page.get_by_text(language, exact=True))
    return snippet.locator("code").text_content()


def test_code_of_a_turn_is_its_own_request_and_gives_its_text(playground: PlaygroundPage, tmp_path: Path):
    page = playground.page
    drawn = script(tokens=12)
    playground.set("system", TEXT)
    playground.ask(ECHO)
    playground.expect_end()
    playground.set("temperature", "1.5")
    playground.ask(drawn)
    playground.expect_end(turns=2)
    # What is set afterwards is not what ran; a reload has kept what did.
    playground.set("temperature", "0.1")
    page.reload()
    playground.expect_end(turns=2)

    playground.turns.last.locator("[data-action=code]").click()
    expect(dialog(playground)).to_contain_text("The request that made this answer")
    expect(dialog(playground).locator(".snippet")).to_have_count(5)
    written = Snippet("python", "Python", "python", code(playground, "Python"))
    assert "'temperature': 1.5" in written.text
    assert run(written, tmp_path) == playground.text
    page.keyboard.press("Escape")
    expect(playground.turns.last.locator("[data-action=code]")).to_be_focused()

    # The first turn had nothing before it, and echoes what was typed.
    playground.turns.first.locator("[data-action=code]").click()
    expect(dialog(playground).locator(".snippet code").first).to_contain_text('"temperature": 0.6')
    shell = Snippet("curl", "curl", "bash", code(playground, "curl"))
    assert drawn not in shell.text
    assert said(run(shell, tmp_path)) == playground.texts[0] == TEXT


def test_code_of_the_composer_is_what_run_would_send(playground: PlaygroundPage):
    page = playground.page
    page.locator("#get-code").click()
    expect(dialog(playground)).to_contain_text("You have not typed anything yet")
    expect(dialog(playground).locator(".snippet").first).to_contain_text("Where is New York?")
    page.keyboard.press("Escape")

    playground.set("seed", 12)
    page.locator("#prompt").fill(ECHO)
    page.locator("#get-code").click()
    expect(dialog(playground)).to_contain_text("What Run would send now")
    expect(dialog(playground).locator(".snippet code").first).to_contain_text('"seed": 12')

    # The published page's own way: an address that the snippet opens by itself.
    shown = page.context.new_page()
    snippet = code(playground, "EventSource")
    shown.route("**/snippet.html", lambda route: route.fulfill(body=snippet, content_type="text/html"))
    shown.goto(f"{playground.server.url}/snippet.html")
    shown.wait_for_function("length => document.body.textContent.length >= length", arg=len(TEXT))
    assert shown.locator("#output").evaluate("output => output.textContent") == TEXT
    assert playground.submissions() == []


def test_dialog_copies_says_so_and_leaves_the_answer_running(playground: PlaygroundPage):
    page = playground.page
    playground.set("max_tokens", 1000)
    playground.ask(script(tokens=1000, step_seconds=0.02))
    page.locator("#prompt").fill("next")
    page.locator("#get-code").click()
    expect(dialog(playground).locator(".snippet")).to_have_count(6)

    # Without HTTPS there is no clipboard, and while a dialog is open nothing outside of it can be selected.
    page.evaluate("Object.defineProperty(navigator, 'clipboard', { value: undefined })")
    page.evaluate("document.addEventListener('copy', () => { window.copied = String(getSelection()); })")
    button = dialog(playground).locator(".copy").first
    button.click()
    expect(dialog(playground).locator("[role=status]")).to_have_text("Copied.")
    assert page.evaluate("copied") == code(playground, "curl")
    expect(button).to_be_focused()

    page.keyboard.press("Control+Enter")
    page.keyboard.press("Escape")
    expect(dialog(playground)).to_be_hidden()
    playground.expect_phase("Streaming")
    assert len(playground.submissions()) == 1
    page.keyboard.press("Escape")
    playground.expect_end("Stopped")


def test_code_that_comes_late_does_not_take_the_place_of_later_code(playground: PlaygroundPage):
    page = playground.page
    asked: list[Route] = []
    page.route("**/code", lambda route: asked.append(route))
    for prompt in ("first", "second"):
        page.locator("#prompt").fill(prompt)
        with page.expect_request("**/code"):
            page.locator("#get-code").click()
        page.keyboard.press("Escape")
    page.locator("#code-dialog").evaluate("dialog => dialog.showModal()")

    for route in reversed(asked):
        with page.expect_response("**/code"):
            route.continue_()

    expect(dialog(playground).locator(".snippet code").first).to_contain_text("second")
    # Selecting it beyond the edge leaves it open; a click out there closes it.
    box = dialog(playground).bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] - 50, box["y"] + 200)
    page.mouse.up()
    expect(dialog(playground)).to_be_visible()
    page.mouse.click(box["x"] - 50, box["y"] + 200)
    expect(dialog(playground)).to_be_hidden()


def test_refusal_is_said_in_the_dialog(playground: PlaygroundPage):
    page = playground.page
    playground.set("temperature", "9")
    page.locator("#prompt").fill("Hi")
    page.locator("#get-code").click()

    expect(dialog(playground).get_by_role("alert")).to_contain_text("temperature: must be a number from 0 to 5")
    expect(dialog(playground).locator(".snippet")).to_have_count(0)


def test_without_javascript_the_code_is_a_page(open_context: Callable[..., BrowserContext], server: Server):
    page: Page = open_context(java_script_enabled=False).new_page()
    page.goto(server.url)
    page.locator("#prompt").fill(json.dumps({"pieces": ["a"]}))
    page.get_by_role("button", name="Get code").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("Get code")
    page.get_by_text("Python, openai", exact=True).click()
    expect(page.locator(".snippet[open] code")).to_contain_text("client.chat.completions.create(")
    expect(page.locator(".copy").first).to_be_hidden()
