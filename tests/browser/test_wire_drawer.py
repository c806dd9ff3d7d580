"""The wire drawer: frames as they came, connections, and a dropped one that costs no text."""

import re

from playwright.sync_api import Locator, expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import script


def rows(playground: PlaygroundPage) -> Locator:
    return playground.page.locator("#wire li")


def figure(playground: PlaygroundPage, name: str) -> Locator:
    return playground.page.locator(f"#wire [data-wire={name}]")


def test_dropped_connection_comes_back_and_costs_no_text(playground: PlaygroundPage):
    page = playground.page
    playground.set("seed", 41)
    page.locator("#show-wire").click()
    expect(page.locator("#wire")).to_contain_text("Nothing yet.")
    drop = page.get_by_role("button", name="Drop my connection")
    expect(drop).to_be_disabled()
    prompt = script(tokens=40, step_seconds=0.05)
    playground.ask(prompt)
    expect(rows(playground).filter(has_text="id: 5")).to_have_count(1)

    drop.focus()
    page.keyboard.press("Enter")

    lost = rows(playground).filter(has_text=re.compile(r"Connection lost after event \d+"))
    back = rows(playground).filter(has_text=re.compile(r"Connected again, with Last-Event-ID: \d+"))
    expect(back).to_have_count(1)
    assert re.search(r"\d+$", lost.text_content())[0] == re.search(r"\d+$", back.text_content())[0]
    expect(figure(playground, "reconnects")).to_have_text("1")
    playground.expect_end()
    whole = playground.server.run(prompt=prompt, seed=41).json()["result"]["response"]
    assert playground.text == whole
    # Every event once, in order, the end included: 41, the connections, and those without an id.
    frames = rows(playground).locator("pre").all_text_contents()
    ids = [int(found[1]) for frame in frames if (found := re.match(r"id: (\d+)", frame))]
    assert ids == list(range(1, 42))
    assert len(playground.connections()) == 2
    expect(rows(playground).filter(has_text="event: usage")).to_have_count(1)
    expect(rows(playground).last).to_contain_text("data: [DONE]")
    expect(drop).to_be_disabled()
    # Escape is the drawer's while it has the focus, and the button has it afterwards.
    page.locator("#wire ol").focus()
    page.keyboard.press("Escape")
    expect(page.locator("#wire")).to_be_hidden()
    expect(page.locator("#show-wire")).to_be_focused()


def test_last_fifty_are_kept_while_nobody_looks_and_are_text(playground: PlaygroundPage):
    page = playground.page
    hostile = [
        '<img src="x" onerror="alert(1)">',
        "</pre><script>alert(1)</script>",
        "a\nid: 9\n\ndata: x",
        "\u202eabc",
    ]
    playground.ask(script(pieces=["x"] * 80 + hostile))
    playground.expect_end()

    page.locator("#show-wire").click()

    expect(rows(playground)).to_have_count(50)
    # Each piece, the usage and the end; the status before them, where the page came in time to see it.
    expect(figure(playground, "frames")).to_have_text(re.compile("86|87"))
    expect(rows(playground).filter(has_text="onerror")).to_contain_text('id: 81 data: {"response":"<img src=')
    expect(page.locator("#wire :is(img, script)")).to_have_count(0)
    # A new answer begins a new list, with the drawer open.
    playground.ask(script(pieces=["one"]))
    playground.expect_end(turns=2)
    expect(rows(playground).locator("pre")).to_contain_text(["one", "event: usage", "[DONE]"])
    expect(rows(playground).filter(has_text="onerror")).to_have_count(0)
    expect(rows(playground).first).to_contain_text("Connected")
    expect(page.locator("#prompt")).to_be_focused()
