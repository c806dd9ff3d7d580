"""Sharing an answer: what the dialog promises, the link it gives, and what another browser finds there."""

from collections.abc import Callable
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, Route, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script


def test_shared_answer_is_read_in_another_browser(
    playground: PlaygroundPage, open_context: Callable[..., BrowserContext]
):
    page = playground.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    dialog = page.get_by_role("dialog", name="Share this answer")
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    playground.set("system", "Be brief.")
    playground.ask(script(pieces=["two ", "<b>words</b> 🪙"]))
    playground.expect_end(turns=2)

    # A first turn has nothing before it.
    playground.turns.first.locator("[data-action=share]").click()
    expect(dialog.locator("li:visible")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(playground.turns.first.locator("[data-action=share]")).to_be_focused()
    playground.last.locator("[data-action=share]").click()
    expect(dialog.locator("li:visible")).to_have_text(
        [
            "The prompt and the answer, with the moment of each token",
            "The turn before it",
            "The system prompt",
            "The model, the parameters with the seed, and the timings",
        ]
    )
    expect(dialog.get_by_label("7 days")).to_be_checked()
    dialog.get_by_label("1 day", exact=True).check()
    dialog.get_by_role("button", name="Make a link").click()

    expect(dialog.get_by_role("status")).to_have_text("The link is made.")
    url = dialog.get_by_label("Link", exact=True).input_value()
    page.keyboard.press("Enter")
    expect(dialog.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == url
    dialog.get_by_text("Your manage key").click()
    key = dialog.get_by_label("Manage key").input_value()
    cookie = next(each for each in page.context.cookies() if each["name"] == "jeton_manage_key")
    assert (cookie["value"], cookie["httpOnly"], cookie["sameSite"]) == (key, True, "Lax")

    another = open_context().new_page()
    assert another.goto(url).status == 200
    answer = another.locator("token-stream").first
    expect(answer.locator(".answer")).to_have_text("two <b>words</b> 🪙")
    assert answer.evaluate("stream => stream.text") == "two <b>words</b> 🪙"
    assert not [each for each in another.context.cookies() if each["name"] == "jeton_manage_key"]

    # Again, for as long as was chosen last: another link, and the key is not shown a second time.
    page.keyboard.press("Escape")
    playground.last.locator("[data-action=share]").click()
    dialog.get_by_role("button", name="Make a link").click()
    expect(dialog.get_by_label("Link", exact=True)).not_to_have_value(url)
    expect(dialog.get_by_text("Your manage key")).to_have_count(0)


def test_run_that_the_server_has_forgotten_is_refused_in_the_dialog(playground: PlaygroundPage):
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    playground.turns.first.evaluate("turn => { turn.dataset.generation = 'none'; }")

    playground.last.locator("[data-action=share]").click()
    dialog = playground.page.get_by_role("dialog", name="Share this answer")
    dialog.get_by_role("button", name="Make a link").click()

    expect(dialog.get_by_role("alert")).to_contain_text("Run it again to share it.")
    expect(dialog.get_by_role("button", name="Make a link")).to_be_enabled()


def test_link_that_comes_late_does_not_stand_under_another_answer(playground: PlaygroundPage):
    page = playground.page
    for turns in (1, 2):
        playground.ask(script(pieces=[str(turns)]))
        playground.expect_end(turns=turns)
    asked: list[Route] = []
    page.route("**/share", lambda route: asked.append(route))
    dialog = page.get_by_role("dialog", name="Share this answer")
    playground.turns.first.locator("[data-action=share]").click()
    with page.expect_request("**/share"):
        dialog.get_by_role("button", name="Make a link").click()

    page.keyboard.press("Escape")
    playground.last.locator("[data-action=share]").click()
    with page.expect_response("**/share"):
        asked[0].continue_()

    expect(dialog.get_by_role("button", name="Make a link")).to_be_enabled()
    expect(dialog.get_by_label("Link", exact=True)).to_have_count(0)


def test_failed_answer_has_no_share_button(playground: PlaygroundPage):
    playground.ask(script(pieces=["one", "two"], fail_at=1))
    playground.expect_end("Failed")

    expect(playground.last.locator("[data-action=copy]")).to_be_visible()
    expect(playground.last.locator("[data-action=share]")).to_be_hidden()


def test_without_javascript_the_answered_turn_can_be_shared(
    open_context: Callable[..., BrowserContext], server: Server
):
    page = open_context(java_script_enabled=False).new_page()
    page.goto(server.url)
    page.locator("#prompt").fill(script(pieces=["one"]))
    page.get_by_role("button", name="Run").click()
    page.get_by_role("button", name="Share").click()

    assert urlsplit(page.url).path.startswith("/s/")
    expect(page.locator(".answer").first).to_have_text("one")
