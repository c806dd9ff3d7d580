"""A setup as a link: it fills the composer, runs nothing, and no server sees what was typed."""

from collections.abc import Callable
from urllib.parse import urlsplit

from playwright.sync_api import BrowserContext, expect

from tests.browser.playground_page import PlaygroundPage
from tests.browser.test_conversation import sent_history
from tests.harness import Server, script
from tests.server.test_setup_links import HISTORY, share

HOSTILE = "<script>alert(1)</script> & 100 % ü 🪙\n#x=y\n"


def test_link_to_a_setup_opens_the_same_setup_and_runs_nothing(
    open_context: Callable[..., BrowserContext], server: Server
):
    context = open_context(permissions=["clipboard-read", "clipboard-write"])
    one = PlaygroundPage.open(context.new_page(), server)
    one.page.locator("#model").select_option("@jeton/scripted-slow")
    for name, value in {"prompt": HOSTILE, "system": "Be\n\nbrief", "temperature": "1.5", "seed": "31"}.items():
        one.set(name, value)
    one.page.get_by_role("button", name="More").click()
    one.page.get_by_role("button", name="Copy link to this setup").click()
    expect(one.page.locator("#announcer")).to_have_text("Copied.")
    link = one.page.evaluate("navigator.clipboard.readText()")
    assert HOSTILE.split()[0] not in urlsplit(link).query
    assert "prompt" not in urlsplit(link).query

    other = PlaygroundPage(context.new_page(), server)
    other.page.on("request", lambda request: other.requests.append(request))
    other.page.goto(link)

    expect(other.page.locator("#prompt")).to_have_value(HOSTILE)
    expect(other.page.locator("#system")).to_have_value("Be\n\nbrief")
    expect(other.page.locator("#temperature")).to_have_value("1.5")
    expect(other.page.locator("#top_p")).to_have_value("")
    expect(other.page.locator("#seed")).to_have_value("31")
    expect(other.page.locator("#model")).to_have_value("@jeton/scripted-slow")
    expect(other.turns).to_have_count(0)
    assert other.submissions() == []
    # What is made of it is what a reload brings back.
    assert other.page.evaluate("location.pathname + location.search + location.hash") == "/"
    other.page.locator("#model").select_option("@jeton/scripted")
    other.ask(script(pieces=["ran"]))
    other.expect_end()
    other.page.reload()
    expect(other.turns).to_have_count(1)

    # In a page that is open already the fragment alone changes.
    other.page.evaluate("location.hash = 'prompt=from+a+link'")
    expect(other.page.locator("#prompt")).to_have_value("from a link")
    expect(other.turns).to_have_count(1)


def test_link_whose_values_are_wrong_says_which(playground: PlaygroundPage):
    playground.page.goto(f"{playground.server.url}/?temperature=9&top_k=7&model=@no/such#prompt=kept")

    expect(playground.problem).to_contain_text("temperature")
    expect(playground.page.locator("#setup-note")).to_contain_text("@no/such")
    expect(playground.page.locator("#top_k")).to_have_value("7")
    expect(playground.page.locator("#model")).to_have_value("@jeton/scripted")
    expect(playground.page.locator("#prompt")).to_have_value("kept")


def test_fork_carries_the_conversation_on_and_its_turns_can_be_edited(playground: PlaygroundPage, server: Server):
    prompt = script(pieces=["forked"])
    slug = share(
        server.reader(),
        prompt=prompt,
        system="Be brief.",
        history=[script(**message) for message in HISTORY],
        seed="77",
    )
    # What this tab remembers is another conversation.
    playground.ask(script(pieces=["before"]))
    playground.expect_end()

    playground.page.goto(f"{server.url}/?fork={slug}")
    expect(playground.turns).to_have_count(1)
    expect(playground.page.locator("#prompt")).to_have_value(prompt)
    expect(playground.page.locator("#seed")).to_have_value("77")
    expect(playground.page.get_by_text("Filled in from a shared link")).to_be_visible()
    expect(playground.page.get_by_text("The conversation that was here is set aside.")).to_be_visible()
    assert len(playground.submissions()) == 1
    playground.page.locator("#run").click()
    playground.expect_end(turns=2)
    assert sent_history(playground) == list(HISTORY)
    expect(playground.last.locator("[data-figure=seed]")).to_have_text("77")
    expect(playground.page.get_by_text("Filled in from a shared link")).to_be_hidden()

    playground.turns.first.hover()
    playground.turns.first.locator("[data-action=edit]").click()
    expect(playground.page.locator("#prompt")).to_have_value(HISTORY[0]["content"])
    playground.page.locator("#prompt").fill(script(pieces=["anew"]))
    playground.page.locator("#run").click()
    playground.expect_end(turns=1)
    assert sent_history(playground) == []

    # A link is opened without a question, and takes nothing away.
    playground.page.get_by_role("button", name="More").click()
    assert playground.page.locator("#more-menu a[href='/links']").count() == 1
    playground.page.get_by_role("button", name="Bring back the conversation before").click()
    assert playground.texts == ["before"]
