"""Names in the catalogue, and what an error quotes, are shown as text. The watched page reports everything else."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import Server, make_server, script

MARKUP = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>\"'><b hx-get=/pool.json hx-trigger=load>"
    "</option></select></template>{{ 7 * 7 }}${alert(3)}"
)
NAME = f"@jeton/{MARKUP}"


def model(name: str, **fields: object) -> str:
    """One entry of a catalogue whose every text is hostile."""
    texts = {"name": name, "title": f"Title {MARKUP}", "description": MARKUP, "install": MARKUP, "precision": "full"}
    limits = {"context_window": 4096, "sequence_length": 256, "slots": 2}
    lines = "".join(f"{key} = {json.dumps(value)}\n" for key, value in (texts | limits | fields).items())
    return f"[[model]]\n{lines}"


@pytest.fixture(scope="module")
def hostile_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder: Path = tmp_path_factory.mktemp("hostile")
    scripted, missing = "weights = { scripted = true }\n", 'weights = { folder = "/nonexistent" }\n'
    (folder / "models.toml").write_text(
        model(NAME, precision="scripted", is_loaded_at_start=True)
        + scripted
        + model(f"{NAME} stood in for", stand_in=NAME)
        + missing
        + model(f"{NAME} missing")
        + missing
    )
    server = make_server(folder, models_file=folder / "models.toml")
    server.start()
    yield server
    server.stop()


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], hostile_server: Server) -> PlaygroundPage:
    return PlaygroundPage.open(open_context().new_page(), hostile_server)


def expect_nothing_active(opened: PlaygroundPage) -> None:
    document = opened.page
    assert document.locator("body img, body b[hx-get], body script:not([src]), [onerror], [onload]").count() == 0
    paths = [request.url.removeprefix(opened.server.url) for request in opened.requests]
    assert not {"/pool.json", "/x"} & set(paths)


def test_names_in_the_catalogue_are_text_everywhere(page: PlaygroundPage):
    expect(page.page.locator("#model-cards h2").first).to_have_text(f"Title {MARKUP}")
    expect(page.page.locator("#prompt")).to_have_attribute("placeholder", f"Ask Title {MARKUP} anything")

    page.page.locator("#model").select_option(f"{NAME} stood in for")
    page.ask(script(pieces=["fine"]))
    page.expect_end()

    expect(page.last.locator("header h2")).to_have_text(f"Title {MARKUP}")
    expect(page.last.locator(".served-by .asked")).to_have_text(f"Title {MARKUP}")
    page.page.reload()
    page.expect_end()
    expect(page.last.locator(".served-by strong")).to_have_text(f"Title {MARKUP}")
    expect_nothing_active(page)


@pytest.mark.parametrize("name", ["model", "temperature", "seed"])
def test_what_an_error_quotes_is_text(page: PlaygroundPage, name: str):
    # No reader can type it there; a page that was tampered with could.
    page.page.evaluate(
        """([name, value]) => {
          const field = document.createElement("textarea");
          Object.assign(field, { name, value, hidden: true });
          document.querySelector(`[name=${name}]`).removeAttribute("name");
          document.querySelector("#composer").append(field);
        }""",
        [name, MARKUP],
    )
    page.page.locator("#prompt").fill("hi")

    page.page.locator("#run").click()

    expect(page.problem).to_be_visible()
    if name == "model":
        expect(page.problem).to_contain_text(MARKUP)
    expect_nothing_active(page)


def test_error_page_quotes_nothing_active(page: PlaygroundPage):
    page.page.goto(f"{page.server.url}/{MARKUP.replace('/', '')}?{MARKUP}#{MARKUP}")

    expect(page.page.locator("h1")).to_have_text("There is no page here")
    expect_nothing_active(page)
