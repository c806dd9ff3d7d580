"""Pages around an EventSource for /worker-endpoint: the published one, the example's, the snippet's."""

import json
import os
import signal
from collections.abc import Callable
from urllib.parse import urlsplit

import httpx
from playwright.sync_api import BrowserContext, Page, Route, expect

from tests.harness import PROJECT_FOLDER, Server
from webapp.web.snippets import write_snippets

EXAMPLES = PROJECT_FOLDER / "examples"
HOSTILE = 'it\'s "quoted" `ticked` \\ ${HOME} </script><b>bold</b> <!-- & 🪙 \u2028 line\nbreak'


def open_at(server: Server, context: BrowserContext, html: str) -> Page:
    """A page of this text, as if the server's own address had it."""
    page = context.new_page()

    def fulfil(route: Route) -> None:
        route.fulfill(body=html, content_type="text/html; charset=utf-8")

    page.route("**/a-page-of-mine", fulfil)
    page.goto(f"{server.url}/a-page-of-mine")
    return page


def requests_of(page: Page) -> list[str]:
    """The addresses of /worker-endpoint that the page asks for, from now on."""
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url) if "/worker-endpoint" in request.url else None)
    return asked


def test_published_page_fills_and_asks_only_once(open_context: Callable[..., BrowserContext], server: Server) -> None:
    html = (EXAMPLES / "published" / "page.html").read_text("utf-8")
    context = open_context()
    page = context.new_page()
    asked = requests_of(page)
    page.route("**/a-page-of-mine", lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))

    page.goto(f"{server.url}/a-page-of-mine")

    page.wait_for_function("source.readyState === EventSource.CLOSED")
    assert page.locator("#el").text_content()
    # Past the time after which a browser would come back.
    page.wait_for_function("start => performance.now() - start > 600", arg=page.evaluate("performance.now()"))
    assert len(asked) == 1


def test_snippet_for_a_page_asks_what_was_typed(open_context: Callable[..., BrowserContext], server: Server) -> None:
    prompt = json.dumps({"pieces": [HOSTILE, "!"]}, ensure_ascii=False)
    body = {"messages": [{"role": "system", "content": HOSTILE}, {"role": "user", "content": prompt}], "seed": 3}
    written = write_snippets("@jeton/scripted", body, base_url=server.url)
    html = next(each.text for each in written if each.name == "eventsource")

    page = open_at(server, open_context(), html)

    expect(page.locator("#output")).to_have_text(f"{HOSTILE}!", use_inner_text=False)
    assert page.locator("#output b").count() == 0
    page.wait_for_function("source.readyState === EventSource.CLOSED")
    asked = dict(httpx.QueryParams(urlsplit(page.evaluate("source.url")).query))
    assert asked == {"model": "@jeton/scripted", "system": HOSTILE, "prompt": prompt, "seed": "3"}


def test_page_of_the_examples_answers_each_prompt(open_context: Callable[..., BrowserContext], server: Server) -> None:
    page = open_at(server, open_context(), (EXAMPLES / "page" / "index.html").read_text("utf-8"))

    for answer in (HOSTILE.replace("\n", " "), "another"):
        page.get_by_label("Prompt").fill(json.dumps({"pieces": [answer]}))
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#output")).to_have_text(answer)


def test_page_whose_web_process_is_killed_goes_on_with_the_same_answer(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    prompt = json.dumps({"tokens": 60, "step_seconds": 0.02})
    written = write_snippets("@jeton/scripted", {"prompt": prompt, "seed": 9}, base_url=server.url)
    html = next(each.text for each in written if each.name == "eventsource")
    page = open_at(server, open_context(), html)
    page.wait_for_function("document.getElementById('output').textContent.length > 20")

    for process in server.processes("web"):
        os.kill(process["pid"], signal.SIGKILL)

    page.wait_for_function("source.readyState === EventSource.CLOSED")
    server.wait_until_ready()
    alone = server.run(prompt=json.dumps({"tokens": 60}), seed=9).json()["result"]["response"]
    assert page.locator("#output").text_content() == alone
