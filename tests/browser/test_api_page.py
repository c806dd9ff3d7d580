"""The page /api: all of the API is on it, from the server's own tables; it works by hand and without JavaScript."""

import re
from collections.abc import Callable
from urllib.parse import urlencode

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.harness import Server
from webapp.web import errors
from webapp.web.openapi.parts import HEADERS


@pytest.fixture
def page(open_context: Callable[..., BrowserContext], server: Server) -> Page:
    shown = open_context().new_page()
    shown.goto(f"{server.url}/api")
    return shown


def test_every_route_error_header_and_model_is_on_the_page(page: Page, server: Server) -> None:
    document = server.client.get("/openapi.json").json()
    schemas = document["components"]["schemas"]
    operations = [
        (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method != "parameters"
    ]

    for method, path, operation in operations:
        route = page.locator(f"#route-{operation['operationId']}")
        assert [method, path] == route.locator("summary > :is(.method, code)").all_text_contents()
        assert set(operation["responses"]) <= set(route.locator("tbody th").all_text_contents())
    names = page.locator("#errors tbody th").all_text_contents()
    of_apis = [kind for kind in errors.RequestError.__subclasses__() if kind is not errors.PageError]
    assert names == [kind.__name__ for kind in of_apis]
    assert page.locator("#headers dt").all_text_contents() == list(HEADERS)
    assert page.locator("#models tbody th").all_text_contents() == schemas["AnyModel"]["enum"]


def test_limits_are_those_of_the_settings(page: Page) -> None:
    limits = dict(
        zip(page.locator("#limits dt").all_text_contents(), page.locator("#limits dd").all_text_contents(), strict=True)
    )

    # As the shared server is set.
    assert limits["Generations of one client at once"] == "100 (JETON_CLIENT_LIMIT)"
    assert limits["A page's generation without a reader"] == "4 seconds (JETON_GRACE_SECONDS)"


def test_snippets_name_this_server_and_the_chosen_model(page: Page, server: Server) -> None:
    page.get_by_label("Model", exact=True).select_option("@cf/meta/llama-2-7b-chat-int8")

    expect(page).to_have_url(re.compile("model="))
    curl = page.locator(".snippet").first.locator("code")
    expect(curl).to_contain_text(f"{server.url}/client/v4/accounts/local/ai/run/@cf/meta/llama-2-7b-chat-int8")
    # Coloured, and the text is still the same.
    expect(curl.locator("span").first).to_be_attached()


def test_one_snippet_is_open_at_a_time_and_is_copied_whole(page: Page) -> None:
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_text("JavaScript", exact=True).click()

    snippet = page.locator(".snippet[open]")
    expect(snippet).to_have_count(1)
    snippet.get_by_role("button").click()

    expect(page.locator("#announcer")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == snippet.locator("code").text_content()


def test_address_of_a_route_opens_it(page: Page) -> None:
    page.evaluate("location.hash = 'route-workerEndpoint'")

    expect(page.locator("#route-workerEndpoint")).to_have_attribute("open", "")


def test_without_javascript_everything_is_there(open_context: Callable[..., BrowserContext], server: Server) -> None:
    page = open_context(java_script_enabled=False).new_page()
    page.goto(f"{server.url}/api")

    page.get_by_text("Python, openai", exact=True).click()
    expect(page.locator(".snippet[open] code")).to_contain_text("client.chat.completions.create(")
    expect(page.locator(".snippet[open] .copy")).to_be_hidden()
    page.get_by_label("Model", exact=True).select_option("@jeton/scripted-small")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".snippet[open] code")).to_contain_text("@jeton/scripted-small")


@pytest.mark.parametrize("model", ["@no/such", "'\"><script>alert(1)</script>", "@jeton/missing\n"])
def test_unknown_model_in_the_address_is_left_aside(page: Page, server: Server, model: str) -> None:
    page.goto(f"{server.url}/api?{urlencode({'model': model})}")

    expect(page.locator(".snippet code").first).to_contain_text("/ai/run/@jeton/scripted")
    assert "alert(1)" not in page.content()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_page_scrolls_one_way_only(
    open_context: Callable[..., BrowserContext], server: Server, scheme: str
) -> None:
    page = open_context(viewport={"width": 360, "height": 740}, color_scheme=scheme).new_page()
    page.goto(f"{server.url}/api")
    page.evaluate("for (const each of document.querySelectorAll('details')) { each.name = ''; each.open = true; }")

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_playground_leads_to_the_page_and_back(page: Page, server: Server) -> None:
    page.goto(server.url)
    page.get_by_role("link", name="API").click()

    expect(page.get_by_role("heading", level=1)).to_have_text("API")
    page.get_by_role("link", name="Jeton").click()
    expect(page.get_by_label("Model", exact=True)).to_be_visible()
