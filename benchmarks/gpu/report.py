"""The GPU benchmark's results as Markdown. Words and tables; measures nothing."""

from collections.abc import Iterable
from statistics import median

from benchmarks.gpu.goals import decode_rate, figure_of, goals, share_of_bandwidth, short_loads
from benchmarks.gpu.results import GpuResults, Measured, Profile
from benchmarks.gpu.shape import LLAMA_2_7B
from benchmarks.plan import TEMPERATURE, TOP_K, TOP_P
from benchmarks.report import DOUBTFUL_SHARE, table

_PEERS = ("transformers-serve", "batching-manager", "generate")


def markdown(found: GpuResults) -> str:
    """The whole report, of what is known so far."""
    parts = [
        _head(found),
        _goals(found),
        _bandwidth(found),
        *_loads(found),
        _ratios(found),
        _first_tokens(found),
        _long_prompt(found),
        _ways(found),
        _start_and_memory(found),
        _remarks(found),
        *map(_profile, found.profiles),
        _lines("Left out", found.left_out),
        _lines("Failed", list(map(_short, found.failures))),
        _doubts(found),
        _versions(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _head(found: GpuResults) -> str:
    device, shape = found.device, found.shape
    if device.is_cuda:
        title = f"# GPU benchmark of {found.date}: {device.name}"
        where = (
            f"Device: {device.name}, {device.memory_bytes / 1e9:.0f} GB, {device.multiprocessors} multiprocessors, "
            f"compute capability {device.capability}; driver {found.driver or 'unknown'}, CUDA {device.torch_cuda} "
            f"of torch; the package flash-attn, which the peers take where it is, "
            f"{'installed' if device.has_flash_attention else 'not installed'}."
        )
    else:
        title = f"# A small shape on a processor, {found.date}: nothing here is about a GPU"
        where = "No GPU was here. What follows shows that the benchmark runs; none of its figures says anything else."
    machine = "; ".join(f"{name} {value}" for name, value in found.machine.items())
    positions = (
        f" Positions go up to {shape.positions}, where Llama-2's own end at 4096: 3072 tokens in and 2500 out need "
        "them, and they cost no weight."
        if shape.name == LLAMA_2_7B.name
        else ""
    )
    return (
        f"{title}\n\n{where}\nMachine: {machine}.\n"
        f"Jeton at commit {found.commit}; `{found.command}`; {found.seconds:.0f} s.\n\n"
        f"Model: {shape.title}, {shape.parameters:,} weights, all of them **random** (seeded; a few channels of each "
        f"norm are larger, as in trained models), so the texts are noise and no figure of quality is one of Llama-2. "
        f"The tokenizer is the starter's cut to its first {shape.vocabulary:,} tokens, so that embedding and output "
        f"layer have the size that belongs to the architecture. Nobody has an end token: every text has its full "
        f"length.{positions} fp16 is what the catalogue calls it; the precision that ran stands with each name.\n\n"
        f"Sampled: temperature {TEMPERATURE}, top-p {TOP_P}, top-k {TOP_K}. One contender has the device at a time; "
        "each load is run once to warm up, then in rounds, of which the median is shown. The published limits are run "
        "once, after a short warm-up: a static cache for 64 streams of that length does not fit in any one device, so "
        "many streams run with short texts."
    )


def _goals(found: GpuResults) -> str:
    if not found.device.is_cuda or found.shape.name != LLAMA_2_7B.name:
        return ""
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = [
        [
            goal.what,
            f"{'≤' if goal.is_at_most else '≥'} {goal.wanted:{goal.form}}",
            "–" if goal.found is None else f"{goal.found:{goal.form}}",
            words[goal.is_met],
        ]
        for goal in goals(found)
    ]
    return f"## Goals\n\n{table(['', 'wanted', 'found', ''], rows)}"


def _bandwidth(found: GpuResults) -> str:
    if not found.bandwidth:
        return ""
    rate = found.bandwidth.bytes_per_second
    ways = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in found.bandwidth.ways.items())
    rows: list[list[str]] = []
    for contender in found.contenders:
        share, decoded = share_of_bandwidth(found, contender.name), decode_rate(found, contender.name)
        if share is None or decoded is None:
            continue
        size = found.shape.bytes_read[contender.variant]
        rows.append([_label(contender), f"{size / 1e6:,.0f}", f"{rate / size:.0f}", f"{decoded:.1f}", f"{share:.0%}"])
    head = table(["one stream", "MB read a token", "bound, tokens/s", "found", "share"], rows)
    return (
        f"## Bandwidth\n\nMemory is read at {rate / 1e9:,.0f} GB/s (GB/s: {ways}). A token of one stream reads all "
        f"weights but the embedding, which bounds it. Found are tokens a second after the first."
        f"{f'{chr(10)}{chr(10)}{head}' if rows else ''}"
    )


def _loads(found: GpuResults) -> Iterable[str]:
    is_whole = found.shape.name == LLAMA_2_7B.name
    limits = "Published limits: " if is_whole else "A little of the published limits: "
    for load, is_limit in dict.fromkeys((run.load, run.is_limit) for run in found.runs):
        rows = [row for contender in found.contenders if (row := _load_row(found, contender, load))]
        head = ["", "tokens/s", "rounds", "a stream", "first token", "p95", "gap p50", "p99", "full length"]
        if rows:
            yield f"## {limits if is_limit else ''}{load}\n\n{table(head, rows)}"


def _load_row(found: GpuResults, contender: Measured, load: str) -> list[str] | None:
    runs = [run for run in found.runs if run.contender == contender.name and run.load == load and run.figures]
    if not runs:
        return None
    totals = [run.figures.tokens_per_second for run in runs if run.figures]

    def value(name: str) -> float:
        return figure_of(found, contender.name, load, name) or 0.0

    return [
        _label(contender),
        f"{value('tokens_per_second'):,.1f}",
        f"{min(totals):,.0f}–{max(totals):,.0f}",
        f"{value('tokens_per_second_per_stream'):.1f}",
        _milliseconds(value("time_to_first_token_median")),
        _milliseconds(value("time_to_first_token_p95")),
        _milliseconds(value("inter_token_p50")),
        _milliseconds(value("inter_token_p99")),
        f"{value('complete_share'):.0%}",
    ]


def _ratios(found: GpuResults) -> str:
    """Ours over each peer, in tokens a second of all streams."""
    loads = short_loads(found)
    peers = [name for name in _PEERS if found.contender(name)]
    rows: list[list[str]] = []
    for contender in found.contenders:
        if not contender.is_ours or contender.way:
            continue
        for peer in peers:
            cells = [_ratio(found, contender.name, peer, load) for load in loads]
            if any(cell != "–" for cell in cells):
                rows.append([f"{_label(contender)} over {peer}", *cells])
    return f"## Beside the peers\n\nTokens a second in total.\n\n{table(['', *loads], rows)}" if rows else ""


def _ratio(found: GpuResults, ours: str, peer: str, load: str) -> str:
    one, other = (figure_of(found, name, load, "tokens_per_second") for name in (ours, peer))
    return f"{one / other:.2f} ×" if one and other else "–"


def _first_tokens(found: GpuResults) -> str:
    rows = [
        [
            _label_of(found, first.contender),
            str(first.prompt_tokens),
            _milliseconds(median(first.seconds)),
            _milliseconds(min(first.seconds)),
            _milliseconds(max(first.seconds)),
        ]
        for first in found.first_tokens
    ]
    head = ["", "tokens of the prompt", "median", "least", "most"]
    return f"## First token, while nothing else runs\n\n{table(head, rows)}" if rows else ""


def _long_prompt(found: GpuResults) -> str:
    rows = [
        [
            _label_of(found, one.contender),
            str(one.prompt_tokens),
            _milliseconds(one.quiet_p99),
            _milliseconds(one.beside_p99),
            f"{one.beside_p99 / one.quiet_p99:.2f} ×",
            _milliseconds(one.time_to_first_token),
        ]
        for one in found.long_prompt
    ]
    head = ["", "tokens of the prompt", "p99 gap undisturbed", "p99 gap meanwhile", "ratio", "its first token after"]
    return f"## Beside a long prompt\n\n8 streams run while it comes in.\n\n{table(head, rows)}" if rows else ""


def _ways(found: GpuResults) -> str:
    """Engines alone, side by side: what int8 costs and brings, with graphs and without."""
    loads = short_loads(found)
    engines = [one for one in found.contenders if one.is_ours and not one.is_http]
    if not any(one.way for one in engines) and not found.quality:
        return ""
    qualities = {one.contender: one for one in found.quality}
    rows = []
    for engine in engines:
        quality = qualities.get(engine.name)
        rows.append(
            [
                engine.title.removeprefix("Jeton, engine alone, "),
                *(_number(figure_of(found, engine.name, load, "tokens_per_second")) for load in loads),
                _gigabytes(engine.own_bytes),
                f"{quality.top1:.1%}" if quality else "–",
                f"{quality.divergence:.4f}" if quality else "–",
            ]
        )
    head = table(["", *loads, "GB", "top-1 as fp16", "divergence"], rows)
    tokens = max((one.tokens for one in found.quality), default=0)
    note = (
        f"Quality is on {tokens} tokens of a fixed text, beside fp16 with the same random weights: it ranks the ways, "
        "and says nothing of Llama-2's own loss; divergence is Kullback-Leibler, in nats a token."
        if tokens
        else ""
    )
    return f"## Ways of int8\n\nTokens a second in total, engine alone.\n\n{head}\n\n{note}".rstrip()


def _start_and_memory(found: GpuResults) -> str:
    rows = [
        [
            _label(one),
            f"{one.start_seconds:.1f} s",
            _gigabytes(one.own_bytes),
            _gigabytes(one.device_bytes),
            _gigabytes(one.pss_bytes),
        ]
        for one in found.contenders
    ]
    head = ["", "start until it answers and is quiet", "weights and cache, GB", "of the device, GB", "of the host, GB"]
    return f"## Start and memory\n\n{table(head, rows)}" if rows else ""


def _remarks(found: GpuResults) -> str:
    lines = [f"{one.name}: {remark.strip().splitlines()[0]}" for one in found.contenders for remark in one.remarks]
    return _lines("What the engines said while they loaded", lines)


def _profile(profile: Profile) -> str:
    rows = [
        [f"`{kernel.name.replace('|', '/')}`", f"{kernel.calls:.1f}", f"{kernel.microseconds:.1f}"]
        for kernel in profile.kernels
    ]
    return (
        f"## A decode step of {profile.contender}, streams: {profile.streams}\n\n"
        f"{profile.step_microseconds:.0f} µs by the clock, {profile.device_microseconds:.0f} µs of it in kernels "
        f"(operators on a processor).\n\n{table(['', 'calls', 'µs'], rows)}"
    )


def _lines(title: str, lines: list[str]) -> str:
    return f"## {title}\n\n" + "\n".join(f"- {line}" for line in lines) if lines else ""


def _doubts(found: GpuResults) -> str:
    lines = [
        f"{run.contender}, {run.load}, round {run.round_number + 1}: "
        + (f"failed: {_short(run.failure)}" if run.failure else "")
        + (f"other programs took {run.outside_share:.0%} of the processor" if run.outside_share else "")
        for run in found.runs
        if run.failure or run.outside_share > DOUBTFUL_SHARE
    ]
    return _lines("Doubts", lines)


def _versions(found: GpuResults) -> str:
    return "## Versions\n\n" + ", ".join(f"{name} {version}" for name, version in found.versions.items()) + "."


def _label(contender: Measured) -> str:
    return f"{contender.title} ({contender.precision})"


def _label_of(found: GpuResults, name: str) -> str:
    contender = found.contender(name)
    return _label(contender) if contender else name


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def _gigabytes(size: int | None) -> str:
    return "–" if size is None else f"{size / 1e9:.2f}"


def _short(failure: str) -> str:
    """What happened to whom, and the last thing that it said."""
    first, *others = failure.strip().splitlines()
    return f"{first} {others[-1].strip()}" if others else first


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.1f}"
