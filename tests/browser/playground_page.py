"""The playground page as a reader uses it, for tests."""

import json
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from playwright.sync_api import Locator, Page, Request, expect

from tests.harness import Server


@dataclass
class PlaygroundPage:
    """One open page, with the requests it made."""

    page: Page
    server: Server
    requests: list[Request] = field(default_factory=list)

    @classmethod
    def open(cls, page: Page, server: Server) -> "PlaygroundPage":
        opened = cls(page, server)
        page.on("request", lambda request: opened.requests.append(request))
        page.goto(server.url)
        return opened

    # --- what it shows ---

    @property
    def turns(self) -> Locator:
        return self.page.locator(".turn")

    @property
    def last(self) -> Locator:
        return self.page.locator(".turn token-stream").last

    @property
    def text(self) -> str:
        """The whole text of the last answer, as the server sent it."""
        return self.last.evaluate("stream => stream.text")

    @property
    def texts(self) -> list[str]:
        return self.page.locator(".turn token-stream").evaluate_all("streams => streams.map(({ text }) => text)")

    @property
    def shown(self) -> str:
        return self.last.locator(".answer").evaluate("answer => answer.textContent")

    @property
    def problem(self) -> Locator:
        return self.page.locator("#composer-error .problem")

    def expect_phase(self, title: str) -> None:
        expect(self.last.locator(".phase")).to_contain_text(title)

    def expect_end(self, title: str = "Done", *, turns: int = 1) -> None:
        expect(self.turns).to_have_count(turns)
        expect(self.last.locator(".phase")).to_have_text(title)

    def wait_for_characters(self, count: int) -> None:
        self.page.wait_for_function(
            "count => [...document.querySelectorAll('token-stream')].at(-1)?.text.length >= count", arg=count
        )

    def connections(self) -> list[str]:
        """The event streams that were asked for, resumed ones included."""
        return [request.url for request in self.requests if urlsplit(request.url).path.endswith("/events")]

    def submissions(self) -> list[Request]:
        return [r for r in self.requests if r.method == "POST" and urlsplit(r.url).path == "/generations"]

    def kept(self) -> dict:
        """What the tab would find again after a reload."""
        return json.loads(self.page.evaluate("sessionStorage.getItem('jeton.tab')"))

    # --- what a reader does ---

    def set(self, name: str, value: object) -> None:
        self.page.locator(f"#{name}").fill(str(value))

    def ask(self, prompt: str) -> None:
        """Sends the prompt; returns once its turn is there."""
        count = self.turns.count()
        self.page.locator("#prompt").fill(prompt)
        self.page.locator("#run").click()
        expect(self.turns).to_have_count(count + 1)

    def running(self) -> int:
        return self.server.engine("@jeton/scripted")["running"]
