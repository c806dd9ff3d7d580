"""Ratios, verdicts and the Markdown, from figures that are known."""

from pathlib import Path

import msgspec
import pytest

from benchmarks import machine, report, results
from benchmarks.plan import MATRIX, rotated
from benchmarks.reports import write_report, write_results
from benchmarks.results import Bandwidth, ContenderResult, LongPromptResult, Results, RunResult
from benchmarks.streams import Figures
from benchmarks.targets import TARGETS, Target, Verdict, figure_of, ratio_of, verdicts


def some_figures(rate: float, *, p95: float = 1.0) -> Figures:
    return Figures(rate, rate, 0.5, p95, 0.01, 0.02, 1.0, 128, 60.0, 128 / rate)


def run(contender: str, rate: float, *, configuration: str = "sampled/short/1", number: int = 0) -> RunResult:
    return RunResult(round_number=number, configuration=configuration, contender=contender, figures=some_figures(rate))


def some_results(*runs: RunResult) -> Results:
    names = dict.fromkeys(run.contender for run in runs)
    contenders = [
        ContenderResult(name=name, title=name.title(), precision="bf16", is_http=True, start_seconds=[2.0, 1.0, 3.0])
        for name in names
    ]
    machine = {"processor": "A Processor", "cores": "2 physical, 2 logical"}
    return Results(
        date="2026-01-01", commit="abc", command="make bench", machine=machine, contenders=contenders, runs=list(runs)
    )


def test_figure_is_the_median_of_the_rounds() -> None:
    found = some_results(run("jeton", 10.0), run("jeton", 30.0, number=1), run("jeton", 12.0, number=2))

    assert figure_of(found, "jeton", "sampled/short/1", "tokens_per_second") == 12.0
    assert figure_of(found, "jeton", "sampled/short/4", "tokens_per_second") is None


def test_ratio_is_ours_over_the_peers() -> None:
    found = some_results(run("jeton", 30.0), run("transformers-serve", 15.0))

    assert ratio_of(found, Target("transformers-serve", "sampled/short/1", 3.0)) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("ratio", "is_at_most", "is_met"),
    [(3.0, False, True), (2.9, False, False), (3.0, True, True), (3.1, True, False), (None, False, None)],
)
def test_target_is_met_or_not_or_not_measured(ratio: float | None, is_at_most: bool, is_met: bool | None) -> None:
    assert Verdict(Target("peer", "sampled/short/1", 3.0, is_at_most=is_at_most), ratio).is_met is is_met


def test_every_target_names_a_configuration_of_the_matrix() -> None:
    assert {target.configuration for target in TARGETS} <= {configuration.name for configuration in MATRIX}
    assert {target.figure for target in TARGETS} <= set(Figures.__dataclass_fields__)


def test_failed_run_counts_as_not_measured() -> None:
    failed = RunResult(round_number=0, configuration="sampled/short/1", contender="jeton", failure="it ended")
    found = some_results(failed, run("transformers-serve", 15.0))

    assert all(verdict.ratio is None for verdict in verdicts(found))
    assert "failed" in report.markdown(found)


def test_report_says_ratio_verdict_share_and_doubts() -> None:
    found = some_results(run("jeton", 60.0), run("transformers-serve", 15.0))
    found.runs[1].outside_share = 0.4
    found.bandwidth = Bandwidth(bytes_per_second=40e9, ways={"sum": 40e9})
    found.weight_bytes = {"bf16": 200e6}
    found.long_prompt = [
        LongPromptResult(
            contender="jeton", streams=8, prompt_tokens=1900, quiet_p99=0.1, beside_p99=0.4, time_to_first_token=5.0
        )
    ]

    text = report.markdown(found, plot="plot.svg")

    assert (
        "| Transformers-Serve (bf16) | tokens/s in total, sampled, short prompts, 1 stream | ≥ 3 × | 4.00 × | yes |"
        in text
    )
    assert "≤ 3 × | 4.00 × | **no** |" in text
    assert "| Jeton (bf16) | 200 | 200 | 60 | 30% |" in text
    assert "other programs took 40% of the processor" in text
    assert "![" in text and "(plot.svg)" in text


def test_greedy_figures_of_a_peer_with_two_servers_stand_in_one_row() -> None:
    found = some_results(
        run("transformers-serve", 15.0),
        run("transformers-serve-greedy", 17.0, configuration="greedy/short/1"),
    )

    text = report.markdown(found)

    assert "| Transformers-Serve (bf16) | 15 | 17 |" in text


def test_results_are_the_same_after_a_file(tmp_path: Path) -> None:
    found = some_results(run("jeton", 30.0))

    write_results(found, tmp_path / "results.json")

    assert msgspec.to_builtins(results.read(tmp_path / "results.json")) == msgspec.to_builtins(found)


def test_rotation_keeps_the_circle() -> None:
    assert rotated(["a", "b", "c"], by=4) == ["b", "c", "a"]
    assert rotated([], by=2) == []


def test_results_and_report_are_written_beside_each_other(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = some_results(run("jeton", 2.0))

    write_report(found, "# What was found\n", folder=tmp_path / "results", suffix="-part")

    stem = f"{found.date}-{machine.slug(found.machine)}-part"
    assert {path.name for path in (tmp_path / "results").iterdir()} == {f"{stem}.json", f"{stem}.md"}
    assert results.read(tmp_path / "results" / f"{stem}.json") == found
    assert (tmp_path / "results" / f"{stem}.md").read_text("utf-8") == "# What was found\n"
    assert "# What was found" in capsys.readouterr().out
