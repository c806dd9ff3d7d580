"""The logits after each token of a text, by plain transformers or by a variant of Jeton's catalogue."""

import argparse
import json
from pathlib import Path
from typing import cast

import numpy as np
import torch
from transformers import AutoModelForCausalLM

from benchmarks.peers.lines import Lines
from webapp.catalog import read_catalog
from webapp.engine.loader import load_runner
from webapp.engine.model import Row
from webapp.engine.slot_runner import SlotRunner
from webapp.settings import read_settings

_REFERENCES = {"fp32": torch.float32, "bf16": torch.bfloat16}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("variant", help="fp32 or bf16 for plain transformers, else a name of the catalogue")
    parser.add_argument("folder", help="what transformers loads")
    parser.add_argument("token_ids", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    lines = Lines()
    token_ids = json.loads(arguments.token_ids.read_bytes())
    if arguments.variant in _REFERENCES:
        logits, precision = _reference(arguments.folder, arguments.variant, token_ids), arguments.variant
    else:
        logits, precision = _variant(arguments.variant, token_ids)
    np.save(arguments.target, logits.numpy())
    lines.say({"precision": precision})


@torch.inference_mode()
def _reference(folder: str, precision: str, token_ids: list[int]) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=_REFERENCES[precision]).eval()
    return model(torch.tensor([token_ids])).logits[0].float()


def _variant(name: str, token_ids: list[int]) -> tuple[torch.Tensor, str]:
    """One decode step for each token, as the engine says an answer; and the precision of the weights."""
    settings = read_settings()
    entry = read_catalog(settings.models_file).find(name)
    runner = load_runner(entry, cache_dir=settings.cache_dir, device=settings.device, on_progress=lambda _: None)
    model = cast(SlotRunner, runner)._model
    steps = [model.decode([Row(0, token_id, position)])[0].clone() for position, token_id in enumerate(token_ids)]
    return torch.stack(steps), runner.precision


if __name__ == "__main__":
    main()
