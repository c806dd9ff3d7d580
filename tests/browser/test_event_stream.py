"""What Chromium's own EventSource makes of hostile texts, cut in the middle of characters on the way to it."""

import itertools
import json
from collections.abc import Callable

import pytest
from playwright.sync_api import BrowserContext, Page

from tests.browser.cutting_relay import cutting_relay
from tests.harness import Server
from tests.security.hostile_texts import HOSTILE, random_texts, scripts

SEED = 20232

# Starts a generation as the page does, and reads it with a plain EventSource to its end.
READ = """
async (prompt) => {
  const token = document.querySelector("meta[name=csrf-token]").content;
  const form = new URLSearchParams({ model: "@jeton/scripted", prompt, max_tokens: 2560 });
  const headers = { "HX-Request": "true", "X-CSRFToken": token };
  const turn = await (await fetch("/generations", { method: "POST", headers, body: form })).text();
  const source = new EventSource(turn.match(/src="([^"]+)"/)[1]);
  const events = [];
  for (const kind of ["message", "status", "usage", "gone", "foreign"]) {
    source.addEventListener(kind, (event) => events.push([kind, event.data, event.lastEventId]));
  }
  let connections = 0;
  source.addEventListener("open", () => { connections += 1; });
  await new Promise((resolve, reject) => {
    source.addEventListener("message", (event) => event.data === "[DONE]" && resolve());
    source.addEventListener("error", (event) => reject(new Error(`error: ${event.data}`)));
  });
  source.close();
  return { events, connections };
}
"""


def expect_text(page: Page, prompt: str, texts: list[str]) -> None:
    read = page.evaluate(READ, prompt)
    kinds = {kind for kind, _, _ in read["events"]}
    messages = [(data, event_id) for kind, data, event_id in read["events"] if kind == "message"]
    assert read["connections"] == 1
    assert kinds <= {"message", "status", "usage"}
    assert [data for data, _ in messages].count("[DONE]") == 1
    got = "".join(json.loads(data)["response"] for data, _ in messages[:-1])
    assert got.encode() == "".join(texts).encode()
    assert [int(event_id) for _, event_id in messages] == list(range(1, len(messages) + 1))


@pytest.fixture
def page(open_context: Callable[..., BrowserContext]) -> Page:
    return open_context().new_page()


def test_hostile_tokens_arrive_to_the_byte(page: Page, server: Server):
    with cutting_relay(server, SEED) as address:
        page.goto(address)
        for text in HOSTILE.values():
            texts = ["before", text, "after", text]
            expect_text(page, scripts(texts)[0], texts)


def test_ten_thousand_random_texts_arrive_to_the_byte(page: Page, server: Server):
    texts = random_texts(SEED)
    rest = iter(texts)
    with cutting_relay(server, SEED) as address:
        page.goto(address)
        for prompt in scripts(texts):
            expect_text(page, prompt, list(itertools.islice(rest, len(json.loads(prompt)["pieces"]))))
