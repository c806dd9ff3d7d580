"""Every page in each of its states: axe-core finds nothing, in light and in dark."""

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.playground_page import PlaygroundPage
from tests.browser.test_form import PHONE
from tests.harness import Server, script
from tests.shared_runs import links_of, share

# Everything an answer can hold.
RICH = (
    "# Title\n\nText with **bold**, `code` and [a link](https://example.org).\n\n- one\n- [x] two\n\n> a quote\n\n"
    "| a | b |\n| - | -: |\n| 1 | 2 |\n\n```python\ndef say(word: str) -> str:\n    return f'{word}'  # why\n```\n"
)
ALL_RULES = {"resultTypes": ["violations"]}
# The other rules cannot depend on the colours.
CONTRAST = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
LIGHT, DARK = ("light", ALL_RULES), ("dark", CONTRAST)


def violations(page: Page, *schemes: tuple[str, dict]) -> str:
    """What axe-core objects to on the page as it is now, in light and in dark unless it says otherwise."""
    found: list[str] = []
    for scheme, options in schemes or (LIGHT, DARK):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        for violation in Axe().run(page, options=options).response["violations"]:
            nodes = [node["html"][:160] for node in violation["nodes"]]
            found.append(f"{scheme}: {violation['id']} ({violation['impact']}): {violation['help']}: {nodes}")
    return "\n".join(found)


def test_playground_is_accessible_empty_while_it_streams_and_at_the_end(playground: PlaygroundPage) -> None:
    page = playground.page
    assert not violations(page)

    # Long enough for a busy machine to look at it: it is stopped below.
    playground.set("max_tokens", 2000)
    playground.ask(script(pieces=[RICH, "and a ", "*long* "] + ["tail "] * 2000, step_seconds=0.02))
    playground.expect_phase("Streaming")
    assert not violations(page)
    page.locator("#stop").click()
    playground.expect_end("Stopped")
    assert not violations(page)

    playground.last.locator("[data-action=raw]").click()
    assert not violations(page)


def test_failure_and_refusal_are_accessible(playground: PlaygroundPage) -> None:
    playground.ask(script(pieces=["so ", "far"], fail_at=1))
    playground.expect_end("Failed")
    playground.page.locator("#temperature").evaluate("field => field.removeAttribute('max')")
    playground.set("temperature", 9)
    playground.page.locator("#prompt").fill("hi")
    playground.page.locator("#run").click()
    expect(playground.problem).to_be_visible()

    assert not violations(playground.page)


def test_dialogs_drawer_and_menus_are_accessible(playground: PlaygroundPage) -> None:
    page = playground.page
    playground.ask(script(pieces=[RICH]))
    playground.expect_end()

    page.locator("#show-wire").evaluate("button => button.click()")
    expect(page.locator("#wire")).to_be_visible()
    assert not violations(page)
    page.locator("#wire [popovertarget=wire]").click()
    page.locator("#more").click()
    expect(page.locator("#more-menu")).to_be_visible()
    assert not violations(page)
    page.keyboard.press("Escape")
    for action, dialog in (("share", "#share-dialog"), ("code", "#code-dialog")):
        button = playground.last.locator(f"[data-action={action}]")
        button.click()
        expect(page.locator(dialog)).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert not violations(page), dialog
        page.keyboard.press("Escape")
        expect(page.locator(dialog)).to_be_hidden()
        # Where it was before, so that a keyboard goes on from there.
        expect(button).to_be_focused()


def test_panel_of_a_phone_is_accessible(open_playground: Callable[..., PlaygroundPage]) -> None:
    playground = open_playground(**PHONE)
    assert not violations(playground.page)

    playground.page.locator(".bar [popovertarget=panel]").click()

    expect(playground.page.locator("#panel")).to_be_visible()
    assert not violations(playground.page)


@pytest.mark.parametrize("path", ["/api", "/nothing", "/links"])
def test_other_pages_are_accessible(open_context: Callable[..., BrowserContext], server: Server, path: str) -> None:
    page = open_context().new_page()
    page.goto(server.url + path)

    assert not violations(page)


def test_shared_link_is_accessible_alone_embedded_and_when_it_is_gone(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    slug = share(server)
    page = open_context().new_page()
    for path in (f"/s/{slug}", f"/e/{slug}"):
        answer = page.goto(server.url + path)
        assert answer and answer.status == 200, path
        assert not violations(page), path

    links_of(server).take_down(slug)
    for path in (f"/s/{slug}", f"/e/{slug}"):
        answer = page.goto(server.url + path)
        assert answer and answer.status == 410, path
        assert not violations(page), path


def test_pages_are_accessible_on_a_phone(open_context: Callable[..., BrowserContext], server: Server) -> None:
    page = open_context(**PHONE).new_page()
    for path in ("/api", f"/s/{share(server)}"):
        page.goto(server.url + path)
        # The colours are those of a wide page, which was looked at in dark too.
        assert not violations(page, LIGHT), path
