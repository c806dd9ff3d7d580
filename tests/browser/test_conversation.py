"""Several turns: each carries the earlier ones, and a reload loses none."""

import json
from collections.abc import Callable
from urllib.parse import parse_qs

from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, script


def sent_history(playground: PlaygroundPage) -> list[dict]:
    """The earlier messages that went along with the last prompt."""
    form = parse_qs(playground.submissions()[-1].post_data, keep_blank_values=True)
    return [json.loads(message) for message in form.get("history", [])]


def test_second_turn_sends_the_first_one_along(playground: PlaygroundPage):
    first = script(pieces=["  one", "\r\n", "<b>é</b> "])
    playground.ask(first)
    playground.expect_end()
    assert sent_history(playground) == []

    playground.ask(script(pieces=["two"]))
    playground.expect_end(turns=2)

    assert sent_history(playground) == [
        {"role": "user", "content": first},
        {"role": "assistant", "content": "  one\r\n<b>é</b> "},
    ]
    assert playground.texts == ["  one\r\n<b>é</b> ", "two"]


def test_retry_replaces_the_last_turn_and_keeps_what_is_being_typed(playground: PlaygroundPage):
    playground.ask(script(tokens=5))
    playground.expect_end()
    playground.page.locator("#prompt").fill("a draft")

    playground.last.locator("[data-action=retry]").click()
    playground.page.wait_for_function(
        "() => performance.getEntriesByType('resource').filter((e) => e.name.endsWith('/events')).length === 2"
    )
    playground.expect_end()

    assert sent_history(playground) == []
    expect(playground.page.locator("#prompt")).to_have_value("a draft")


def test_edited_turn_replaces_itself_and_all_after_it(playground: PlaygroundPage):
    page = playground.page
    for turns, text in enumerate(["one", "two", "three"], start=1):
        playground.ask(script(pieces=[text]))
        playground.expect_end(turns=turns)
    page.locator("#prompt").fill("a draft")
    second = playground.turns.nth(1)

    second.hover()
    second.get_by_role("button", name="Edit this prompt").click()
    expect(page.locator("#prompt")).to_have_value(script(pieces=["two"]))
    expect(page.locator("#editing")).to_contain_text("This turn and the one after it are replaced when you run.")
    page.keyboard.press("Escape")
    expect(page.locator("#editing")).to_be_hidden()
    expect(page.locator("#prompt")).to_have_value("a draft")
    expect(playground.turns).to_have_count(3)

    second.get_by_role("button", name="Edit this prompt").click()
    page.locator("#prompt").fill(script(pieces=["new"]))
    page.keyboard.press("Enter")
    playground.expect_end(turns=2)

    assert playground.texts == ["one", "new"]
    assert [message["content"] for message in sent_history(playground)] == [script(pieces=["one"]), "one"]
    expect(page.locator("#prompt")).to_have_value("a draft")
    playground.ask(script(pieces=["last"]))
    playground.expect_end(turns=3)
    assert [message["content"] for message in sent_history(playground)][1::2] == ["one", "new"]


def test_refused_edit_keeps_what_it_would_have_replaced(playground: PlaygroundPage):
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    playground.turns.first.hover()
    playground.page.locator("[data-action=edit]").first.click()
    playground.page.locator("#temperature").evaluate("field => { field.removeAttribute('max'); field.value = 9; }")
    playground.page.locator("#run").click()
    expect(playground.problem).to_contain_text("temperature")

    expect(playground.page.locator("#editing")).to_be_visible()
    expect(playground.turns).to_have_count(1)
    playground.set("temperature", 1)
    playground.page.locator("#run").click()
    playground.expect_end()
    assert sent_history(playground) == []


def test_reload_in_the_middle_goes_on_without_gap_or_double(playground: PlaygroundPage, server: Server):
    first = script(tokens=120, step_seconds=0.03)
    playground.set("seed", 31)
    playground.ask(first)
    playground.wait_for_characters(40)

    playground.page.reload()
    # What was there before is there at once, and goes on growing.
    before = len(playground.text)
    assert before >= 40
    playground.expect_phase("Streaming")
    playground.wait_for_characters(before + 20)
    playground.page.reload()
    playground.expect_end()

    whole = server.run(prompt=script(tokens=120), seed=31).json()["result"]["response"]
    assert playground.text == whole
    expect(playground.last.locator("[data-figure=tokens]")).to_have_text("121")
    playground.page.wait_for_timeout(1500)
    assert len(playground.connections()) == 3

    expect(playground.page.locator("#seed")).to_have_value("31")
    playground.ask(script(pieces=["two"]))
    playground.expect_end(turns=2)
    assert sent_history(playground) == [
        {"role": "user", "content": first},
        {"role": "assistant", "content": whole},
    ]


