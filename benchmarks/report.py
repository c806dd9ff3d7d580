"""The results as Markdown: machine, tables, targets. Arithmetic and words; measures nothing."""

from collections.abc import Iterable, Sequence
from statistics import median

from benchmarks.plan import MATRIX, TEMPERATURE, TOP_K, TOP_P
from benchmarks.results import ContenderResult, Results
from benchmarks.targets import LONG_PROMPT_TARGET, Target, Verdict, figure_of, ratio_of, verdicts

# Others that took more of the processor than this make a figure doubtful.
DOUBTFUL_SHARE = 0.15
# One contender under two names: its sampling is fixed at its start.
_SAME = {"transformers-serve-greedy": "transformers-serve"}
_FIGURES = {
    "tokens_per_second": "tokens/s in total",
    "time_to_first_token_p95": "first token, p95",
}


def markdown(results: Results, *, plot: str | None = None) -> str:
    """The whole report. `plot` is the file name of the picture beside it."""
    parts = [
        _head(results),
        f"![Tokens a second and the first token, by streams]({plot})" if plot else "",
        _overview(results),
        _targets(results),
        _horizon(results),
        _long_prompt(results),
        _start_and_memory(results),
        _quality(results),
        _equal_texts(results),
        *(_configuration(results, name) for name in _configurations(results)),
        _doubts(results),
        _versions(results),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column left, the others right."""
    lines = [head, [":--", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _head(results: Results) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in results.machine.items())
    rounds = max((run.round_number for run in results.runs), default=0) + 1
    return (
        f"# Benchmark of {results.date}\n\n"
        f"Machine: {machine}.\n"
        f"Jeton at commit {results.commit}; `{results.command}`.\n\n"
        f"Model: SmolLM2 135M Instruct. 128 new tokens for each stream; sampled means temperature {TEMPERATURE}, "
        f"top-p {TOP_P}, top-k {TOP_K}. Medians of {rounds} interleaved round{'s' if rounds != 1 else ''}; through "
        "HTTP where the contender is a server. The precision of the weights stands with each name."
    )


def _overview(results: Results) -> str:
    names = _configurations(results)
    if not names:
        return ""
    rows = [
        [
            _label(contender),
            *(_cell(_figure(results, contender.name, name, "tokens_per_second"), ".0f") for name in names),
        ]
        for contender in _contenders(results)
    ]
    return f"## Tokens a second, all streams together\n\n{table(['', *map(_words, names)], rows)}"


def _targets(results: Results) -> str:
    rows = [_verdict_row(results, verdict) for verdict in verdicts(results)] if results.runs else []
    for found in results.long_prompt:
        if found.contender == "jeton":
            ratio = found.beside_p99 / found.quiet_p99
            rows.append(
                [
                    "ourselves, undisturbed",
                    f"gaps of {found.streams} streams beside a long prompt, p99",
                    f"≤ {LONG_PROMPT_TARGET:g} ×",
                    f"{ratio:.2f} ×",
                    _yes(ratio <= LONG_PROMPT_TARGET),
                ]
            )
    head = table(["beside", "what", "wanted", "found", "met"], rows)
    return f"## Targets: Jeton's server beside the peers\n\n{head}" if rows else ""


def _verdict_row(results: Results, verdict: Verdict) -> list[str]:
    target = verdict.target
    peer = results.contender(target.peer)
    sign = "≤" if target.is_at_most else "≥"
    return [
        _label(peer) if peer else target.peer,
        f"{_FIGURES[target.figure]}, {_words(target.configuration)}",
        f"{sign} {target.wanted:g} ×",
        _cell(verdict.ratio, ".2f", " ×"),
        _yes(verdict.is_met),
    ]


def _horizon(results: Results) -> str:
    """Llama.cpp's fastest file, and what the memory allows."""
    parts = []
    peer = "llama-batch-q4_0"
    if results.contender(peer):
        rows = [
            [
                _words(name),
                _cell(_figure(results, peer, name, "tokens_per_second"), ".0f"),
                *(_cell(_ratio(results, ours, peer, name), ".2f", " ×") for ours in ("jeton", "engine")),
            ]
            for name in _configurations(results)
        ]
        parts.append(table(["", "llama.cpp Q4_0, tokens/s", "Jeton's server", "engine alone"], rows))
    if results.bandwidth:
        rate = results.bandwidth.bytes_per_second
        ways = ", ".join(f"{name} {value / 1e9:.1f}" for name, value in results.bandwidth.ways.items())
        parts.append(
            f"Memory is read at {rate / 1e9:.1f} GB/s by all cores together (GB/s: {ways}). One stream reads all "
            "weights for each token, so this bounds it; the share is of that bound, at one sampled stream with a "
            "short prompt, the reading of the prompt included."
        )
        rows = [row for contender in _contenders(results) if (row := _share_row(results, contender, rate))]
        parts.append(table(["", "MB read a token", "bound, tokens/s", "found", "share"], rows))
    return "## The horizon\n\n" + "\n\n".join(parts) if parts else ""


def _share_row(results: Results, contender: ContenderResult, rate: float) -> list[str] | None:
    size = results.weight_bytes.get(contender.precision)
    found = _figure(results, contender.name, "sampled/short/1", "tokens_per_second")
    if not size or found is None:
        return None
    bound = rate / size
    return [_label(contender), f"{size / 1e6:.0f}", f"{bound:.0f}", f"{found:.0f}", f"{found / bound:.0%}"]


def _long_prompt(results: Results) -> str:
    if not results.long_prompt:
        return ""
    rows = [
        [
            _title(results, found.contender),
            _milliseconds(found.quiet_p99),
            _milliseconds(found.beside_p99),
            f"{found.beside_p99 / found.quiet_p99:.2f} ×",
            f"{found.time_to_first_token:.2f} s",
        ]
        for found in results.long_prompt
    ]
    one = results.long_prompt[0]
    head = ["", "p99 gap undisturbed", "p99 gap meanwhile", "ratio", "its first token after"]
    return (
        f"## Beside a long prompt\n\n{one.streams} streams run while a prompt of {one.prompt_tokens} tokens comes in: "
        f"the gaps between the pieces of text of those streams while it is read.\n\n{table(head, rows)}"
    )


def _start_and_memory(results: Results) -> str:
    rows = [
        [
            _label(contender),
            _cell(median(contender.start_seconds), ".1f", " s") if contender.start_seconds else "",
            f"{contender.pss_bytes / 1e6:.0f} MB",
            f"{contender.idle_cores:.1%}",
        ]
        for contender in results.contenders
        if contender.name not in _SAME
    ]
    head = ["", "warm start until it answers", "memory, most", "of a core while idle"]
    note = "Memory is the proportional share (PSS) of all its processes after its largest measurement."
    return f"## Start and memory\n\n{table(head, rows)}\n\n{note}" if rows else ""


def _quality(results: Results) -> str:
    if not results.quality:
        return ""
    rows = [
        [
            f"{_short(found.variant)} ({found.precision})" if found.precision != found.variant else found.variant,
            f"{found.perplexity:.2f}",
            f"{found.top1_bf16:.1%}",
            f"{found.divergence_bf16:.4f}",
            f"{found.top1_fp32:.1%}",
            f"{found.divergence_fp32:.4f}",
        ]
        for found in results.quality
    ]
    head = ["", "perplexity", "top-1 as bf16", "divergence from bf16", "top-1 as fp32", "divergence from fp32"]
    return (
        f"## Quality\n\nOn a fixed text of {results.quality[0].tokens} tokens, one decode step for each. fp32 and bf16 "
        "are plain transformers with the starter's weights, which are what its Q4_1 file holds; divergence is "
        f"Kullback-Leibler, in nats a token.\n\n{table(head, rows)}"
    )


def _equal_texts(results: Results) -> str:
    if not results.equal_texts:
        return ""
    rows = [
        [
            f"{_short(found.variant)} ({found.precision})",
            f"{found.equal} of {found.texts}",
            f"{found.equal / found.texts:.0%}",
            "–" if found.equal_again is None else f"{found.equal_again / found.texts:.0%}",
        ]
        for found in results.equal_texts
    ]
    return (
        f"## The same text alone and beside {results.equal_texts[0].beside} others\n\nSampled, 128 tokens, the same "
        f"prompts and seeds; *again*: going on from the middle on another engine, beside as many.\n\n"
        f"{table(['', 'equal', 'share', 'again'], rows)}"
    )


def _configuration(results: Results, name: str) -> str:
    rows = []
    for contender in _contenders(results):
        key = _key(results, contender.name, name)

        def figure(which: str, key: str = key) -> float | None:
            return figure_of(results, key, name, which)

        if figure("tokens_per_second") is None:
            continue
        spread = [
            run.figures.tokens_per_second
            for run in results.runs
            if run.contender == key and run.configuration == name and run.figures
        ]
        rows.append(
            [
                _label(contender),
                _cell(figure("tokens_per_second"), ".1f"),
                f"{min(spread):.0f}–{max(spread):.0f}",
                _cell(figure("tokens_per_second_per_stream"), ".1f"),
                _cell(figure("time_to_first_token_median"), ".2f", " s"),
                _cell(figure("time_to_first_token_p95"), ".2f", " s"),
                _milliseconds(figure("inter_token_p50")),
                _milliseconds(figure("inter_token_p99")),
                _cell(figure("complete_share"), ".0%"),
            ]
        )
    head = ["", "tokens/s", "rounds", "a stream", "first token", "p95", "gap p50", "p99", "full length"]
    return f"## {_words(name).capitalize()}\n\n{table(head, rows)}"


def _doubts(results: Results) -> str:
    doubtful = [run for run in results.runs if run.outside_share > DOUBTFUL_SHARE]
    failed = [run for run in results.runs if run.failure]
    lines = [f"- {note.splitlines()[0]}" for note in results.notes]
    lines += [f"- {run.contender}, {_words(run.configuration)}, round {run.round_number + 1}: failed" for run in failed]
    lines += [
        f"- {run.contender}, {_words(run.configuration)}, round {run.round_number + 1}: other programs took "
        f"{run.outside_share:.0%} of the processor"
        for run in doubtful
    ]
    return "## Doubts\n\n" + "\n".join(lines) if lines else ""


def _versions(results: Results) -> str:
    rows = [
        [name, ", ".join(f"{package} {of}" for package, of in found.items())]
        for name, found in results.versions.items()
    ]
    return f"## Versions\n\n{table(['environment', 'packages'], rows)}" if rows else ""


# --- words and cells ---


def _configurations(results: Results) -> list[str]:
    """Those that were measured, in the order of the plan."""
    measured = {run.configuration for run in results.runs}
    planned = [configuration.name for configuration in MATRIX]
    return [*(name for name in planned if name in measured), *sorted(measured - set(planned))]


def _contenders(results: Results) -> list[ContenderResult]:
    return [contender for contender in results.contenders if contender.name not in _SAME]


def _key(results: Results, contender: str, configuration: str) -> str:
    """The name under which a contender ran in this configuration."""
    others = [other for other, same in _SAME.items() if same == contender]
    if figure_of(results, contender, configuration, "seconds") is None:
        return next((other for other in others if figure_of(results, other, configuration, "seconds")), contender)
    return contender


def _figure(results: Results, contender: str, configuration: str, figure: str) -> float | None:
    return figure_of(results, _key(results, contender, configuration), configuration, figure)


def _ratio(results: Results, ours: str, peer: str, configuration: str) -> float | None:
    return ratio_of(results, Target(peer, configuration, 1.0, ours=ours))


def _label(contender: ContenderResult) -> str:
    return (
        f"{contender.title} ({contender.precision})" if contender.precision not in contender.title else contender.title
    )


def _title(results: Results, name: str) -> str:
    found = results.contender(name)
    return _label(found) if found else name


def _words(configuration: str) -> str:
    sampling, length, streams = configuration.split("/")
    return f"{sampling}, {length} prompts, {streams} stream{'s' if streams != '1' else ''}"


def _short(variant: str) -> str:
    return variant.rsplit("/", 1)[-1]


def _cell(value: float | None, form: str, unit: str = "") -> str:
    return f"{value:{form}}{unit}" if value is not None else "–"


def _milliseconds(seconds: float | None) -> str:
    return _cell(seconds * 1000 if seconds is not None else None, ".0f", " ms")


def _yes(is_met: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "not measured"}[is_met]
