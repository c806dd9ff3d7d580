"""Visits of a headless Chromium to a page: what a first load brings, and what an answer costs its main thread."""

import itertools
import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from msgspec import Struct
from playwright.sync_api import Browser, Page

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]
# A phone of some years ago beside the machine that this runs on.
SLOWER = 4
TOKENS_PER_SECOND = 300
FRAME_SECONDS = 1 / 60
_ANSWER_SECONDS = 120

# Runs in the page: when each frame was drawn.
_NOTE_FRAMES = """() => {
  window.frames_at = [];
  const note = (at) => { frames_at.push(at); requestAnimationFrame(note); };
  requestAnimationFrame(note);
}"""
_LAST = "document.querySelector('.turn:last-child token-stream')"


class LoadVisit(Struct, kw_only=True):
    """A first load, with nothing in the cache. Bytes as they came over the network; `bytes` has the headers too."""

    path: str
    first_paint: float
    first_contentful_paint: float
    loaded: float
    requests: int
    script_bytes: int
    style_bytes: int
    bytes: int


class AnswerVisit(Struct, kw_only=True):
    """An answer, from its first tokens until it was complete. Tasks in processor time of the slowed main thread:
    what other programs take of the machine meanwhile is no part of them.
    """

    shape: str
    characters: int
    seconds: float
    longest_task: float
    tasks_over_50_ms: int
    busy_seconds: float
    frames: int
    dropped_frames: int
    is_text_equal: bool


def load(browser: Browser, url: str, path: str) -> LoadVisit:
    """Opens the page in a browser context of its own."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    network = context.new_cdp_session(page)
    network.send("Network.enable")
    kinds: dict[str, str] = {}
    sizes: dict[str, int] = defaultdict(int)
    header_bytes = 0

    def received(event: dict[str, Any]) -> None:
        nonlocal header_bytes
        kinds[event["requestId"]] = event["type"]
        sizes[event["type"]] -= int(event["response"]["encodedDataLength"])
        header_bytes += int(event["response"]["encodedDataLength"])

    def finished(event: dict[str, Any]) -> None:
        sizes[kinds.get(event["requestId"], "Other")] += int(event["encodedDataLength"])

    network.on("Network.responseReceived", received)
    network.on("Network.loadingFinished", finished)
    page.goto(url + path, wait_until="networkidle")
    paints = page.evaluate(
        "() => Object.fromEntries(performance.getEntriesByType('paint').map((e) => [e.name, e.startTime]))"
    )
    loaded = page.evaluate("() => performance.getEntriesByType('navigation')[0].loadEventEnd")
    context.close()
    return LoadVisit(
        path=path,
        first_paint=paints["first-paint"] / 1000,
        first_contentful_paint=paints["first-contentful-paint"] / 1000,
        loaded=loaded / 1000,
        requests=len(kinds),
        script_bytes=sizes["Script"],
        style_bytes=sizes["Stylesheet"],
        bytes=sum(sizes.values()) + header_bytes,
    )


def answer(browser: Browser, url: str, shape: str, *, pieces: Sequence[str]) -> AnswerVisit:
    """Asks for these pieces, one every 300th of a second, and watches the page show them."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    page = context.new_page()
    page.set_default_timeout(_ANSWER_SECONDS * 1000)
    page.goto(url, wait_until="networkidle")
    page.locator("#max_tokens").fill(str(len(pieces) + 1))
    page.locator("#prompt").fill(_script(pieces))
    context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": SLOWER})
    page.evaluate(_NOTE_FRAMES)
    page.locator("#run").click()
    page.wait_for_selector(".turn")
    # The prompt of a benchmark is longer than any answer, and none of what is measured.
    page.evaluate("() => { document.querySelector('.turn:last-child .prompt').textContent = '…'; }")
    browser.start_tracing(page=page, categories=["toplevel"])
    started_at = page.evaluate("() => performance.now()")
    page.wait_for_function(f"() => {_LAST}?.isEnded")
    ended_at, frames = page.evaluate("() => [performance.now(), frames_at]")
    page.wait_for_timeout(500)
    tasks = _tasks(json.loads(browser.stop_tracing()))
    text = "".join(pieces)
    visit = AnswerVisit(
        shape=shape,
        characters=len(text),
        seconds=(ended_at - started_at) / 1000,
        longest_task=max(tasks, default=0.0),
        tasks_over_50_ms=sum(1 for seconds in tasks if seconds > 0.05),
        busy_seconds=sum(tasks),
        frames=sum(1 for at in frames if at >= started_at),
        dropped_frames=_dropped([at / 1000 for at in frames if at >= started_at]),
        is_text_equal=_shows(page, text),
    )
    context.close()
    return visit


def _script(pieces: Sequence[str]) -> str:
    # Without a space: the scripted engine counts the words of a prompt for its tokens.
    text = json.dumps({"pieces": list(pieces), "step_seconds": 1 / TOKENS_PER_SECOND}, separators=(",", ":"))
    return text.replace(" ", "\\u0020")


def _shows(page: Page, text: str) -> bool:
    kept = page.evaluate(f"() => {_LAST}.text")
    page.locator(".turn [data-action=raw]").last.click()
    return kept == text == page.evaluate(f"() => {_LAST}.querySelector('.raw').textContent")


def _tasks(trace: dict[str, Any]) -> list[float]:
    events = trace["traceEvents"]
    # Of the process that ran most of the page's tasks: the browser has a main thread too.
    threads = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    durations: dict[tuple[int, int], list[float]] = defaultdict(list)
    for event in events:
        if event["name"].endswith("RunTask") and (event["pid"], event["tid"]) in threads and "tdur" in event:
            durations[event["pid"], event["tid"]].append(event["tdur"] / 1e6)
    return max(durations.values(), key=sum, default=[])


def _dropped(frames: Sequence[float]) -> int:
    gaps = [after - before for before, after in itertools.pairwise(frames)]
    return sum(max(0, round(gap / FRAME_SECONDS) - 1) for gap in gaps)
