"""`python -m benchmarks`: measures Jeton and its peers in one run, and writes the report."""

import argparse
import datetime
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import machine, report, rounds
from benchmarks.contenders.contender import Contender, ContenderFailed, HttpContender, LineContender
from benchmarks.contenders.jeton import JetonServer, jeton_engine
from benchmarks.contenders.llama_cpp import LlamaCppServer, llama_batch
from benchmarks.contenders.transformers import Generate, TransformersServe
from benchmarks.environments import FOLDER, LLAMA_CPP, PLOT, PROJECT_FOLDER, TRANSFORMERS
from benchmarks.long_prompt import measure_long_prompt
from benchmarks.plan import MATRIX, MAX_TOKENS, QUICK_MATRIX, Configuration
from benchmarks.prompts import PromptMaker
from benchmarks.quality import CROWD, measure_equal_texts, measure_quality, own_variants, variants
from benchmarks.reports import write_results
from benchmarks.results import Bandwidth, Results
from benchmarks.weights import StarterWeights, find_weights

NAMES = (
    "jeton",
    "engine",
    "generate",
    "transformers-serve",
    "llama-cpp-server",
    "llama-batch-q4_1",
    "llama-batch-q4_0",
)
PARTS = ("speed", "long-prompt", "bandwidth", "quality", "equal-texts")
# SmolLM2 135M; the embedding is the output layer too, so every parameter is read for each token.
_PARAMETERS = 134_515_008


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    options = _options(arguments)
    # So that contenders are stopped then too; many are asleep, and would sleep on.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for environment in (TRANSFORMERS, LLAMA_CPP, PLOT):
        environment.ensure()
    weights = find_weights()
    prompt_maker = PromptMaker(weights.tokenizer)
    found = _empty(arguments)
    found.weight_bytes = _weight_bytes(weights)
    threads = machine.cores()
    if "bandwidth" in options.parts:
        found.bandwidth = _bandwidth(threads)
    if {"speed", "long-prompt"} & set(options.parts):
        _measure_contenders(options, found, weights, prompt_maker, threads=threads)
        # The longest part: what comes after it must not lose it.
        _write(found, options.output, suffix=_suffix(options))
    if "quality" in options.parts:
        found.quality = measure_quality(
            weights, prompt_maker, variants=variants(weights, threads=threads), say=rounds.say
        )
    if "equal-texts" in options.parts:
        _measure_equal_texts(found, prompt_maker, texts=options.texts)
    _write(found, options.output, suffix=_suffix(options))
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    def listed(choices: Sequence[str]) -> Callable[[str], list[str]]:
        def parse(text: str) -> list[str]:
            unknown = set(text.split(",")) - set(choices)
            if unknown:
                raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(choices)}")
            return text.split(",")

        return parse

    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__, allow_abbrev=False)
    parser.add_argument("--rounds", type=int, help="3 unless it says otherwise; 1 with --quick")
    parser.add_argument("--only", type=listed(NAMES), default=list(NAMES), help=f"of {','.join(NAMES)}")
    parser.add_argument("--parts", type=listed(PARTS), help=f"of {','.join(PARTS)}; all unless it says otherwise")
    parser.add_argument("--streams", type=lambda text: [int(part) for part in text.split(",")], help="such as 1,4")
    parser.add_argument("--tokens", type=int, default=MAX_TOKENS, help="new tokens of each stream, 128")
    parser.add_argument(
        "--texts",
        type=int,
        default=64,
        help="texts of equal-texts for the default variant, 64; a quarter for each other",
    )
    parser.add_argument("--quick", action="store_true", help="one round of 1, 4 and 16 short sampled streams")
    parser.add_argument("--output", type=Path, default=FOLDER / "results", help="the folder of the report")
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.parts = options.parts or (["speed", "bandwidth"] if options.quick else list(PARTS))
    return options


def _empty(arguments: Sequence[str]) -> Results:
    return Results(
        date=datetime.date.today().isoformat(),
        commit=machine.commit(),
        command=" ".join(["python -m benchmarks", *machine.without_output(arguments)]),
        machine=machine.describe(),
        versions={
            "Jeton": machine.own_versions(),
            "transformers": machine.versions(TRANSFORMERS),
            "llama.cpp": machine.versions(LLAMA_CPP),
        },
    )


def _weight_bytes(weights: StarterWeights) -> dict[str, float]:
    """What one step reads, by precision. Of a GGUF file nearly all but the tokenizer, 1.3 MB here, is weights."""
    q4_1, q4_0 = (path.stat().st_size for path in (weights.q4_1, weights.q4_0))
    # int4 reads the same blocks as the Q4_1 file, and the embedding in 8 bits as well.
    return {
        "fp32": 4.0 * _PARAMETERS,
        "bf16": 2.0 * _PARAMETERS,
        "int8": 1.0 * _PARAMETERS,
        "int4": float(q4_1),
        "Q4_1": float(q4_1),
        "Q4_0": float(q4_0),
    }