def test_stop_works_after_a_reload(playground: PlaygroundPage):
    playground.set("max_tokens", 2000)
    playground.ask(script(tokens=2000, step_seconds=0.02))
    playground.wait_for_characters(30)
    playground.page.reload()
    playground.expect_phase("Streaming")

    playground.page.keyboard.press("Escape")
    playground.expect_end("Stopped")


def test_tab_that_crashed_reads_the_answer_from_its_first_event(playground: PlaygroundPage, server: Server):
    playground.set("seed", 32)
    playground.ask(script(tokens=60, step_seconds=0.03))
    # As kept when the stream began: a tab that crashes says no goodbye.
    kept = playground.page.evaluate("sessionStorage.getItem('jeton.tab')")
    assert json.loads(kept)["turns"][0]["after"] == "0"
    playground.wait_for_characters(40)
    _leave_as(playground.page, kept)

    playground.page.goto(server.url)
    playground.expect_end()

    assert playground.text == server.run(prompt=script(tokens=60), seed=32).json()["result"]["response"]


def test_reload_after_the_end_still_shows_the_conversation(playground: PlaygroundPage):
    playground.page.locator("#model").select_option("@cf/meta/llama-2-7b-chat-int8")
    playground.ask(script(pieces=["# One\n\n", "- a\n- b"]))
    playground.expect_end()
    playground.ask(script(pieces=["two ", "words"], fail_at=1))
    playground.expect_end("Failed", turns=2)
    outline = playground.page.locator("#turns").aria_snapshot()

    playground.page.reload()

    expect(playground.turns).to_have_count(2)
    # Markdown is loaded after the page.
    expect(playground.turns.first.locator("h3")).to_have_text("One")
    assert playground.page.locator("#turns").aria_snapshot() == outline
    assert playground.texts == ["# One\n\n- a\n- b", "two "]
    expect(playground.turns.first.locator(".served-by")).to_contain_text("Scripted")
    expect(playground.page.locator("#model")).to_have_value("@cf/meta/llama-2-7b-chat-int8")
    expect(playground.page.locator("#welcome")).to_be_hidden()
    playground.page.wait_for_timeout(500)
    assert len(playground.connections()) == 2


def test_new_conversation_forgets_everything_and_stops_the_engine(playground: PlaygroundPage):
    playground.set("max_tokens", 2000)
    playground.ask(script(tokens=2000, step_seconds=0.02))
    playground.wait_for_characters(30)

    playground.page.locator("#new-conversation").click()

    expect(playground.turns).to_have_count(0)
    expect(playground.page.locator("#welcome")).to_be_visible()
    assert playground.kept()["turns"] == []
    playground.page.reload()
    expect(playground.page.locator("#welcome")).to_be_visible()
    expect(playground.turns).to_have_count(0)
    playground.ask(script(pieces=["new"]))
    playground.expect_end()
    assert sent_history(playground) == []


def test_another_tab_starts_empty(open_context: Callable[..., BrowserContext], server: Server):
    context = open_context()
    one = PlaygroundPage.open(context.new_page(), server)
    one.ask(script(pieces=["one"]))
    one.expect_end()

    another = PlaygroundPage.open(context.new_page(), server)

    expect(another.page.locator("#welcome")).to_be_visible()
    expect(another.turns).to_have_count(0)
    assert another.page.evaluate("localStorage.length") == 0


def test_answer_that_the_server_has_forgotten_keeps_its_text(playground: PlaygroundPage, server: Server):
    playground.ask(script(tokens=100, step_seconds=0.03))
    playground.wait_for_characters(30)
    kept = playground.kept()
    kept["turns"][0] |= {"events": "/generations/none/events", "text": "so far", "after": "2"}
    _leave_as(playground.page, json.dumps(kept))

    playground.page.goto(server.url)
    playground.expect_end("Failed")

    assert playground.text == "so far"
    expect(playground.last.locator(".reconnect")).to_be_visible()


