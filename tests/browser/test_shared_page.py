"""The page of a shared link in Chromium: replay, any place of it, the same run again, and hostile texts."""

import json
import os
import signal
from collections.abc import Callable
from urllib.parse import urlsplit

import msgspec
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.test_hostile_output import HOSTILE
from tests.browser.test_killed_processes import COUNT_END_MARKS
from tests.chaos.processes import runs
from tests.harness import Reader, Server, script
from tests.shared_runs import make_run, share
from webapp.web.links.shared_run import SharedRun
from webapp.wire.generation import Message

ANSWER = "token-stream[recorded]"


# Presses the key k in the player as soon as the replay has so many characters.
HALT_PAST = """(characters) => {
  const stream = document.querySelector("token-stream[recorded]");
  stream.addEventListener("generation:written", function halt() {
    if (stream.text.length < characters) return;
    stream.removeEventListener("generation:written", halt);
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown", { key: "k", bubbles: true, cancelable: true }));
  });
}"""


def open_link(page: Page, server: Server, slug: str, query: str = "") -> list[str]:
    """Opens the page; returns the event streams it asks for, also those of later."""
    streams: list[str] = []

    def note(url: str) -> None:
        address = urlsplit(url)
        if address.path.endswith("/events"):
            streams.append(address.query)

    page.on("request", lambda request: note(request.url))
    page.goto(f"{server.url}/s/{slug}{query}")
    return streams


def text_of(page: Page, selector: str = ANSWER) -> str:
    return page.locator(selector).evaluate("stream => stream.text")


def expect_phase(page: Page, title: str, selector: str = ANSWER) -> None:
    expect(page.locator(f"{selector} .phase")).to_contain_text(title)


def wait_for_characters(page: Page, count: int) -> None:
    page.wait_for_function("count => document.querySelector('token-stream[recorded]').text.length >= count", arg=count)


def test_answer_stands_there_whole_and_replays_at_its_pace_from_any_place(
    open_context: Callable[..., BrowserContext], server: Server
):
    run = make_run()
    page = open_context().new_page()
    streams = open_link(page, server, share(server, run))
    play, slider = page.locator("[data-player=toggle]"), page.get_by_role("slider")

    # A reader wants to read: nothing runs before it is asked for.
    expect(page.locator(f"{ANSWER} .answer strong")).to_have_text("coin")
    expect_phase(page, "Done")
    assert (text_of(page), streams) == (run.text, [])
    expect(page.locator(".place")).to_have_text("2.4 of 2.4 s")

    # It takes as long as it took; a busy machine is later, never sooner.
    spent = page.evaluate(
        """async () => {
          const stream = document.querySelector("token-stream[recorded]");
          const ended = new Promise((resolve) => stream.addEventListener("generation:ended", resolve, { once: true }));
          const start = performance.now();
          document.querySelector("[data-player=toggle]").click();
          await ended;
          return performance.now() - start;
        }"""
    )
    assert 2300 < spent < 10_000
    assert text_of(page) == run.text
    assert streams == ["speed=1"]
    expect(page.locator(f"{ANSWER} [data-figure=first]")).to_have_text("0.40 s")
    expect(page.locator("#announcer")).to_have_text("The replay has ended.")

    # By the keyboard, to the middle of the pause.
    slider.focus()
    page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "0.0 s of 2.4 s, token 0")
    assert text_of(page) == ""
    for _ in range(6):
        page.keyboard.press("PageUp")
    expect(slider).to_have_attribute("aria-valuetext", "1.4 s of 2.4 s, token 7")
    assert text_of(page) == "".join(text for _, text in run.texts[:7])
    expect_phase(page, "Paused")
    assert len(streams) == 1

    # On from there, twice as fast, and halted half-way, by the page itself: a third of a second is left then.
    page.locator(".speeds label").nth(1).click()
    play.focus()
    page.evaluate(HALT_PAST, len("".join(text for _, text in run.texts[:8])))
    page.keyboard.press("k")
    expect_phase(page, "Paused")
    assert streams == ["speed=1", "speed=2&after=7"]
    halted = text_of(page)
    assert run.text.startswith(halted) and halted != run.text
    page.keyboard.press("k")
    expect_phase(page, "Done")
    assert text_of(page) == run.text
    expect(page.locator(f"{ANSWER} .answer strong")).to_have_text("coin")
    # A letter acts on the player, and only while that has the focus.
    page.get_by_role("button", name="Run again").focus()
    page.keyboard.press("k")
    expect_phase(page, "Done")
    assert len(streams) == 3
    slider.focus()
    page.keyboard.press("End")
    expect_phase(page, "Done")


