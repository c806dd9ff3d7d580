"""Jeton: the whole server over HTTP, and its engine alone."""

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from benchmarks.client import request
from benchmarks.contenders.contender import HttpContender, LineContender
from benchmarks.plan import Configuration
from benchmarks.prompts import Prompt, PromptMaker
from benchmarks.weights import STARTER

_TOKEN = "a-token-for-benchmarks"
_HEADERS = {"Authorization": f"Bearer {_TOKEN}"}


class JetonServer(HttpContender):
    """`python -m webapp serve` as shipped, with a data folder of its own."""

    ready_path = "/readyz"

    def __init__(self, *, prompt_maker: PromptMaker, model: str = STARTER) -> None:
        super().__init__("jeton", title="**Jeton**, server", precision="", prompt_maker=prompt_maker)
        self._model = model

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-m", "webapp", "serve"]

    @property
    def environ(self) -> dict[str, str]:
        return {
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
            "JETON_DATA_DIR": str(self.folder / "data"),
            "JETON_API_TOKEN": _TOKEN,
            "JETON_DEVICE": "cpu",
        }

    def wait_until_ready(self) -> None:
        super().wait_until_ready()
        engine = next((process for process in self.processes() if process.get("model") == self._model), {})
        self.precision = engine.get("precision", self.precision)

    def processes(self) -> list[dict[str, Any]]:
        """Its processes, as the pool describes them."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/pool.json", timeout=10) as answer:
            return json.load(answer)["processes"]

    def pause(self) -> None:
        """Not at all: its processes watch each other, and take each other's silence for a death.

        What it takes while it has nothing to do is measured instead.
        """

    def request(self, prompt: Prompt, configuration: Configuration, *, max_tokens: int) -> bytes:
        body = {"prompt": prompt.text, "stream": True, "max_tokens": max_tokens, "seed": prompt.seed}
        body |= self.sampling_for(configuration)
        path = f"/client/v4/accounts/bench/ai/run/{self._model}"
        return request(self.port, path, json.dumps(body).encode(), headers=_HEADERS)

    def text(self, event: dict[str, Any]) -> str:
        return event.get("response", "")


def jeton_engine(model: str = STARTER, *, name: str = "engine", title: str = "Jeton, engine alone") -> LineContender:
    return LineContender(
        name, title=title, precision="", module="engine", python=Path(sys.executable), arguments=[model]
    )
