"""A model of a few thousand random numbers in fp32, whose steps take a millisecond; its tokens are bytes."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from webapp.engine.hardware import Hardware, Processor
from webapp.engine.slot_model import SlotModel
from webapp.engine.slot_runner import SlotRunner

_SHAPE = {
    "vocab_size": 256,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 4096,
    # Wide enough for the likeliest token to be so by far more than rounding.
    "initializer_range": 0.3,
}


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Each byte is one token."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {character: at for at, character in enumerate(alphabet)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def tiny_model(**shape: float) -> LlamaForCausalLM:
    """The same numbers every time, in fp32; `shape` is what its configuration has otherwise."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(LlamaConfig(**(_SHAPE | shape))).float().eval()


def save_tiny(folder: Path, *, dtype: torch.dtype = torch.float32, **shape: float) -> Path:
    """The folder, with the files of such a model and its tokenizer."""
    tiny_model(**shape).to(dtype).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


def tiny_runner(
    *,
    slots: int = 4,
    slot_length: int = 256,
    max_positions: int | None = None,
    end_ids: frozenset[int] = frozenset(),
    hardware: Hardware | None = None,
    dtype: torch.dtype = torch.float32,
    **shape: float,
) -> SlotRunner:
    """A runner over them; its precision is said to be fp32, whatever `dtype` is."""
    place = hardware or Processor()
    model = tiny_model(**shape).to(place.name, dtype)
    slot_model = SlotModel(model, hardware=place, slots=slots, slot_length=slot_length)
    return SlotRunner(slot_model, tiny_tokenizer(), end_ids=end_ids, precision="fp32", max_positions=max_positions)
