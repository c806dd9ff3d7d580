"""What a Python user writes first: transformers' `generate` with a streamer, and a thread for each stream."""

import argparse
import threading
import time
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    TextIteratorStreamer,
)

from benchmarks.peers.lines import Lines

Message = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, help="torch's own number unless it says otherwise")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", choices=("bfloat16", "float16"), default="bfloat16")
    arguments = parser.parse_args()
    lines = Lines()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    tokenizer = AutoTokenizer.from_pretrained(arguments.folder)
    # Straight onto another device; for the processor it would need a library more.
    place = {} if arguments.device == "cpu" else {"device_map": arguments.device}
    dtype = getattr(torch, arguments.dtype)
    model = AutoModelForCausalLM.from_pretrained(arguments.folder, dtype=dtype, **place).eval()

    def answer(message: dict[str, Any]) -> dict[str, Any]:
        streams: list[dict[str, Any]] = [{} for _ in message["prompts"]]
        threads = [
            threading.Thread(target=_stream, args=(model, tokenizer, message, prompt, stream))
            for prompt, stream in zip(message["prompts"], streams, strict=True)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return {"streams": streams}

    lines.serve(answer, hello={"precision": {"bfloat16": "bf16", "float16": "fp16"}[arguments.dtype]})


def _stream(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, message: Message, prompt: Message, out: Message
) -> None:
    out["started_at"] = time.perf_counter()
    turns = [{"role": "user", "content": prompt["text"]}]
    inputs: Any = tokenizer.apply_chat_template(
        turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
    )
    inputs = inputs.to(model.device)
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    sampling = message["sampling"]
    arguments = {"do_sample": True, **sampling} if sampling["temperature"] > 0 else {"do_sample": False}
    done: list[Any] = []

    run: Any = model.generate

    def generate() -> None:
        done.append(run(**inputs, **arguments, max_new_tokens=message["max_tokens"], streamer=streamer))

    thread = threading.Thread(target=generate)
    thread.start()
    out["times"] = []
    out["text"] = ""
    for piece in streamer:
        if piece:
            out["times"].append(time.perf_counter())
            out["text"] += piece
    thread.join()
    out["prompt_tokens"] = inputs["input_ids"].shape[1]
    out["completion_tokens"] = done[0].shape[1] - out["prompt_tokens"]


if __name__ == "__main__":
    main()