def _bandwidth(threads: int) -> Bandwidth:
    reader = LineContender(
        "bandwidth",
        title="",
        precision="",
        module="bandwidth",
        python=Path(sys.executable),
        arguments=["--threads", str(threads)],
    )
    try:
        reader.start()
        ways = reader.ask({})["ways"]
    finally:
        reader.stop()
    rounds.say(f"memory: {max(ways.values()) / 1e9:.1f} GB/s")
    return Bandwidth(bytes_per_second=max(ways.values()), ways=ways)


def _contenders(
    only: Sequence[str], weights: StarterWeights, prompt_maker: PromptMaker, *, threads: int, is_greedy_wanted: bool
) -> list[Contender]:
    serve = [
        TransformersServe(weights.folder, threads=threads, is_sampled=is_sampled, prompt_maker=prompt_maker)
        for is_sampled in ([True, False] if is_greedy_wanted else [True])
    ]
    every: dict[str, list[Contender]] = {
        "jeton": [JetonServer(prompt_maker=prompt_maker)],
        "engine": [jeton_engine()],
        "generate": [Generate(weights.folder, threads=threads)],
        "transformers-serve": [*serve],
        "llama-cpp-server": [LlamaCppServer(weights.q4_1, threads=threads, prompt_maker=prompt_maker)],
        "llama-batch-q4_1": [llama_batch(weights.q4_1, precision="Q4_1", threads=threads)],
        "llama-batch-q4_0": [llama_batch(weights.q4_0, precision="Q4_0", threads=threads)],
    }
    return [contender for name in NAMES if name in only for contender in every[name]]


def _measure_contenders(
    options: argparse.Namespace, found: Results, weights: StarterWeights, prompt_maker: PromptMaker, *, threads: int
) -> None:
    configurations = _configurations(options)
    is_greedy_wanted = any(not configuration.is_sampled for configuration in configurations)
    contenders = _contenders(options.only, weights, prompt_maker, threads=threads, is_greedy_wanted=is_greedy_wanted)
    with rounds.started(contenders, found, starts=1 if options.quick else 3) as running:
        rounds.measure(
            running,
            configurations if "speed" in options.parts else [],
            found,
            rounds=options.rounds,
            prompt_maker=prompt_maker,
            max_tokens=options.tokens,
        )
        for name in ("jeton", "transformers-serve") if "long-prompt" in options.parts else ():
            contender = running.get(name)
            if isinstance(contender, HttpContender):
                _measure_long_prompt(contender, found, prompt_maker, rounds_wanted=options.rounds)


def _configurations(options: argparse.Namespace) -> list[Configuration]:
    matrix = QUICK_MATRIX if options.quick else MATRIX
    return [
        configuration for configuration in matrix if not options.streams or configuration.streams in options.streams
    ]


def _measure_long_prompt(
    contender: HttpContender, found: Results, prompt_maker: PromptMaker, *, rounds_wanted: int
) -> None:
    contender.resume()
    try:
        # A server beside which to compare is measured once.
        times = rounds_wanted if contender.name == "jeton" else 1
        found.long_prompt.append(measure_long_prompt(contender, prompt_maker, rounds=times))
        last = found.long_prompt[-1]
        rounds.say(f"{contender.name}: gaps beside a long prompt {last.beside_p99 / last.quiet_p99:.2f} times as long")
    except ContenderFailed as error:
        rounds.note(found, f"{contender.name}, beside a long prompt: {error}")
    finally:
        contender.pause()


def _measure_equal_texts(found: Results, prompt_maker: PromptMaker, *, texts: int) -> None:
    for index, variant in enumerate(own_variants()):
        # The others are several times slower, and nobody's default.
        count = texts if index == 0 else max(CROWD, texts // 4)
        engine = jeton_engine(variant)
        try:
            engine.start()
            found.equal_texts.append(measure_equal_texts(variant, engine, prompt_maker, texts=count))
            rounds.say(f"{variant}: {found.equal_texts[-1].equal} of {count} texts equal alone and beside others")
        except ContenderFailed as error:
            rounds.note(found, f"{variant}, equal texts: {error}")
        finally:
            engine.stop()


def _suffix(options: argparse.Namespace) -> str:
    """So that a small run does not take the place of a whole one."""
    if options.quick:
        return "-quick"
    is_whole = set(options.only) == set(NAMES) and set(options.parts) == set(PARTS) and not options.streams
    return "" if is_whole and options.tokens == MAX_TOKENS else "-part"


def _write(found: Results, folder: Path, *, suffix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"{found.date}-{machine.slug(found.machine)}{suffix}"
    data, picture = folder / f"{stem}.json", folder / f"{stem}.svg"
    write_results(found, data)
    is_drawn = bool(found.runs)
    if is_drawn:
        subprocess.run([PLOT.python, "-m", "benchmarks.peers.plot", data, picture], cwd=PROJECT_FOLDER, check=True)
    text = report.markdown(found, plot=picture.name if is_drawn else None)
    (folder / f"{stem}.md").write_text(text, "utf-8")
    print(f"\n{text}\nWritten to {folder / stem}.md, .json and .svg")


if __name__ == "__main__":
    raise SystemExit(main())
