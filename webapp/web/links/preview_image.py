"""The picture of a shared run, 1200 by 630, as sites that unfold links show it. Knows no database and no route.

The prompt and the answer are anybody's text. Only so much of them is looked at, and only what the font can draw:
a text that is mostly in a script without glyphs here (Chinese, say) is left out whole, and never drawn as boxes.
"""

import io
import re
import unicodedata
from pathlib import Path
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont, features

from webapp.settings import PROJECT_FOLDER
from webapp.web.links.shared_run import SharedRun

WIDTH, HEIGHT = 1200, 630

# The light colours of style.css.
GROUND, LINE = "#faf8f4", "#e2ddd2"
TEXT, MUTED, ACCENT, TINT = "#211d17", "#6a6357", "#955700", "#fdf1d8"
# The coin of favicon.svg.
GOLD, NOTCH, FACE = "#e0a11b", "#7a4a06", "#fdf3d9"

_FONTS = PROJECT_FOLDER / "static" / "vendor" / "dejavu"
_REGULAR, _BOLD = _FONTS / "DejaVuSans.ttf", _FONTS / "DejaVuSans-Bold.ttf"
_MARGIN = 72
_INNER = WIDTH - 2 * _MARGIN
# More than fits, and little enough that no text takes long.
_MOST_CHARACTERS = 600
# A base letter carries a few marks in real languages, and hundreds where somebody plays.
_MOST_MARKS = 3
# A text that has lost more than this share of its letters says something else.
_MOST_LOST = 0.2
# A character that no font has: what it looks like is the box for all that are missing.
_MISSING = "\U0010ffff"
# The coin is drawn this many times larger, and made smooth by making it small.
_OVERSAMPLING = 4
_MARKDOWN = re.compile(r"\*\*|```\w*|`|^#{1,6} |^> ", re.MULTILINE)


class _Block(NamedTuple):
    """Lines that fit, in one font, from one side."""

    lines: list[str]
    font: ImageFont.FreeTypeFont
    is_right_to_left: bool
    spacing: int

    @property
    def height(self) -> int:
        return len(self.lines) * self.spacing


def draw_preview(run: SharedRun, *, has_prompt: bool) -> bytes:
    """A PNG of the run; without its prompt it tells nothing of the answer either. Takes some 50 milliseconds."""
    image = Image.new("RGB", (WIDTH, HEIGHT), GROUND)
    draw = ImageDraw.Draw(image)
    coin = _coin(72)
    image.paste(coin, (_MARGIN, 52), coin)
    draw.text((_MARGIN + 92, 88), "Jeton", font=_font(_BOLD, 38), fill=TEXT, anchor="lm")
    prompt = drawable_text(run.last_prompt) if has_prompt else ""
    if prompt:
        _draw_conversation(draw, run, prompt)
    else:
        _draw_title(draw, run)
    _draw_speed(draw, run)
    file = io.BytesIO()
    # A few dozen colours are all there are, and a third of the bytes.
    image.quantize(96, dither=Image.Dither.NONE).save(file, "PNG")
    return file.getvalue()


def drawable_text(text: str) -> str:
    """The beginning of the text on one line, as far as the fonts have it; empty where too little would be left."""
    beginning = unicodedata.normalize("NFC", _MARKDOWN.sub("", text[:_MOST_CHARACTERS]))
    drawable = _drawable_characters(beginning)
    kept, lost, marks = [], 0, 0
    for character in beginning:
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        if character.isspace():
            kept.append(" ")
        # Control characters, marks of direction and halves of pairs have no look of their own.
        elif category[0] == "C" or marks > _MOST_MARKS:
            continue
        elif character in drawable:
            kept.append(character)
        else:
            # Signs such as emoji are an ornament; letters are the text.
            lost += category[0] == "L"
    clean = " ".join("".join(kept).split())
    letters = sum(character.isalpha() for character in clean)
    return "" if lost > _MOST_LOST * (letters + lost) else clean


def _drawable_characters(text: str) -> set[str]:
    found = set(text)
    if not features.check("raqm"):
        # Without that library letters are neither joined nor put in their order.
        found = {character for character in found if not _is_right_to_left(character)}
    for path in (_REGULAR, _BOLD):
        font = ImageFont.truetype(str(path), 16, layout_engine=ImageFont.Layout.BASIC)
        missing = _look(font, _MISSING)
        found = {character for character in found if _look(font, character) != missing}
    return found


def _look(font: ImageFont.FreeTypeFont, character: str) -> bytes:
    # Pillow's own kind of buffer, of which its types say nothing.
    return bytes(font.getmask(character))  # pyright: ignore[reportArgumentType]


def _draw_conversation(draw: ImageDraw.ImageDraw, run: SharedRun, prompt: str) -> None:
    """The prompt as a bubble, below it how the answer begins, and at the foot who has answered."""
    block = _wrap(prompt, _font(_BOLD, 40), width=_INNER - 72, most_lines=3)
    bottom = 160 + block.height + 48
    draw.rounded_rectangle((_MARGIN, 160, WIDTH - _MARGIN, bottom), radius=28, fill=TINT)
    _draw_block(draw, block, top=184, inset=36)
    answer = drawable_text(run.text)
    if answer:
        room = (500 - bottom - 28) // 46
        _draw_block(draw, _wrap(answer, _font(_REGULAR, 31), width=_INNER, most_lines=room), top=bottom + 28)
    title = _wrap(_title(run), _font(_BOLD, 30), width=_INNER - 340, most_lines=1)
    draw.line((_MARGIN, 516, WIDTH - _MARGIN, 516), fill=LINE, width=2)
    draw.text((_MARGIN, 552), "".join(title.lines), font=title.font, fill=TEXT, anchor="lm")
    draw.text((_MARGIN, 591), _engine(run), font=_font(_REGULAR, 24), fill=MUTED, anchor="lm")


