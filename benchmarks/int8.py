"""`python -m benchmarks.int8`: the ways in which int8 is computed on the processor, beside each other in one run.

Speed of the engine alone, quality on the fixed text, and whether a text changes with the load.
"""

import argparse
import datetime
import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks import machine, report, rounds
from benchmarks.contenders.contender import ContenderFailed
from benchmarks.contenders.jeton import jeton_engine
from benchmarks.environments import FOLDER
from benchmarks.plan import MAX_TOKENS, Configuration
from benchmarks.prompts import PromptMaker
from benchmarks.quality import measure_equal_texts, measure_quality, own
from benchmarks.reports import write_report
from benchmarks.results import Results
from benchmarks.weights import STARTER, find_weights

# By the catalogue's `outlier_threshold`; the first has none.
_WAYS = {"weights": None, "llm-int8-0": 0.0, "llm-int8-6": 6.0}
_TITLES = {
    "weights": "inputs in 16 bits",
    "llm-int8-0": "LLM.int8, threshold 0",
    "llm-int8-6": "LLM.int8, threshold 6",
}
_CONFIGURATIONS = [Configuration(streams, "short", is_sampled=True) for streams in (1, 4, 16)]


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=16, help="texts that are compared, alone and beside others")
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS, help="new tokens of each stream, 128")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="the folder of the report")
    options = parser.parse_args(arguments)
    # So that engines are stopped then too; those that sleep would sleep on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    weights = find_weights()
    prompt_maker = PromptMaker(weights.tokenizer)
    found = Results(
        date=datetime.date.today().isoformat(),
        commit=machine.commit(),
        command=" ".join(["python -m benchmarks.int8", *machine.without_output(arguments)]),
        machine=machine.describe(),
        versions={"Jeton": machine.own_versions()},
    )
    with tempfile.TemporaryDirectory(prefix="jeton-bench-") as folder:
        # For all programs that are started from here.
        os.environ["JETON_MODELS_FILE"] = str(write_catalog(Path(folder), weights.folder))
        engines = [jeton_engine(_name(way), name=way, title=title) for way, title in _TITLES.items()]
        with rounds.started(engines, found, starts=1) as running:
            rounds.measure(
                running,
                _CONFIGURATIONS,
                found,
                rounds=options.rounds,
                prompt_maker=prompt_maker,
                max_tokens=options.tokens,
            )
        variants = own(weights, [_name(way) for way in _WAYS])
        found.quality = measure_quality(weights, prompt_maker, variants=variants, say=rounds.say)
        for way in _WAYS:
            _measure_equal_texts(way, found, prompt_maker, texts=options.texts)
    write_report(found, report.markdown(found), folder=options.output, suffix="-int8")
    return 0


def _measure_equal_texts(way: str, found: Results, prompt_maker: PromptMaker, *, texts: int) -> None:
    engine = jeton_engine(_name(way))
    try:
        engine.start()
        found.equal_texts.append(measure_equal_texts(_name(way), engine, prompt_maker, texts=texts))
    except ContenderFailed as error:
        rounds.note(found, f"{way}, equal texts: {error}")
    finally:
        engine.stop()


def _name(way: str) -> str:
    return f"{STARTER}-int8-{way}"


def write_catalog(folder: Path, weights: Path) -> Path:
    """A models.toml in `folder`, with one entry for each way of computing `weights`."""
    path = folder / "models.toml"
    path.write_text("\n".join(_toml(way, threshold, weights) for way, threshold in _WAYS.items()), "utf-8")
    return path


def _toml(way: str, threshold: float | None, weights: Path) -> str:
    return f"""
[[model]]
name = "{_name(way)}"
title = "{_TITLES[way]}"
description = "For the benchmark."
weights = {{ folder = "{weights}" }}
precision = "int8"
context_window = 4096
sequence_length = 2560
slots = 16
{"" if threshold is None else f"outlier_threshold = {threshold}"}
"""


if __name__ == "__main__":
    raise SystemExit(main())
