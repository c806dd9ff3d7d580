"""What each client's program has in common: its configuration, and how it tells what it saw."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator

CONFIG = json.loads(sys.argv[1])
# More than any limit in the tests allows.
MOST_ATTEMPTS = 8


def run(scenarios: dict[str, Callable[[], dict]]) -> None:
    """Run the scenarios that the configuration names, else all, and print one line of JSON for each."""
    for name in CONFIG.get("only", scenarios):
        try:
            seen = scenarios[name]()
        except Exception as error:
            seen = describe(error)
        print(json.dumps({"scenario": name} | seen), flush=True)


def describe(error: Exception) -> dict:
    """The exception's class, HTTP status and text."""
    return {"raised": type(error).__name__, "status": getattr(error, "status_code", None), "message": str(error)}


def read(pieces: Iterable[str | None]) -> dict:
    """The pieces of a stream, without the empty ones."""
    return {"pieces": [piece for piece in pieces if piece]}


def read_first(pieces: Iterator[str | None]) -> dict:
    """The first piece of a stream that would go on for longer than this program may."""
    return {"piece": next(piece for piece in pieces if piece)}


def until_refused(ask: Callable[[], object]) -> dict:
    """Ask until the limit is reached, which raises."""
    for _ in range(MOST_ATTEMPTS):
        ask()
    return {}
