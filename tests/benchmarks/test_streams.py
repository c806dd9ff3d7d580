"""What some streams come to: arithmetic on moments that are known."""

import pytest

from benchmarks.streams import StreamResult, figures, percentile


def stream(*times: float, started_at: float = 10.0, tokens: int | None = None) -> StreamResult:
    completion_tokens = len(times) if tokens is None else tokens
    return StreamResult(started_at, list(times), prompt_tokens=30, completion_tokens=completion_tokens)


def test_total_rate_counts_from_the_first_request_to_the_last_text() -> None:
    found = figures([stream(11.0, 12.0), stream(11.0, 14.0)], max_tokens=2)

    assert found.tokens_per_second == pytest.approx(4 / 4.0)
    assert found.seconds == pytest.approx(4.0)
    assert found.complete_share == 1.0


def test_tokens_are_counted_and_not_pieces_of_text() -> None:
    found = figures([stream(11.0, 12.0, tokens=9)], max_tokens=128)

    assert found.completion_tokens == 9
    assert found.tokens_per_second == pytest.approx(9 / 2.0)
    assert found.tokens_per_second_per_stream == pytest.approx(8 / 1.0)
    assert found.complete_share == 0.0


def test_gaps_and_first_tokens_are_those_of_all_streams() -> None:
    found = figures([stream(10.5, 10.6, 10.9), stream(11.5, 11.6, 11.7)], max_tokens=3)

    assert found.time_to_first_token_median == pytest.approx(1.0)
    assert found.time_to_first_token_p95 == pytest.approx(0.5 + 0.95)
    assert found.inter_token_p50 == pytest.approx(0.1)
    assert found.inter_token_p99 == pytest.approx(0.1 + 0.2 * 0.97)


def test_streams_without_any_text_are_an_error_and_not_a_rate() -> None:
    with pytest.raises(ValueError, match="no stream"):
        figures([stream()], max_tokens=3)


@pytest.mark.parametrize(("percent", "wanted"), [(0, 1.0), (50, 2.5), (95, 3.85), (100, 4.0)])
def test_percentile_lies_between_the_two_nearest(percent: float, wanted: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], percent) == pytest.approx(wanted)


def test_percentile_of_one_value_is_that_value() -> None:
    assert percentile([7.0], 99) == 7.0
