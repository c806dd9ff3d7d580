"""`python -m benchmarks.page`: measures the playground in a headless Chromium, and writes the report."""

import argparse
import datetime
import shutil
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import sync_playwright

from benchmarks import machine
from benchmarks.environments import FOLDER
from benchmarks.load.jeton import JetonProgram
from benchmarks.page.answers import SHAPES, pieces
from benchmarks.page.report import answer_line, load_line, markdown
from benchmarks.page.results import PageResults
from benchmarks.page.visits import ARGUMENTS, answer, load
from benchmarks.reports import write_report
from benchmarks.rounds import say

PATHS = ("/", "/api")


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    options = _options(arguments)
    # So that the server is stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    server = JetonProgram(1)
    try:
        server.start()
        found = _measure(f"http://127.0.0.1:{server.port}", options, arguments)
    finally:
        server.stop()
    suffix = "-page" if options.shapes == list(SHAPES) else "-page-part"
    write_report(found, markdown(found), folder=options.output, suffix=suffix)
    return 0 if all(visit.is_text_equal for visit in found.answers) else 1


def _measure(url: str, options: argparse.Namespace, arguments: Sequence[str]) -> PageResults:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        found = PageResults(
            date=datetime.date.today().isoformat(),
            commit=machine.commit(),
            command=" ".join(["python -m benchmarks.page", *machine.without_output(arguments)]),
            machine=machine.describe(),
            versions={"Chromium": browser.version},
        )
        # The server's first page takes longer, for it compiles its templates: nobody's load is that one.
        for path in PATHS:
            load(browser, url, path)
        for _ in range(options.rounds):
            for path in PATHS:
                found.loads.append(load(browser, url, path))
                say(load_line(found.loads[-1]))
            for shape in options.shapes:
                found.answers.append(answer(browser, url, shape, pieces=pieces(shape)))
                say(answer_line(found.answers[-1]))
        browser.close()
    return found


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3, help="3 unless it says otherwise")
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=list(SHAPES), help="some of the answers")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="the folder of the report")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
