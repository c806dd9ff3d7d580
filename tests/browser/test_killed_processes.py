"""One answer in Chromium, while every kind of process is killed under it."""

import os
import signal
from collections.abc import Callable
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.chaos.processes import runs
from tests.harness import Server, script
from webapp.pool.audit import read_generations

TOKENS = 400
# Between two kills: enough to see that the answer goes on.
MORE_CHARACTERS = 40

# What the page's own event sources are told, whatever the page makes of it.
COUNT_END_MARKS = """
window.endMarks = 0;
window.EventSource = class extends EventSource {
  constructor(...given) {
    super(...given);
    this.addEventListener("message", ({ data }) => { window.endMarks += data === "[DONE]"; });
  }
};
"""


def test_answer_is_whole_on_the_page_though_every_kind_of_process_is_killed(
    open_context: Callable[..., BrowserContext], own_server: Callable[..., Server]
):
    # Only a reader who leaves may end it, and none does.
    server = own_server(JETON_GRACE_SECONDS="60")
    context = open_context()
    context.add_init_script(COUNT_END_MARKS)
    playground = PlaygroundPage.open(context.new_page(), server)
    playground.set("seed", 31)
    playground.set("max_tokens", TOKENS + 1)
    playground.ask(script(tokens=TOKENS, step_seconds=0.04))
    playground.wait_for_characters(1)

    for role, most in (("web", 1), ("web", None), ("engine", None), ("pool", None)):
        pids = [process["pid"] for process in server.processes(role) if process["pid"]]
        for pid in [pid for pid in pids if runs(pid)][:most]:
            os.kill(pid, signal.SIGKILL)
        playground.wait_for_characters(len(playground.text) + MORE_CHARACTERS)
        server.wait_until_ready()
    playground.expect_end()

    (generation_id,) = {urlsplit(url).path.split("/")[2] for url in playground.connections()}
    recorded = read_generations(server.data_dir / "journal")[generation_id]
    assert recorded.completion_tokens == TOKENS
    assert playground.text == recorded.text
    # Line ends are elements there.
    assert "".join(playground.shown.split()) == "".join(recorded.text.split())
    assert playground.page.evaluate("window.endMarks") == 1
    expect(playground.last.locator(".problem")).to_be_hidden()