def _draw_title(draw: ImageDraw.ImageDraw, run: SharedRun) -> None:
    """Without words of the conversation: the model, large."""
    block = _wrap(_title(run), _font(_BOLD, 72), width=_INNER, most_lines=3)
    top = 310 - block.height // 2
    _draw_block(draw, block, top=top)
    draw.text((_MARGIN, top + block.height + 36), _engine(run), font=_font(_REGULAR, 34), fill=MUTED, anchor="lm")
    draw.line((_MARGIN, 516, WIDTH - _MARGIN, 516), fill=LINE, width=2)
    tokens = f"{run.usage.completion_tokens:,} tokens"
    draw.text((_MARGIN, 570), tokens, font=_font(_REGULAR, 28), fill=MUTED, anchor="lm")


def _draw_speed(draw: ImageDraw.ImageDraw, run: SharedRun) -> None:
    speed = run.timings.tokens_per_second(run.usage.completion_tokens)
    if not speed:
        return
    unit = _font(_REGULAR, 28)
    draw.text((WIDTH - _MARGIN, 584), "tokens/s", font=unit, fill=MUTED, anchor="rs")
    right = WIDTH - _MARGIN - unit.getlength("tokens/s") - 14
    draw.text((right, 584), f"{speed:,.1f}", font=_font(_BOLD, 54), fill=ACCENT, anchor="rs")


def _draw_block(draw: ImageDraw.ImageDraw, block: _Block, *, top: int, inset: int = 0) -> None:
    x = WIDTH - _MARGIN - inset if block.is_right_to_left else _MARGIN + inset
    # Where the library for it is missing, no such text has come so far.
    direction = "rtl" if block.is_right_to_left else None
    for number, line in enumerate(block.lines):
        middle = top + number * block.spacing + block.spacing // 2
        anchor = "rm" if block.is_right_to_left else "lm"
        draw.text((x, middle), line, font=block.font, fill=TEXT, anchor=anchor, direction=direction)


def _wrap(text: str, font: ImageFont.FreeTypeFont, *, width: float, most_lines: int) -> _Block:
    """The text in so many lines of this width at most; a dot-dot-dot where there is more of it."""
    lines: list[str] = []
    words = text.split(" ")
    while words and len(lines) < most_lines:
        line = ""
        while words and font.getlength(f"{line} {words[0]}".strip()) <= width:
            line = f"{line} {words.pop(0)}".strip()
        if not line:
            fitting = _fitting(words[0], font, width)
            line, words[0] = words[0][:fitting], words[0][fitting:]
        lines.append(line)
    if words and lines:
        lines[-1] = _shorten(lines[-1], font, width)
    return _Block(lines, font, _is_right_to_left(text), round(font.size * 1.45))


def _shorten(line: str, font: ImageFont.FreeTypeFont, width: float) -> str:
    """The line with a dot-dot-dot, which takes the place of its last word where there is no other."""
    while font.getlength(f"{line}…") > width:
        line = line.rpartition(" ")[0] or line[:-1]
    return f"{line.rstrip(' ,.;:')}…"


def _fitting(word: str, font: ImageFont.FreeTypeFont, width: float) -> int:
    """How many characters of a word that is too long fit on a line: one at least."""
    low, high = 1, len(word)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font.getlength(word[:middle]) <= width else (low, middle - 1)
    return low


def _is_right_to_left(text: str) -> bool:
    """Whether its first letter with a direction says so."""
    for character in text:
        if (direction := unicodedata.bidirectional(character)) in ("L", "R", "AL"):
            return direction != "L"
    return False


def _title(run: SharedRun) -> str:
    """The model that has answered, by name."""
    return drawable_text(run.serving_title) or "A shared run"


def _engine(run: SharedRun) -> str:
    return " · ".join(part for part in (run.precision, run.device) if part)


def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    # Opened for each picture: a font is no thing for two threads.
    return ImageFont.truetype(str(path), size)


def _coin(size: int) -> Image.Image:
    """The jeton of favicon.svg, whose numbers these are."""
    unit = size * _OVERSAMPLING / 32
    coin = Image.new("RGBA", (size * _OVERSAMPLING, size * _OVERSAMPLING))
    draw = ImageDraw.Draw(coin)

    def circle(x: float, y: float, radius: float) -> tuple[float, float, float, float]:
        return ((x - radius) * unit, (y - radius) * unit, (x + radius) * unit, (y + radius) * unit)

    draw.ellipse(circle(16, 16, 15), fill=GOLD)
    for dash in range(6):
        draw.arc(circle(16, 16, 15), dash * 60, dash * 60 + 36, fill=NOTCH, width=round(4 * unit))
    draw.ellipse(circle(16, 16, 9.5), fill=FACE)
    draw.line((18 * unit, 11 * unit, 18 * unit, 18 * unit), fill=NOTCH, width=round(2.6 * unit))
    draw.arc(circle(15, 18, 4.3), 0, 150, fill=NOTCH, width=round(2.6 * unit))
    for x, y in ((18, 11), (12.4, 19.5)):
        draw.ellipse(circle(x, y, 1.3), fill=NOTCH)
    return coin.resize((size, size), Image.Resampling.LANCZOS)
