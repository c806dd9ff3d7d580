"""What a run of the page's benchmark found, as one JSON file."""

from msgspec import Struct

from benchmarks.page.visits import AnswerVisit, LoadVisit


class PageResults(Struct, kw_only=True):
    date: str
    commit: str
    command: str
    machine: dict[str, str]
    # Of what matters here, the browser among them.
    versions: dict[str, str]
    loads: list[LoadVisit] = []
    answers: list[AnswerVisit] = []
