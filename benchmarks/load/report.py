"""The results of the load benchmark as Markdown. Words and tables; measures nothing."""

from benchmarks.load.comparison import FIGURES, compared
from benchmarks.load.plan import TOKENS_PER_SECOND
from benchmarks.load.results import IdleRun, LoadResults, LoadRun
from benchmarks.load.targets import verdicts
from benchmarks.report import table

TITLES = {"jeton": "**Jeton**", "fastapi": "FastAPI on uvicorn"}
# Past this what other programs took, in cores of the machine's, makes a figure doubtful.
DOUBTFUL_CORES = 0.3
_ROLES = ("web", "pool", "engine", "reader", "background")


def markdown(found: LoadResults) -> str:
    """The whole report."""
    parts = [
        _head(found),
        _targets(found),
        _beside(found),
        _runs(found),
        _idle(found),
        _failures(found),
        _versions(found),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def load_line(run: LoadRun) -> str:
    """One run, as it is printed."""
    start = f"round {run.round_number + 1}  {run.streams:5} streams on {_split(run)}  {run.server:8}"
    if run.failure or run.readings is None:
        return f"{start} FAILED: {run.failure}"
    seen = run.readings
    return (
        f"{start} p50 {_ms(seen.p50)} p99 {_ms(seen.p99)} longest {_ms(seen.longest)} ms, "
        f"{run.events_per_second:.0f} events/s, {_kilobytes(run.bytes_per_stream)} kB a stream, "
        f"cores: {_all_cores(run.cores)}"
    )


def idle_line(run: IdleRun) -> str:
    """Idle connections, as they are printed."""
    start = f"{run.connections} idle connections on {_split(run)}  {run.server:8}"
    if run.failure:
        return f"{start} FAILED: {run.failure}"
    return (
        f"{start} {_kilobytes(run.bytes_per_connection)} kB each, /healthz p50 {_ms(run.health_p50)} "
        f"p99 {_ms(run.health_p99)} ms, cores: {_all_cores(run.cores)}"
    )


def _head(found: LoadResults) -> str:
    machine = "; ".join(f"{name} {value}" for name, value in found.machine.items())
    rounds = max((run.round_number for run in found.runs), default=0) + 1
    return (
        f"# Load benchmark of {found.date}\n\n"
        f"Machine: {machine}.\n"
        f"Jeton at commit {found.commit}; `{found.command}`.\n\n"
        f"Each stream brings {TOKENS_PER_SECOND} tokens a second. A delay is from the moment the scripted engine made "
        f"a token until the reader had it, over {found.seconds:g} seconds; medians of {rounds} interleaved "
        f"round{'s' if rounds != 1 else ''}. Server, engines and reader share the machine's cores; *background* is "
        "what all other programs took of them. [How it is measured](../README.md#load)."
    )


def _targets(found: LoadResults) -> str:
    rows = [
        [
            verdict.what,
            f"< {verdict.wanted:g} {verdict.unit}",
            f"{_number(verdict.found)} {verdict.unit}",
            "yes" if verdict.is_met else "**no**",
        ]
        for verdict in verdicts(found)
    ]
    return f"## Wanted and found\n\n{table(['', 'wanted', 'found', 'met'], rows)}" if rows else ""


def _beside(found: LoadResults) -> str:
    rows = []
    for load, ours, peers in compared(found):
        rows.append([load.name, TITLES["jeton"], *map(_number, ours)])
        rows.append([load.name, TITLES["fastapi"], *map(_number, peers)])
        ratios = [f"{own / other:.2f} ×" if other else "–" for own, other in zip(ours, peers, strict=True)]
        rows.append([load.name, "ratio", *ratios])
    return f"## Beside the peer\n\n{table(['', '', *FIGURES], rows)}" if rows else ""


def _runs(found: LoadResults) -> str:
    rows = [_run_row(run) for run in found.runs]
    head = ["streams", "", "round", "p50", "p90", "p99", "p99.9", "longest", "events/s", "events a read", "kB a stream"]
    note = (
        "Delays in milliseconds, the processor in cores; in brackets the open files of each web process. "
        "†: so much went elsewhere that the figure is doubtful."
    )
    return f"## Every run\n\n{table([*head, *_ROLES], filter(None, rows))}\n\n{note}" if any(rows) else ""


def _run_row(run: LoadRun) -> list[str]:
    seen = run.readings
    if seen is None:
        return []
    return [
        f"{run.streams:,} on {_split(run)}",
        run.server,
        str(run.round_number + 1),
        *(_ms(value) for value in (seen.p50, seen.p90, seen.p99, seen.p999, seen.longest)),
        f"{run.events_per_second:.0f}",
        f"{seen.events / max(1, seen.reads):.2f}",
        _kilobytes(run.bytes_per_stream),
        *(_core(run.cores, role) for role in _ROLES),
    ]


def _idle(found: LoadResults) -> str:
    rows = [
        [
            TITLES[run.server],
            f"{run.connections:,} on {_split(run)}",
            _kilobytes(run.bytes_per_connection),
            str(run.comments),
            *(_ms(value) for value in (run.health_p50, run.health_p99, run.health_longest)),
            *(_core(run.cores, role) for role in _ROLES),
        ]
        for run in found.idle
        if not run.failure
    ]
    head = ["", "connections", "kB each", "keep-alives", "/healthz p50", "p99", "longest"]
    return f"## Idle connections\n\n{table([*head, *_ROLES], rows)}" if rows else ""


def _failures(found: LoadResults) -> str:
    lines = [f"- {run.streams} streams, {run.server}: {run.failure}" for run in found.runs if run.failure]
    lines += [f"- {run.connections} idle, {run.server}: {run.failure}" for run in found.idle if run.failure]
    return "## Failed\n\n" + "\n".join(lines) if lines else ""


def _versions(found: LoadResults) -> str:
    lines = [
        f"- {name}: {', '.join(f'{package} {version}' for package, version in versions.items())}"
        for name, versions in found.versions.items()
    ]
    return "## Versions\n\n" + "\n".join(lines)


def _split(run: LoadRun | IdleRun) -> str:
    """On how many web processes, and how the connections were spread over them."""
    return f"{run.processes} ({' + '.join(map(str, run.split))})" if len(run.split) > 1 else str(run.processes)


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 100 else f"{value:,.0f}"


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f}"


def _kilobytes(size: float) -> str:
    return f"{size / 1000:.1f}"


def _all_cores(cores: dict[str, float]) -> str:
    return ", ".join(f"{role} {cores.get(role, 0.0):.2f}" for role in _ROLES)


def _core(cores: dict[str, float], role: str) -> str:
    value = cores.get(role, 0.0)
    return f"{value:.2f}{' †' if role == 'background' and value > DOUBTFUL_CORES else ''}"
