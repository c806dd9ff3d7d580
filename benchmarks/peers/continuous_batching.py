"""transformers' ContinuousBatchingManager alone: what `transformers serve` is built on, where that cannot be installed.

Token ids only: nothing is made text of, which flatters it a little.
"""

import argparse
import time
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    ContinuousBatchingConfig,
    ContinuousBatchingManager,
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from benchmarks.peers.lines import Lines

# It says nothing where it has failed: after so many seconds without a token it has.
_SILENCE_SECONDS = 120.0

Message = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--device", required=True)
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), required=True)
    parser.add_argument("--blocks", type=int, help="pages of the cache; its own choice unless it says otherwise")
    parser.add_argument("--batch-tokens", type=int, help="tokens of a step; likewise")
    arguments = parser.parse_args()
    lines = Lines()
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    dtype = getattr(torch, arguments.dtype)
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=dtype, device_map=arguments.device).eval()
    bounds = ContinuousBatchingConfig(num_blocks=arguments.blocks, max_batch_tokens=arguments.batch_tokens)
    batching = Batching(model, tokenizer, bounds)
    try:
        lines.serve(batching.answer, hello={"precision": {"bfloat16": "bf16", "float16": "fp16"}[arguments.dtype]})
    finally:
        # Its thread would keep the process from ending.
        batching.stop()


class Batching:
    """One manager, made at the first message: its sampling is fixed when it starts."""

    def __init__(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, bounds: ContinuousBatchingConfig
    ) -> None:
        self._model = model
        self._tokenizer = tokenizer
        self._bounds = bounds
        self._manager: ContinuousBatchingManager | None = None

    def answer(self, message: Message) -> Message:
        if self._manager is None:
            self._manager = self._start(message)
        token_ids = [self._token_ids(prompt["text"]) for prompt in message["prompts"]]
        started_at = time.perf_counter()
        streams: dict[str, Message] = {}
        for prompt_ids in token_ids:
            name = self._manager.add_request(prompt_ids, max_new_tokens=message["max_tokens"], streaming=True)
            if name is None:
                raise RuntimeError("it takes no more requests")
            streams[name] = {
                "started_at": started_at,
                "times": [],
                "prompt_tokens": len(prompt_ids),
                "completion_tokens": 0,
            }
        running = set(streams)
        while running:
            output = self._manager.get_result(timeout=_SILENCE_SECONDS)
            if output is None:
                raise RuntimeError("it brought no token for a long time, or has ended")
            if output.error:
                raise RuntimeError(output.error)
            if output.request_id in running:
                self._take(streams[output.request_id], len(output.generated_tokens))
                if output.is_finished():
                    running.discard(output.request_id)
        return {"streams": list(streams.values())}

    def stop(self) -> None:
        if self._manager is not None:
            self._manager.stop(block=False)

    def _start(self, message: Message) -> ContinuousBatchingManager:
        sampling = message["sampling"]
        chosen = {"do_sample": True, **sampling} if sampling["temperature"] > 0 else {"do_sample": False}
        # To transformers an end token of -1 is none.
        generation = GenerationConfig(**chosen, max_new_tokens=message["max_tokens"], eos_token_id=-1, pad_token_id=0)
        start: Any = self._model.init_continuous_batching
        manager: ContinuousBatchingManager = start(
            generation_config=generation, continuous_batching_config=self._bounds
        )
        # As generate_batch does, and `transformers serve` does not.
        if self._model.device.type == "cuda":
            manager.warmup()
        manager.start()
        return manager

    def _token_ids(self, text: str) -> list[int]:
        turns = [{"role": "user", "content": text}]
        prompt: Any = self._tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)
        return prompt["input_ids"]

    def _take(self, stream: Message, count: int) -> None:
        if count > stream["completion_tokens"]:
            stream["times"].append(time.perf_counter())
            stream["completion_tokens"] = count


if __name__ == "__main__":
    main()
