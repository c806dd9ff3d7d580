"""A GGUF file to a folder of weights and tokenizer as transformers has them. Takes about 20 seconds for the starter."""

import io
from contextlib import redirect_stderr
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel

from webapp.engine.runner import LoadProgress

# Fractions of a conversion, by the clock.
_TOKENIZER_DONE, _MODEL_DONE = 0.3, 0.9


def convert_gguf(source: Path, target: Path, *, on_progress: LoadProgress) -> None:
    """Write config, weights in float32 and tokenizer into an empty folder."""
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    tokenizer.save_pretrained(target)
    on_progress(_TOKENIZER_DONE)
    model = _read_gguf(source)
    on_progress(_MODEL_DONE)
    model.save_pretrained(target)


def _read_gguf(source: Path) -> PreTrainedModel:
    # Its progress bar is not one that transformers lets us turn off.
    with redirect_stderr(io.StringIO()):
        return AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            quantization_config=GgufConfig(dequantize=True),
            # float32 holds exactly what the blocks of the file stand for; bf16 would round it once more.
            dtype=torch.float32,
            local_files_only=True,
        )
