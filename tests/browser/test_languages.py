"""French and English as a reader meets them: the page, its phases and figures, the switch, without JavaScript."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script
from tests.shared_runs import share


def test_a_french_reader_reads_french_and_switches_to_english_without_losing_the_conversation(
    open_playground: Callable[..., PlaygroundPage],
):
    playground = open_playground(locale="fr-FR")
    page = playground.page
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    expect(page.locator("#welcome h2")).to_have_text("Regardez un modèle répondre, jeton par jeton")
    expect(page.locator("#run")).to_have_text("Exécuter")

    playground.set("max_tokens", 1500)
    playground.ask(script(tokens=1200, prefill_seconds=1, step_seconds=0.02))
    playground.expect_phase("Lecture du prompt, 6 jetons")
    playground.expect_phase("En cours")
    page.locator("#stop").click()
    playground.expect_end("Arrêté")
    expect(page.locator("#announcer")).to_have_text("La réponse a été arrêtée.")
    playground.ask(script(tokens=1200))
    playground.expect_end("Terminé", turns=2)
    expect(playground.last.locator("[data-figure=tokens]")).to_have_text("1\u202f201")
    expect(playground.last.locator("[data-figure=seconds]")).to_contain_text(",")

    playground.ask(script(tokens=50, fail_at=3))
    playground.expect_end("Échec", turns=3)
    expect(playground.last.locator(".problem span")).to_have_text("Le moteur a échoué.")
    text = playground.texts

    page.get_by_role("button", name="English").click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    expect(page.locator("#run")).to_have_text("Run")
    expect(page.locator(".turn .phase")).to_have_text(["Stopped", "Done", "Failed"])
    expect(page.locator("[data-figure=tokens]").nth(1)).to_have_text("1,201")
    assert playground.texts == text
    page.goto(f"{playground.server.url}/api")
    expect(page.locator("html")).to_have_attribute("lang", "en")
    page.keyboard.press("Tab")
    page.get_by_role("button", name="Français").focus()
    page.keyboard.press("Enter")
    expect(page.locator("html")).to_have_attribute("lang", "fr")
    assert page.url == f"{playground.server.url}/api"


def test_without_javascript_the_switch_and_the_answer_are_in_french(
    open_context: Callable[..., BrowserContext], server: Server
):
    page = open_context(java_script_enabled=False, locale="en-GB").new_page()
    page.goto(server.url)

    page.get_by_role("button", name="Français").click()
    page.locator("#prompt").fill(script(tokens=1200))
    page.locator("#max_tokens").fill("1500")
    page.locator("#run").click()

    expect(page.locator(".phase")).to_have_text("Terminé")
    expect(page.locator("[data-figure=tokens]")).to_have_text("1\u202f201")
    expect(page.get_by_role("button", name="English")).to_be_visible()


def test_the_narrowest_phone_shows_all_of_it_in_the_longer_language(
    open_playground: Callable[..., PlaygroundPage], server: Server
):
    playground = open_playground(locale="fr-FR", viewport={"width": 320, "height": 640})
    page = playground.page
    playground.ask(script(tokens=100))
    playground.expect_end("Terminé")
    # In one line, with the model's name.
    expect(page.locator("#context-text")).to_have_text("102 jetons sur 4\u202f096")
    assert page.locator("#context").evaluate("context => context.offsetHeight") < 40
    assert page.locator("selectedcontent").evaluate("name => name.scrollWidth <= name.clientWidth")

    page.locator("#new-conversation").click()
    assert page.locator("#scroller").evaluate("scroller => scroller.scrollTop") == 0

    page.goto(f"{server.url}/s/{share(server)}")
    place, speeds = page.locator(".place").bounding_box(), page.locator(".speeds").bounding_box()
    assert place and speeds
    assert place["y"] >= speeds["y"] + speeds["height"]
    assert page.evaluate("document.documentElement.scrollWidth") == 320