def test_broken_storage_costs_the_memory_and_nothing_else(playground: PlaygroundPage, server: Server):
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    good = playground.kept()
    half = good | {"turns": [{"prompt": "only"}, good["turns"][0], None, 5, good["turns"][0] | {"figures": [1]}]}
    [turn] = good["turns"]
    elsewhere = {"phase": "streaming", "events": "/generations/x/events", "abort": "https://evil.example/"}
    strange = good | {"turns": [turn | {"phase": "running", "events": "https://evil.example/"}, turn | elsewhere]}
    # Names that no data attribute can have, or that htmx reads, are left out; a request has to be one.
    driven = good | {"turns": [turn | {"data": {"a-b": "x", "hxGet": "/pool.json", "hxTrigger": "load"}}]}
    asked = good | {"turns": [turn | {"data": {"request": text}} for text in ("no json", "null")]}

    cases = [("no json", 0), ("null", 0), ("[]", 0), ('{"turns":{},"fields":[]}', 0)]
    cases += [(json.dumps(half), 1), (json.dumps(strange), 0), (json.dumps(driven), 1), (json.dumps(asked), 0)]
    for kept, turns in cases:
        _leave_as(playground.page, kept)
        playground.page.goto(server.url)
        playground.page.wait_for_function("() => customElements.get('token-stream')")
        expect(playground.turns).to_have_count(turns)
        expect(playground.page.locator("[data-hx-get]")).to_have_count(0)
    playground.ask(script(pieces=["two"]))
    playground.expect_end()


def test_conversation_that_another_one_replaced_can_be_brought_back(playground: PlaygroundPage, server: Server):
    page = playground.page
    playground.set("temperature", 1.5)
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    page.locator("[data-action=edit]").focus()
    page.keyboard.press("Enter")

    # While one of its turns is edited: nothing of that is left over for the new one.
    page.locator("#new-conversation").click()
    expect(playground.turns).to_have_count(0)
    expect(page.locator("#prompt")).to_have_value("")
    expect(page.locator("#editing")).to_be_hidden()
    playground.set("temperature", 1)
    playground.ask(script(pieces=["two"]))
    playground.expect_end()
    expect(page.locator("#set-aside")).to_be_hidden()
    page.reload()

    page.get_by_role("button", name="More").click()
    page.get_by_role("button", name="Bring back the conversation before").click()
    assert playground.texts == ["one"]
    expect(page.locator("#temperature")).to_have_value("1.5")
    expect(page.locator("[data-for=temperature]")).to_have_value("1.5")
    # The two change places.
    page.get_by_role("button", name="Bring it back").click()
    assert playground.texts == ["two"]


def test_answer_that_comes_after_its_conversation_was_left_stays_away(playground: PlaygroundPage):
    page = playground.page
    answers: list[Route] = []
    page.route("**/generations", lambda route: answers.append(route))
    page.locator("#prompt").fill(script(pieces=["late"]))
    with page.expect_request("**/generations"):
        page.locator("#run").click()

    page.locator("#new-conversation").click()
    with page.expect_response("**/generations"):
        answers[0].continue_()
    expect(page.locator("#run")).to_be_enabled()
    expect(playground.turns).to_have_count(0)

    page.unroute("**/generations")
    playground.ask(script(pieces=["next"]))
    playground.expect_end()
    assert sent_history(playground) == []


def test_page_without_storage_works(open_context: Callable[..., BrowserContext], server: Server):
    context = open_context()
    context.add_init_script(
        "Object.defineProperty(window, 'sessionStorage', { get() { throw new DOMException('off', 'SecurityError'); } })"
    )
    playground = PlaygroundPage.open(context.new_page(), server)
    playground.ask(script(pieces=["one"]))
    playground.expect_end()

    assert playground.text == "one"


def test_memory_drops_the_oldest_turns_past_its_size(playground: PlaygroundPage, server: Server):
    playground.ask(script(pieces=["one"]))
    playground.expect_end()
    kept = playground.kept()
    [turn] = kept["turns"]
    kept["turns"] = [turn | {"text": str(number) + "x" * 400_000} for number in range(3)]
    _leave_as(playground.page, json.dumps(kept))
    playground.page.goto(server.url)
    expect(playground.turns).to_have_count(3)

    playground.page.reload()

    expect(playground.turns).to_have_count(2)
    assert [text[0] for text in playground.texts] == ["1", "2"]


def _leave_as(page: Page, kept: str) -> None:
    """Has this in the page's storage when it is left.

    Written now, and not as the page is left: a page that is left for another site may still be at it when the next
    one reads, and then what it writes is lost.
    """
    page.evaluate(
        "kept => { sessionStorage.setItem('jeton.tab', kept); Storage.prototype.setItem = () => {}; }",
        kept,
    )
