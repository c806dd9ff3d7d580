"""What a model says is hostile: it arrives to the byte, and stays text. The watched page reports everything else."""

import pytest
from playwright.sync_api import expect

from tests.browser.playground_page import PlaygroundPage
from tests.harness import script

HOSTILE = {
    "script": ["<scr", "ipt>alert(1)</script>", "<script src='https://evil.example/x.js'></script>"],
    "image": ["<img src=x onerror=alert(1)>", "![x](https://evil.example/x.png)", "\n\n<svg onload=alert(1)>"],
    "link": [
        "[click](javascript:alert(1)) ",
        "[data](data:text/html,<script>alert(1)</script>) ",
        "<a href='//evil.example'>",
    ],
    "htmx": ["<div data-hx-get='/pool.json' data-hx-trigger='load'>a</div>", "<p hx-get=/ hx-trigger=load>"],
    "frame and form": [
        "<iframe src=https://evil.example></iframe>",
        "<form action=https://evil.example><input name=a>",
    ],
    "disguised links": [
        "[a](JaVaScRiPt:alert(1)) [b](java\nscript:alert(1)) [c](<javascript:alert(1)>) ",
        "[d](&#106;avascript&colon;alert(1)) [e](vbscript:msgbox) [f]( javascript:alert(1)) ",
        "[g](//evil.example) [h][r] <javascript:alert(1)> [i](\x01javascript:alert(1))\n\n[r]: javascript:alert(1)\n",
        '\n[j](https://a.example" onmouseover=alert(1) "t) ![k](data:image/svg+xml,<svg onload=alert(1)>)',
    ],
    "clobbered names": [
        "<form id=composer name=forms><input name=elements id=prompt><input name=csrf_token></form>",
        "<a id=announcer name=cookie href=x><base href=https://evil.example/><meta http-equiv=refresh content=0>",
        "## composer\n\n<button form=composer formaction=https://evil.example>go</button>",
    ],
    "htmx in other words": [
        "<a hx-on:click='alert(1)' data-hx-on--load='alert(1)' href=# hx-boost=true>x</a>",
        "<div hx-swap-oob=true id=model-cards></div><div hx-vals='js:{a:alert(1)}' hx-trigger=load hx-post=/language>",
    ],
    "direction": ["\u202eevil\u202c ", "\u2066a\u2069\u200f", "\u202d`code\u202e`"],
    "style": [
        "<style>*{display:none}</style>",
        "<b style='position:fixed;inset:0'>a</b>",
        "<link rel=stylesheet href=//evil.example>",
    ],
    "fence": ["```html\n<img src=x onerror=al", "ert(1)>\n```\n", "```python\n<script>alert(1)</script>"],
    "end marker": ["[DONE]", "\n\ndata: [DONE]\n\n", "data: [DONE]"],
    "event fields": ["id: 99\n", "event: error\ndata: {}\n\n", ":comment\n", "retry: 1\n"],
    "line ends": ["a\r", "\nb\r\r", "c\r\n\r\nd", "\n\n\ne"],
    "separators": ["a\u2028b", "\u2029", "\u0085", "\v\f"],
    "NUL and BOM": ["\ufeffa", "\x00", "b\ufeff", "\x1b[31m"],
    "spaces": ["  a", " b", "\tc ", "  "],
    "emoji": ["👩", "\u200d", "👩", "\u200d👧", "🇫", "🇷", "e", "\u0301"],
    "template": ["{{ 7 * 7 }}", "${alert(1)}", "</token-stream></template>", "&lt;script&gt;&amp;"],
    "quotes": ['"', "'", "`", "\\", '\\"', "\\u0022"],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_output_arrives_to_the_byte_and_stays_text(playground: PlaygroundPage, name: str):
    pieces = HOSTILE[name]

    # A pause after each, so that every piece is drawn on its own as well.
    playground.ask(script(pieces=pieces, step_seconds=0.05))
    playground.expect_end()

    assert playground.text == "".join(pieces)
    assert len(playground.connections()) == 1
    _expect_nothing_active(playground)
    playground.last.locator("[data-action=raw]").click()
    assert playground.last.locator(".raw").evaluate("raw => raw.textContent") == "".join(pieces)


# What makes a careless parser take its time: openers without an end, each in a length that an answer can have.
TIRING = {
    "quotes": "> " * 5000 + "a",
    "lists": "- " * 5000 + "a",
    "brackets": "[" * 5000 + "a" + "](b)" * 50,
    "stars": "**a " * 2500,
    "mixed stars": "*a **b _c __d " * 700,
    "backticks": "".join("`" * (at % 50 + 1) + "a" for at in range(400)),
    "tables": "|" * 5000 + "\n" + "|-" * 2500 + "|\n" + "|a" * 2500,
    "links": "[a](" * 2500,
    "addresses": "https://" + "a." * 5000 + " www." * 1000,
    "spaces": "a" + " " * 10_000 + "b" + "\t" * 5000,
    "one word": "x" * 20_000,
}
# On this machine each takes well under a second; what explodes takes minutes.
MOST_MILLISECONDS = 10_000


def test_no_text_makes_the_page_hang(playground: PlaygroundPage):
    took = playground.page.evaluate(
        """async (texts) => {
          const { AnswerView, loadMarkdown } = await import("/static/answer-view.js");
          await loadMarkdown();
          const took = {};
          for (const [name, text] of Object.entries(texts)) {
            const shown = document.createElement("div");
            const start = performance.now();
            const view = new AnswerView(shown);
            view.append(text.slice(0, text.length / 2));
            view.append(text.slice(text.length / 2));
            view.finish();
            took[name] = performance.now() - start;
            if (!shown.textContent) took[name] = Infinity;
          }
          return took;
        }""",
        TIRING,
    )

    assert {name: time for name, time in took.items() if time > MOST_MILLISECONDS} == {}


def test_hostile_prompt_is_shown_as_text_also_after_a_reload(playground: PlaygroundPage):
    shown = "</p><img src=x onerror=alert(1)><script>alert(1)</script>{{ 7 }}"
    playground.ask(shown)
    playground.expect_end()
    assert playground.turns.locator(".prompt").text_content() == shown

    playground.page.reload()
    playground.expect_end()

    assert playground.turns.locator(".prompt").text_content() == shown
    _expect_nothing_active(playground)


def test_markdown_keeps_web_links_and_makes_them_harmless(playground: PlaygroundPage):
    playground.ask(
        script(
            pieces=["**bold** [site](https://example.org/?a=1&b=2)", "\n\n- one\n- two\n\n", "```python\nprint(1)\n```"]
        )
    )
    playground.expect_end()

    link = playground.last.locator(".answer a")
    expect(link).to_have_attribute("href", "https://example.org/?a=1&b=2")
    expect(link).to_have_attribute("rel", "nofollow ugc noopener noreferrer")
    expect(playground.last.locator(".answer strong")).to_have_text("bold")
    expect(playground.last.locator(".answer li")).to_have_text(["one", "two"])
    expect(playground.last.locator(".answer figure code")).to_have_text("print(1)")


def test_restored_output_is_as_harmless_as_streamed_output(playground: PlaygroundPage):
    pieces = [piece for pieces in HOSTILE.values() for piece in pieces]
    playground.ask(script(pieces=pieces))
    playground.expect_end()

    playground.page.reload()
    playground.expect_end()

    assert playground.text == "".join(pieces)
    _expect_nothing_active(playground)


def _expect_nothing_active(playground: PlaygroundPage) -> None:
    active = (
        "script, style, link, img, svg, iframe, object, form, input, video, audio, base, meta, "
        "[style], [onerror], [onload], [id], [name], [form]"
    )
    assert playground.last.locator(".answer").locator(active).count() == 0
    addresses = playground.last.locator(".answer a").evaluate_all("links => links.map((link) => link.protocol)")
    assert set(addresses) <= {"http:", "https:", ":"}
    attributes = playground.last.locator(".answer *").evaluate_all(
        "all => all.flatMap((one) => one.getAttributeNames())"
    )
    assert not [name for name in attributes if "hx" in name or name.startswith("on")]
    paths = [request.url.removeprefix(playground.server.url) for request in playground.requests]
    assert "/pool.json" not in paths
