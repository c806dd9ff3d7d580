"""What the weights' precision costs: each variant's next-token distributions on a fixed text, beside bf16 and fp32.

And whether a text changes with the load: the same prompts and seeds, alone and beside others.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.contenders.contender import LineContender
from benchmarks.environments import FOLDER, LLAMA_CPP, PROJECT_FOLDER
from benchmarks.plan import MAX_TOKENS, Configuration
from benchmarks.prompts import PromptMaker
from benchmarks.results import EqualTextsResult, QualityResult
from benchmarks.weights import STARTER, StarterWeights
from webapp.catalog import read_catalog
from webapp.settings import read_settings

TEXT = FOLDER / "text.txt"
CROWD = 16
# Plain transformers; measured first.
_REFERENCES = ("fp32", "bf16")

Logits = NDArray[np.float32]


class VariantFailed(Exception):
    """A variant made no logits; the message has the end of what it printed."""


@dataclass(frozen=True)
class Variant:
    """Something that makes logits: its name in the report, its precision, and the command without its last two."""

    name: str
    command: list[str]
    precision: str = ""


def own_variants() -> list[str]:
    """The starter's entries in the catalogue that can run here."""
    entries = read_catalog(read_settings().models_file).entries
    return [entry.name for entry in entries if entry.name.startswith(STARTER) and entry.is_installed]


def measure_quality(
    weights: StarterWeights, prompt_maker: PromptMaker, *, variants: Sequence[Variant], say: Callable[[str], None]
) -> list[QualityResult]:
    """Every variant beside the two references. A variant that fails is left out, and said."""
    token_ids = prompt_maker.token_ids(TEXT.read_text("utf-8"))
    results: list[QualityResult] = []
    with tempfile.TemporaryDirectory(prefix="jeton-bench-") as folder:
        references: dict[str, Logits] = {}
        for variant in (*own(weights, _REFERENCES), *variants):
            try:
                precision, logits = _logits(variant, token_ids, Path(folder))
            except VariantFailed as error:
                say(f"{variant.name}: no logits: {error}")
                continue
            if variant.name in _REFERENCES:
                references[variant.name] = logits
            if variant.name == _REFERENCES[-1]:
                results += [_result(name, name, references[name], references, token_ids) for name in _REFERENCES]
            elif variant.name not in _REFERENCES:
                results.append(_result(variant.name, precision, logits, references, token_ids))
                say(f"{variant.name}: divergence from bf16 {results[-1].divergence_bf16:.4f}")
    return results


def variants(weights: StarterWeights, *, threads: int) -> list[Variant]:
    """Jeton's and llama.cpp's."""
    theirs = [str(LLAMA_CPP.python), "-m", "benchmarks.peers.llama_logits"]
    return [
        *own(weights, own_variants()),
        *(
            Variant(f"llama.cpp {precision}", [*theirs, "--threads", str(threads), str(path)], precision)
            for precision, path in (("Q4_1", weights.q4_1), ("Q4_0", weights.q4_0))
        ),
    ]


def own(weights: StarterWeights, names: Sequence[str]) -> list[Variant]:
    """Entries of the catalogue, or references, by their names."""
    command = [sys.executable, "-m", "benchmarks.peers.logits"]
    return [Variant(name, [*command, name, str(weights.folder)]) for name in names]


def _logits(variant: Variant, token_ids: Sequence[int], folder: Path) -> tuple[str, Logits]:
    """The precision and the logits after each token."""
    ids_file, target = folder / "token_ids.json", folder / "logits.npy"
    ids_file.write_text(json.dumps(token_ids), "utf-8")
    environ = os.environ | {"JETON_DEVICE": "cpu", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [*variant.command, str(ids_file), str(target)],
        cwd=PROJECT_FOLDER,
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise VariantFailed(done.stderr[-600:])
    return json.loads(done.stdout.splitlines()[-1]).get("precision", variant.precision), np.load(target)


def _result(
    name: str, precision: str, logits: Logits, references: dict[str, Logits], token_ids: Sequence[int]
) -> QualityResult:
    fp32, bf16 = (references[reference] for reference in _REFERENCES)
    return QualityResult(
        variant=name,
        precision=precision,
        tokens=len(token_ids) - 1,
        perplexity=perplexity(logits, token_ids),
        top1_bf16=top1_agreement(bf16, logits),
        divergence_bf16=divergence(bf16, logits),
        top1_fp32=top1_agreement(fp32, logits),
        divergence_fp32=divergence(fp32, logits),
    )


def log_softmax(logits: Logits) -> NDArray[np.float64]:
    shifted = logits.astype(np.float64) - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def divergence(reference: Logits, logits: Logits) -> float:
    """Kullback-Leibler, in nats a token: what is lost by taking `logits` for the reference."""
    ours, theirs = log_softmax(logits), log_softmax(reference)
    return float((np.exp(theirs) * (theirs - ours)).sum(-1).mean())


def top1_agreement(reference: Logits, logits: Logits) -> float:
    """The share of positions with the same likeliest token."""
    return float((reference.argmax(-1) == logits.argmax(-1)).mean())


def perplexity(logits: Logits, token_ids: Sequence[int]) -> float:
    """Of the text, each token given all before it; the first has none and is left out."""
    logarithms = log_softmax(logits[: len(token_ids) - 1])
    return float(np.exp(-logarithms[np.arange(len(token_ids) - 1), np.asarray(token_ids[1:])].mean()))


def measure_equal_texts(
    variant: str, engine: LineContender, prompt_maker: PromptMaker, *, texts: int
) -> EqualTextsResult:
    """Run sampled prompts alone, in crowds of 16, and in crowds from their middle on. Raises ContenderFailed."""
    prompts = [
        {"text": prompt.text, "seed": prompt.seed} for prompt in prompt_maker.make("equal-texts", texts, length="short")
    ]
    alone = [token_ids for prompt in prompts for token_ids in _answers(engine, [prompt])]
    together = _in_crowds(engine, prompts)
    halves = [token_ids[: len(token_ids) // 2] for token_ids in alone]
    again = _in_crowds(engine, [prompt | {"token_ids": half} for prompt, half in zip(prompts, halves, strict=True)])
    return EqualTextsResult(
        variant=variant,
        precision=engine.precision,
        texts=texts,
        equal=sum(one == other for one, other in zip(alone, together, strict=True)),
        equal_again=sum(one == other for one, other in zip(alone, again, strict=True)),
        beside=CROWD - 1,
    )


def _in_crowds(engine: LineContender, prompts: list[dict[str, Any]]) -> list[list[int]]:
    crowds = [prompts[start : start + CROWD] for start in range(0, len(prompts), CROWD)]
    return [token_ids for crowd in crowds for token_ids in _answers(engine, crowd)]


def _answers(engine: LineContender, prompts: list[dict[str, Any]]) -> list[list[int]]:
    """The token ids of all prompts, run at once."""
    sampling = engine.sampling_for(Configuration(len(prompts), "short", is_sampled=True))
    reply = engine.ask({"prompts": prompts, "max_tokens": MAX_TOKENS, "sampling": sampling, "wants_token_ids": True})
    return reply["token_ids"]
