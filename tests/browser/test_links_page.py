"""The links of one's own in the browser: seen, copied, kept longer, and revoked for everybody at once."""

from collections.abc import Callable

from playwright.sync_api import BrowserContext, Page, expect

from tests.harness import Server
from tests.shared_runs import PROMPT, make_run, share
from webapp.web.links.manage_key import COOKIE, new_manage_key


def open_links(context: BrowserContext, server: Server, key: str) -> Page:
    context.add_cookies([{"name": COOKIE, "value": key, "url": server.url, "httpOnly": True}])
    page = context.new_page()
    page.goto(f"{server.url}/links")
    return page


def test_link_is_copied_extended_and_revoked_and_is_then_gone_everywhere(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    key = new_manage_key()
    slugs = [share(server, make_run(prompt=prompt), manage_key=key) for prompt in ("The other one", PROMPT)]
    slug = slugs[1]
    context = open_context(permissions=["clipboard-read", "clipboard-write"])
    page = open_links(context, server, key)
    row = page.locator(f"[id='{slug}']")

    expect(page.locator(".opening")).to_have_text([PROMPT, "The other one"])
    expect(row).to_contain_text("· in 7 days")
    row.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("status")).to_have_text("Copied.")
    assert page.evaluate("navigator.clipboard.readText()") == f"{server.url}/s/{slug}"

    row.get_by_label("Keep it for").select_option("30")
    row.get_by_role("button", name="Change").click()
    expect(row).to_contain_text("· in 30 days")
    # What had it is gone.
    expect(row).to_be_focused()

    row.locator("summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(row).to_have_attribute("data-state", "revoked")
    expect(page.get_by_role("status")).to_have_text("The link is revoked.")
    expect(page.locator(".opening")).to_have_text(["Its text is deleted", "The other one"])

    stranger = open_context().request
    paths = (f"/s/{slug}", f"/e/{slug}", f"/s/{slug}/events", f"/s/{slug}/run.json", f"/s/{slug}/og.png")
    assert {path: stranger.get(server.url + path).status for path in paths} == dict.fromkeys(paths, 410)
    assert not [path for path in paths if PROMPT in stranger.get(server.url + path).text()]
    assert stranger.get(f"{server.url}/s/{slugs[0]}").status == 200


def test_without_scripts_the_forms_do_the_same_and_the_key_moves_to_another_browser(
    open_context: Callable[..., BrowserContext], server: Server
) -> None:
    key = new_manage_key()
    slug = share(server, manage_key=key)
    page = open_context(java_script_enabled=False, viewport={"width": 390, "height": 844}).new_page()
    page.goto(f"{server.url}/links")

    expect(page.get_by_text("There is none yet.")).to_be_visible()
    page.get_by_text("Take over the key of another browser").click()
    page.get_by_label("Manage key").fill(key)
    page.get_by_role("button", name="Take over").click()
    row = page.locator(f"[id='{slug}']")
    expect(row).to_contain_text(PROMPT)
    expect(row.get_by_role("button", name="Copy link")).to_be_hidden()

    row.get_by_label("Keep it for").select_option("1")
    row.get_by_role("button", name="Change").click()
    row.get_by_text("Revoke", exact=True).click()
    row.get_by_role("button", name="Revoke for good").click()
    expect(row).to_have_attribute("data-state", "revoked")

    page.get_by_text("Forget the key of this browser").click()
    page.get_by_role("button", name="Forget it").click()
    expect(page.get_by_text("There is none yet.")).to_be_visible()
