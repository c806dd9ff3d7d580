"""The peers of transformers, in bf16: `generate` as one writes it first, and `transformers serve`."""

import json
from pathlib import Path
from typing import Any

from benchmarks.client import request
from benchmarks.contenders.contender import HttpContender, LineContender
from benchmarks.environments import TRANSFORMERS
from benchmarks.plan import Configuration
from benchmarks.prompts import Prompt, PromptMaker

# Pages of 256 tokens: 32 streams of 500 + 128 tokens take 96. Without a bound the cache takes most of the memory.
_CACHE_BLOCKS = 128
# Prompt tokens of one step; the slots of the cache that a step may touch.
_BATCH_TOKENS = 512
# The starter's `<|im_end|>`; to transformers -1 is none at all.
_END_ID = 2


class Generate(LineContender):
    """So slow with many streams that it runs the larger shapes once."""

    def __init__(self, folder: Path, *, threads: int) -> None:
        super().__init__(
            "generate",
            title="transformers `generate`, a thread per stream",
            precision="bf16",
            module="generate",
            python=TRANSFORMERS.python,
            arguments=[str(folder), "--threads", str(threads)],
        )

    def takes(self, configuration: Configuration, round_number: int) -> bool:
        if configuration.length != "short" or not configuration.is_sampled or configuration.streams > 16:
            return False
        return configuration.streams == 1 or round_number == 0


class TransformersServe(HttpContender):
    """With continuous batching. Its sampling is that of the first request it ever sees: greedy needs another one."""

    ready_path = "/health"

    def __init__(
        self, weights: Path, *, threads: int, is_sampled: bool, prompt_maker: PromptMaker, end_id: int = _END_ID
    ) -> None:
        super().__init__(
            "transformers-serve" if is_sampled else "transformers-serve-greedy",
            title="`transformers serve`, continuous batching",
            precision="bf16",
            prompt_maker=prompt_maker,
        )
        self._weights = weights
        self._threads = threads
        self._is_sampled = is_sampled
        self._end_id = end_id

    @property
    def command(self) -> list[str]:
        return [
            str(TRANSFORMERS.python.parent / "transformers"),
            "serve",
            str(self._weights),
            "--continuous-batching",
            "--dtype=bfloat16",
            "--device=cpu",
            f"--cb-num-blocks={_CACHE_BLOCKS}",
            f"--cb-max-batch-tokens={_BATCH_TOKENS}",
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]

    @property
    def environ(self) -> dict[str, str]:
        return {"OMP_NUM_THREADS": str(self._threads)}

    def takes(self, configuration: Configuration, round_number: int) -> bool:
        return configuration.is_sampled == self._is_sampled and super().takes(configuration, round_number)

    def request(self, prompt: Prompt, configuration: Configuration, *, max_tokens: int) -> bytes:
        ends = {"eos_token_id": self._end_id, "pad_token_id": _END_ID}
        generation = {"max_new_tokens": max_tokens, "do_sample": False, **ends}
        if configuration.is_sampled:
            generation |= {"do_sample": True, **self.sampling}
        body = {
            "model": str(self._weights),
            "messages": [{"role": "user", "content": prompt.text}],
            "stream": True,
            "max_tokens": max_tokens,
            "generation_config": json.dumps(generation),
        }
        return request(self.port, "/v1/chat/completions", json.dumps(body).encode())

    def text(self, event: dict[str, Any]) -> str:
        return _delta(event)


def _delta(event: dict[str, Any]) -> str:
    choices = event.get("choices") or [{}]
    return (choices[0].get("delta") or {}).get("content") or ""
