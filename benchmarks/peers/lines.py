"""A line of JSON in, a line of JSON out: how the benchmark talks to a program in another environment.

Only the standard library, for each environment has packages of its own.
"""

import json
import os
import sys
from collections.abc import Callable
from typing import Any


class Lines:
    """Takes standard output for itself: what libraries print goes to standard error."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def say(self, message: dict[str, Any]) -> None:
        self._out.write(json.dumps(message) + "\n")
        self._out.flush()

    def serve(self, answer: Callable[[dict[str, Any]], dict[str, Any]], *, hello: dict[str, Any]) -> None:
        """Say `hello`, then answer each line until there are no more. An error is an answer too."""
        self.say(hello)
        for line in sys.stdin:
            try:
                reply = answer(json.loads(line))
            except Exception as error:  # whatever it is, the other side must learn of it
                reply = {"error": f"{type(error).__name__}: {error}"}
            self.say(reply)
