"""The page's benchmark: what it sends, and what its report says of what it found."""

import pytest

from benchmarks.page.answers import SHAPES, TOKENS, pieces
from benchmarks.page.report import markdown
from benchmarks.page.results import PageResults
from benchmarks.page.visits import AnswerVisit, LoadVisit


@pytest.mark.parametrize("shape", SHAPES)
def test_answers_have_their_tokens_and_are_the_same_in_every_run(shape: str) -> None:
    assert len(pieces(shape)) == TOKENS
    assert pieces(shape) == pieces(shape)
    assert all(1 <= len(piece) <= 6 for piece in pieces(shape))


def test_report_says_what_is_not_met() -> None:
    found = PageResults(
        date="2026-01-01",
        commit="abc",
        command="python -m benchmarks.page",
        machine={"processor": "one"},
        versions={"Chromium": "1"},
        loads=[
            LoadVisit(
                path="/",
                first_paint=0.3,
                first_contentful_paint=0.3,
                loaded=0.4,
                requests=20,
                script_bytes=40_000,
                style_bytes=6_000,
                bytes=70_000,
            )
        ],
        answers=[
            AnswerVisit(
                shape="one table",
                characters=9,
                seconds=9.0,
                longest_task=longest,
                tasks_over_50_ms=1,
                busy_seconds=2.0,
                frames=500,
                dropped_frames=3,
                is_text_equal=is_equal,
            )
            for longest, is_equal in ((0.08, True), (0.12, False), (0.15, True))
        ],
    )

    rows = [line.replace("*", "").split("|")[1:-1] for line in markdown(found).split("\n## First")[0].splitlines()]
    met = {row[0].strip(): (row[2].strip(), row[3].strip()) for row in rows if len(row) == 4}

    assert met["`/`: script and style"] == ("46.0 kB", "yes")
    assert met["`/`: first paint, median"] == ("300.0 ms", "yes")
    assert met["one table: longest task, median"] == ("120.0 ms", "no")
    assert met["text on the page as it was sent"] == ("2 of 3", "no")
