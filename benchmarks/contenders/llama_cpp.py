"""The peers of llama.cpp: llama-cpp-python's server, and llama.cpp's own batch through its low-level interface."""

import json
from pathlib import Path
from typing import Any

from benchmarks.client import request
from benchmarks.contenders.contender import HttpContender, LineContender
from benchmarks.environments import LLAMA_CPP
from benchmarks.plan import Configuration
from benchmarks.prompts import Prompt, PromptMaker


class LlamaCppServer(HttpContender):
    """One request at a time: that is how it works. Its defaults interrupt a stream for the next request: not here."""

    ready_path = "/v1/models"

    def __init__(self, weights: Path, *, threads: int, prompt_maker: PromptMaker) -> None:
        super().__init__(
            "llama-cpp-server", title="llama-cpp-python's server", precision="Q4_1", prompt_maker=prompt_maker
        )
        self._weights = weights
        self._threads = threads

    @property
    def command(self) -> list[str]:
        return [
            str(LLAMA_CPP.python),
            *("-m", "llama_cpp.server"),
            *("--model", str(self._weights)),
            *("--n_ctx", "4096"),
            *("--n_threads", str(self._threads)),
            *("--n_threads_batch", str(self._threads)),
            *("--flash_attn", "True"),
            # Logits of every prompt token, which nobody asked for, cost more than the rest of the prompt.
            *("--logits_all", "False"),
            *("--interrupt_requests", "False"),
            *("--verbose", "False"),
            *("--host", "127.0.0.1"),
            *("--port", str(self.port)),
        ]

    def request(self, prompt: Prompt, configuration: Configuration, *, max_tokens: int) -> bytes:
        body = {
            "messages": [{"role": "user", "content": prompt.text}],
            "stream": True,
            "max_tokens": max_tokens,
            "seed": prompt.seed,
            "min_p": 0.0,
            "repeat_penalty": 1.0,
            **self.sampling_for(configuration),
        }
        return request(self.port, "/v1/chat/completions", json.dumps(body).encode())

    def text(self, event: dict[str, Any]) -> str:
        choices = event.get("choices") or [{}]
        return (choices[0].get("delta") or {}).get("content") or ""


def llama_batch(weights: Path, *, precision: str, threads: int) -> LineContender:
    """N sequences in one context."""
    return LineContender(
        f"llama-batch-{precision.lower()}",
        title=f"llama.cpp, one batch, {precision}",
        precision=precision,
        module="llama_batch",
        python=LLAMA_CPP.python,
        arguments=[str(weights), "--threads", str(threads)],
    )
