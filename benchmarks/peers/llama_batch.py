"""llama.cpp at its best: N sequences in one context, prompts read beside those that run, as its own server does."""

import argparse
import time
from dataclasses import dataclass, field
from typing import Any

from benchmarks.peers.lines import Lines
from benchmarks.peers.llama import BATCH_TOKENS, Context, Entry, Model, Sampler

# SmolLM2's chat template, as the file itself has it.
_TEMPLATE = (
    "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    "<|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"
)


@dataclass
class Running:
    """One sequence: what it still has to read, then what it says."""

    index: int
    prompt_ids: list[int]
    sampler: Sampler
    read: int = 0
    token_ids: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    text: bytes = b""
    is_done: bool = False

    @property
    def is_reading(self) -> bool:
        return self.read < len(self.prompt_ids)

    def next_entries(self, room: int) -> list[Entry]:
        """The newest token, or as much of the prompt as there is room for."""
        if not self.is_reading:
            position = len(self.prompt_ids) + len(self.token_ids) - 1
            return [Entry(self.token_ids[-1], position, self.index, wants_logits=True)]
        piece = self.prompt_ids[self.read : self.read + room]
        last = len(self.prompt_ids) - 1
        entries = [Entry(token_id, at, self.index, at == last) for at, token_id in enumerate(piece, self.read)]
        self.read += len(piece)
        return entries


class Driver:
    """Runs some prompts at once in a context of just the size they need, made before the clock starts."""

    def __init__(self, model: Model, *, threads: int) -> None:
        self._model = model
        self._threads = threads
        self._context: Context | None = None

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        prompts = [prompt["text"] for prompt in message["prompts"]]
        longest = max(len(self._model.token_ids(_TEMPLATE.format(prompt=prompt))) for prompt in prompts)
        if self._context:
            self._context.close()
        context = self._context = Context(
            self._model, sequences=len(prompts), tokens=longest + message["max_tokens"], threads=self._threads
        )
        started_at = time.perf_counter()
        running = [
            Running(index, self._model.token_ids(_TEMPLATE.format(prompt=prompt["text"])), _sampler(message, prompt))
            for index, prompt in enumerate(message["prompts"])
        ]
        while any(not sequence.is_done for sequence in running):
            self._step(context, running, max_tokens=message["max_tokens"])
        for sequence in running:
            sequence.sampler.close()
        return {"streams": [_stream(sequence, started_at) for sequence in running]}

    def _step(self, context: Context, running: list[Running], *, max_tokens: int) -> None:
        entries: list[Entry] = []
        # Those that run come first, then prompts in their order.
        for sequence in sorted(running, key=lambda sequence: sequence.is_reading):
            if not sequence.is_done and len(entries) < BATCH_TOKENS:
                entries += sequence.next_entries(BATCH_TOKENS - len(entries))
        context.decode(entries)
        for at, entry in enumerate(entries):
            if entry.wants_logits:
                sequence = running[entry.sequence]
                self._take(sequence, sequence.sampler.sample(context, at), max_tokens=max_tokens)

    def _take(self, sequence: Running, token_id: int, *, max_tokens: int) -> None:
        sequence.token_ids.append(token_id)
        sequence.text += self._model.piece(token_id)
        is_end = self._model.is_end(token_id)
        if not is_end:
            sequence.times.append(time.perf_counter())
        sequence.is_done = is_end or len(sequence.token_ids) >= max_tokens


def _sampler(message: dict[str, Any], prompt: dict[str, Any]) -> Sampler:
    return Sampler(**message["sampling"], seed=prompt["seed"])


def _stream(sequence: Running, started_at: float) -> dict[str, Any]:
    return {
        "started_at": started_at,
        "times": sequence.times,
        "prompt_tokens": len(sequence.prompt_ids),
        "completion_tokens": len(sequence.token_ids),
        "text": sequence.text.decode("utf-8", "replace"),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    lines = Lines()
    driver = Driver(Model(arguments.model), threads=arguments.threads)
    lines.serve(driver.answer, hello={})


if __name__ == "__main__":
    main()