def test_replay_goes_on_without_a_gap_though_its_web_process_is_killed(
    open_context: Callable[..., BrowserContext], server: Server
):
    texts = tuple((50 * number, f"{number} ") for number in range(1, 81))
    run = make_run(texts=texts)
    context = open_context()
    context.add_init_script(COUNT_END_MARKS)
    page = context.new_page()
    open_link(page, server, share(server, run), "?play=1")

    wait_for_characters(page, 20)
    for pid in [process["pid"] for process in server.processes("web") if runs(process["pid"])]:
        os.kill(pid, signal.SIGKILL)
    server.wait_until_ready()
    expect_phase(page, "Done")

    assert text_of(page) == run.text
    assert page.evaluate("window.endMarks") == 1


def test_hostile_run_stays_text_on_its_page_and_arrives_to_the_byte(
    open_context: Callable[..., BrowserContext], server: Server
):
    pieces = [piece for pieces in HOSTILE.values() for piece in pieces]
    hostile = "".join(pieces)
    messages = tuple(Message(role, hostile) for role in ("system", "user", "assistant", "user"))
    run = make_run(texts=tuple((10 * number, piece) for number, piece in enumerate(pieces)))
    run = msgspec.structs.replace(
        run,
        model_title=hostile[:300],
        serving_title=hostile,
        revision=hostile,
        request=msgspec.structs.replace(run.request, messages=messages, stop=(hostile,)),
    )
    page = open_context().new_page()
    open_link(page, server, share(server, run))
    _expect_nothing_active(page)
    for summary in page.locator("main summary").all():
        summary.click()

    page.locator("[data-player=toggle]").click()
    expect(page.locator("#announcer")).to_have_text("The replay has ended.")

    assert text_of(page) == hostile
    _expect_nothing_active(page)


def test_same_run_again_is_compared_to_the_character(open_context: Callable[..., BrowserContext], server: Server):
    asked = script(tokens=30, step_seconds=0.01)
    run = _recorded(server, asked)
    context = open_context()
    page = context.new_page()
    open_link(page, server, share(server, run))

    page.get_by_role("button", name="Run again").click()

    title = page.locator(".comparison h3")
    expect(title).to_have_text("The same text, to the last character.")
    assert text_of(page, "#again token-stream") == run.text
    expect(page.locator("#announcer")).to_have_text("The same text, to the last character.")
    expect(page.locator("mark")).to_have_count(0)

    # Another text in the link: where they part is marked in both, and a replay does not disturb it.
    first = run.texts[3][1]
    changed = [*run.texts[:3], (run.texts[3][0], "<b>Other" + first[1:]), *run.texts[4:]]
    same = "".join(text for _, text in run.texts[:3])
    open_link(page, server, share(server, msgspec.structs.replace(run, texts=tuple(changed))))
    page.get_by_role("button", name="Run again").click()
    expect(title).to_contain_text(f"They differ after {len(same)} character")
    expect(page.locator("mark")).to_have_count(2)
    assert (page.locator("mark").first.text_content() or "").startswith("<b>Other")
    expect(page.locator(".common").first).to_have_text(same.strip())
    page.get_by_role("button", name="Replay").click()
    expect_phase(page, "Done")
    expect(page.locator("mark")).to_have_count(2)


def test_without_javascript_all_of_it_is_there_and_run_again_works(
    open_context: Callable[..., BrowserContext], server: Server
):
    run = _recorded(server, script(tokens=5))
    page = open_context(java_script_enabled=False).new_page()
    open_link(page, server, share(server, run))
    expect(page.locator(f"{ANSWER} .answer")).to_have_text(run.text)
    expect(page.locator(".player")).to_be_hidden()

    page.get_by_role("button", name="Run again").click()

    expect(page.locator(".comparison h3")).to_have_text("The same text, to the last character.")


def _recorded(server: Server, prompt: str) -> SharedRun:
    """A run that this server has made, as it answered it."""
    reader = Reader(server)
    taken = reader.read_to_end(reader.submit(prompt=prompt, seed=11))
    texts = tuple((10 * number, event.json["response"]) for number, event in enumerate(taken[:-1]))
    run = make_run(prompt=prompt, texts=texts)
    messages = (Message("user", prompt),)
    return msgspec.structs.replace(run, request=msgspec.structs.replace(run.request, seed=11, messages=messages))


def _expect_nothing_active(page: Page) -> None:
    """Nothing in the run's own texts has become an element that does something."""
    own = ".prompt, .sent .text, .answer, .facts-of-run dd, .head, .snippet code, .comparison"
    active = "script, style, link, img, iframe, object, form, video, audio, [onerror], [onload]"
    assert page.locator(own).locator(active).count() == 0
    links = page.locator(".answer a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(links) <= {"http:", "https:", ":"}
    shown = json.dumps(page.locator(".prompt").evaluate("prompt => prompt.textContent"))
    assert "<script>alert(1)" in shown.replace("\\u003c", "<")
