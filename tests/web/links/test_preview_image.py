"""The picture of a run: what is on it, what never is, and that no text takes long or breaks it."""

import io
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.shared_runs import make_run
from webapp.web.links import preview_image
from webapp.web.links.preview_image import draw_preview, drawable_text

STYLE = (Path(__file__).parents[3] / "static" / "style.css").read_text("utf-8")
CHINESE = "请写一个关于会说话的硬币的小故事"


def picture(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


@pytest.mark.parametrize(
    ("text", "drawable"),
    [
        ("Two\n\n  lines\tand a tab", "Two lines and a tab"),
        ("# A title\n**bold** and `code`", "A title bold and code"),
        ("Ünïcödé, Ελληνικά, Русский, עברית, العربية", "Ünïcödé, Ελληνικά, Русский, עברית, العربية"),
        ("A party 🥳 of 🦜 two", "A party of two"),
        ("\x00\x1b[31mred\u202etxt\ufeff\ud800", "[31mredtxt"),
        (CHINESE, ""),
        (f"{CHINESE} and one word", ""),
        ("A long English sentence with one word, 你好, that no glyph is there for.", None),
        ("Z" + "\u0336" * 500, "Z\u0336\u0336\u0336"),
        ("", ""),
    ],
    ids=["white", "markdown", "scripts", "emoji", "control", "chinese", "mostly", "partly", "marks", "empty"],
)
def test_text_is_drawn_as_far_as_the_font_has_it(text: str, drawable: str | None) -> None:
    found = drawable_text(text)

    assert found == drawable if drawable is not None else found.startswith("A long English") and "你" not in found


def test_picture_has_the_size_that_sites_ask_for_and_few_bytes() -> None:
    png = draw_preview(make_run(), has_prompt=True)

    assert picture(png).size == (1200, 630)
    assert png.startswith(b"\x89PNG") and len(png) < 100_000


def test_without_the_prompt_neither_prompt_nor_answer_is_in_the_picture() -> None:
    one = make_run(prompt="One secret", texts=((100, "says"), (200, " this")))
    other = make_run(prompt="Another one", texts=((100, "says"), (200, " that")))

    assert draw_preview(one, has_prompt=False) == draw_preview(other, has_prompt=False)
    assert draw_preview(one, has_prompt=True) != draw_preview(other, has_prompt=True)


def test_prompt_that_cannot_be_drawn_gives_the_picture_without_it() -> None:
    run = make_run(prompt=CHINESE)

    assert draw_preview(run, has_prompt=True) == draw_preview(run, has_prompt=False)


@pytest.mark.parametrize(
    "text",
    ["x" * 10_000_000, "word " * 100_000, "W" * 400, "م" * 5000, "🎉" * 5000, "ﷺ" * 500, "a" + "\u0300" * 100_000],
    ids=["megabytes", "words", "wide", "arabic", "emoji", "widest", "marks"],
)
def test_hostile_text_is_drawn_within_the_margins(text: str) -> None:
    drawn = picture(draw_preview(make_run(prompt=text, texts=((1, text), (900, text)), title=text), has_prompt=True))

    ground = Image.new("RGB", drawn.size, drawn.getpixel((0, 0)))
    left, top, right, bottom = ImageChops.difference(drawn, ground).getbbox()
    assert left >= 40 and top >= 40 and right <= 1160 and bottom <= 625


def test_long_text_ends_in_a_dot_dot_dot_at_a_word() -> None:
    font = preview_image._font(preview_image._REGULAR, 30)

    block = preview_image._wrap("several words " * 50, font, width=400, most_lines=2)

    assert len(block.lines) == 2
    assert block.lines[1].endswith(("several…", "words…"))
    assert all(font.getlength(line) <= 400 for line in block.lines)


def test_text_from_right_to_left_stands_at_the_right() -> None:
    hebrew, latin = (picture(draw_preview(make_run(prompt=text), has_prompt=True)) for text in ("שלום", "Hello"))

    # The left and the right half of the bubble's only line.
    assert len(hebrew.crop((110, 170, 600, 240)).getcolors()) == 1 < len(hebrew.crop((600, 170, 1090, 240)).getcolors())
    assert len(latin.crop((600, 170, 1090, 240)).getcolors()) == 1 < len(latin.crop((110, 170, 600, 240)).getcolors())


def test_colours_are_those_of_the_page() -> None:
    for colour in ("GROUND", "LINE", "TEXT", "MUTED", "ACCENT", "TINT"):
        assert f"--{colour.lower()}: light-dark({getattr(preview_image, colour)}," in STYLE
