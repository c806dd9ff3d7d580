"""What is done less often: conversations as files, presets, keys. Nothing of it leaves the browser."""

import json
import re
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.playground_page import PlaygroundPage
from tests.browser.test_conversation import sent_history
from tests.harness import script

HOSTILE = '</script><img src=x onerror="alert(1)"> & ü 🪙'


def save(playground: PlaygroundPage, name: str) -> tuple[str, str]:
    """The name and the text of an exported file."""
    with playground.page.expect_download() as download:
        playground.page.get_by_role("button", name="More").click()
        playground.page.get_by_role("button", name=name).click()
    return download.value.suggested_filename, Path(download.value.path()).read_text("utf-8")


def open_file(playground: PlaygroundPage, text: str) -> None:
    file = {"name": "a.json", "mimeType": "application/json", "buffer": text.encode()}
    playground.page.locator("#import-file").set_input_files(file)


def test_exported_conversation_has_everything_and_opens_again(playground: PlaygroundPage):
    page = playground.page
    playground.page.locator("#model").select_option("@cf/meta/llama-2-7b-chat-int8")
    playground.set("system", HOSTILE)
    playground.set("seed", 31)
    playground.ask(script(pieces=[HOSTILE]))
    playground.expect_end()
    playground.set("seed", "")
    playground.ask(script(pieces=["two ", "words"], fail_at=1))
    playground.expect_end("Failed", turns=2)

    name, text = save(playground, "Export as JSON")
    assert re.fullmatch(r"jeton-[\d-]+\.json", name)
    saved = json.loads(text)
    assert (saved["format"], saved["version"]) == ("jeton-conversation", 1)
    first, second = saved["turns"]
    assert (first["prompt"], first["answer"], first["system"]) == (script(pieces=[HOSTILE]), HOSTILE, HOSTILE)
    assert (first["model"], first["answered_by"]) == ("@cf/meta/llama-2-7b-chat-int8", "Scripted")
    assert first["parameters"] == {"temperature": 0.6, "max_tokens": 256, "seed": 31}
    assert (first["state"], first["finish_reason"]) == ("done", "stop")
    assert first["usage"]["completion_tokens"] == 2
    assert first["started_at"].endswith("Z")
    assert (second["state"], second["answer"]) == ("failed", "two ")
    # The one that the server drew.
    assert second["parameters"]["seed"] >= 1

    name, markdown = save(playground, "Export as Markdown")
    assert name.endswith(".md")
    assert HOSTILE in markdown
    assert "seed 31" in markdown

    page.locator("#new-conversation").click()
    expect(playground.turns).to_have_count(0)
    open_file(playground, text)
    expect(playground.turns).to_have_count(2)
    assert playground.texts == [HOSTILE, "two "]
    expect(page.locator("#system")).to_have_value(HOSTILE)
    playground.ask(script(pieces=["three"]))
    playground.expect_end(turns=3)
    # One that failed is not sent along.
    assert [message["content"] for message in sent_history(playground)] == [script(pieces=[HOSTILE]), HOSTILE]

    strange = (saved | {"version": 2}, saved | {"turns": [first | {"answer": 5}]}, saved | {"turns": [first] * 501})
    for bad in ("", "{}", *map(json.dumps, strange)):
        open_file(playground, bad)
        expect(playground.problem).to_contain_text("no conversation that Jeton has exported")
        playground.set("system", "x")
        expect(playground.problem).to_have_count(0)
    expect(playground.turns).to_have_count(3)


def test_presets_fill_the_form_and_ones_own_are_kept_only_on_a_click(playground: PlaygroundPage):
    page = playground.page
    page.locator("#presets summary").click()
    playground.set("system", HOSTILE)
    page.get_by_role("button", name="Creative").click()
    expect(page.locator("#temperature")).to_have_value("1.1")
    expect(page.locator("#system")).to_have_value(HOSTILE)
    page.get_by_role("button", name="In one sentence").click()
    expect(page.locator("#system")).not_to_have_value(HOSTILE)
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#system")).to_have_value(HOSTILE)
    assert page.evaluate("localStorage.length") == 0

    page.get_by_label("Keep these settings").fill("<b>Mine</b>")
    page.keyboard.press("Control+Enter")
    expect(page.locator("#preset-outcome")).to_contain_text("Kept as “<b>Mine</b>”")
    assert playground.submissions() == []
    page.reload()
    playground.set("system", "")
    playground.set("temperature", 0)
    page.locator("#presets summary").click()
    page.get_by_role("button", name="<b>Mine</b>").first.click()
    expect(page.locator("#system")).to_have_value(HOSTILE)
    expect(page.locator("#temperature")).to_have_value("1.1")
    page.get_by_role("button", name="Delete “<b>Mine</b>”").click()
    expect(page.locator("#preset-list .own")).to_have_count(0)
    assert page.evaluate("localStorage.length") == 0


def test_single_letters_act_outside_of_fields_and_can_be_switched_off(playground: PlaygroundPage):
    page = playground.page
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    page.locator("#prompt").press_sequentially("nrec?/")
    expect(page.locator("#prompt")).to_have_value("nrec?/")
    expect(playground.turns).to_have_count(1)

    # Out of the field.
    page.keyboard.press("Escape")
    page.keyboard.press("v")
    expect(playground.last.locator(".raw")).to_be_visible()
    page.keyboard.press("e")
    expect(page.locator("#editing")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#editing")).to_be_hidden()
    page.keyboard.press("Escape")
    page.keyboard.press("r")
    page.wait_for_function("() => document.querySelector('.turn .raw') === null")
    playground.expect_end()
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()
    page.keyboard.press("n")
    expect(playground.turns).to_have_count(1)

    page.get_by_label("Single-letter keys").uncheck()
    page.keyboard.press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    for key in "n?/":
        page.keyboard.press(key)
    expect(playground.turns).to_have_count(1)
    expect(page.locator("#keys")).to_be_hidden()
    page.reload()
    page.locator("#more").click()
    page.get_by_role("button", name="Keys").click()
    page.get_by_label("Single-letter keys").check()
    page.keyboard.press("Escape")
    page.keyboard.press("/")
    expect(page.locator("#prompt")).to_be_focused()
    expect(page.locator("#prompt")).to_have_value("nrec?/")
    page.keyboard.press("Escape")
    page.keyboard.press("n")
    expect(playground.turns).to_have_count(0)
