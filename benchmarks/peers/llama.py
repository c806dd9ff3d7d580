"""llama.cpp through its low-level interface: a model, a context for some sequences, their batch. Numbers, no text.

https://github.com/ggml-org/llama.cpp/blob/master/include/llama.h says what each call does.
"""

import ctypes
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import llama_cpp  # pyright: ignore[reportMissingImports]

# llama.cpp's own server reads prompts so many tokens at a time, beside the streams that run, and computes in
# pieces of 512: its defaults.
BATCH_TOKENS = 2048
MICRO_BATCH_TOKENS = 512


@dataclass(frozen=True)
class Entry:
    """One token of a batch."""

    token_id: int
    position: int
    sequence: int
    wants_logits: bool


class Model:
    """A GGUF file, loaded for the processor."""

    def __init__(self, path: str) -> None:
        llama_cpp.llama_backend_init()
        self.handle = llama_cpp.llama_model_load_from_file(path.encode(), llama_cpp.llama_model_default_params())
        if not self.handle:
            raise OSError(f"llama.cpp cannot load {path}")
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.handle)
        self.vocabulary_size: int = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        self._buffer = ctypes.create_string_buffer(256)

    def token_ids(self, text: str) -> list[int]:
        """Text with the chat template's special tokens in it."""
        data = text.encode()
        found = (llama_cpp.llama_token * (len(data) + 8))()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), found, len(found), False, True)
        return list(found[:count])

    def piece(self, token_id: int) -> bytes:
        size = llama_cpp.llama_token_to_piece(self.vocabulary, token_id, self._buffer, len(self._buffer), 0, False)
        return self._buffer.raw[:size]

    def is_end(self, token_id: int) -> bool:
        return llama_cpp.llama_vocab_is_eog(self.vocabulary, token_id)


class Context:
    """Room for some sequences of at most so many tokens each."""

    def __init__(
        self,
        model: Model,
        *,
        sequences: int,
        tokens: int,
        threads: int,
    ) -> None:
        parameters = llama_cpp.llama_context_default_params()
        # Each sequence's part of the cache is rounded up to 256 positions, as the library does itself.
        parameters.n_ctx = sequences * -(-tokens // 256) * 256
        parameters.n_batch = BATCH_TOKENS
        parameters.n_ubatch = MICRO_BATCH_TOKENS
        parameters.n_seq_max = sequences
        parameters.n_threads = parameters.n_threads_batch = threads
        parameters.kv_unified = False
        parameters.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED
        parameters.no_perf = True
        self._model = model
        self.handle = llama_cpp.llama_init_from_model(model.handle, parameters)
        if not self.handle:
            raise MemoryError("llama.cpp cannot make the context")
        self._batch = llama_cpp.llama_batch_init(BATCH_TOKENS, 0, 1)

    def decode(self, entries: Sequence[Entry]) -> None:
        """Compute a batch of at most BATCH_TOKENS tokens."""
        batch = self._batch
        batch.n_tokens = len(entries)
        for index, entry in enumerate(entries):
            batch.token[index] = entry.token_id
            batch.pos[index] = entry.position
            batch.n_seq_id[index] = 1
            batch.seq_id[index][0] = entry.sequence
            batch.logits[index] = entry.wants_logits
        status = llama_cpp.llama_decode(self.handle, batch)
        if status:
            raise RuntimeError(f"llama_decode answered {status}")

    def logits(self, index: int) -> Any:  # noqa: ANN401
        """A pointer to the logits of the entry `index` of the last batch."""
        return llama_cpp.llama_get_logits_ith(self.handle, index)

    def close(self) -> None:
        llama_cpp.llama_batch_free(self._batch)
        llama_cpp.llama_free(self.handle)


class Sampler:
    """llama.cpp's own chain. Top-k first: what is left is the same, and cheaper."""

    def __init__(self, *, temperature: float, top_p: float, top_k: int, seed: int) -> None:
        self._chain = llama_cpp.llama_sampler_chain_init(llama_cpp.llama_sampler_chain_default_params())
        links = (
            [
                llama_cpp.llama_sampler_init_top_k(top_k),
                llama_cpp.llama_sampler_init_temp(temperature),
                llama_cpp.llama_sampler_init_top_p(top_p, 1),
                llama_cpp.llama_sampler_init_dist(seed),
            ]
            if temperature > 0
            else [llama_cpp.llama_sampler_init_greedy()]
        )
        for link in links:
            llama_cpp.llama_sampler_chain_add(self._chain, link)

    def sample(self, context: Context, index: int) -> int:
        return llama_cpp.llama_sampler_sample(self._chain, context.handle, index)

    def close(self) -> None:
        llama_cpp.llama_sampler_free(self._chain)
