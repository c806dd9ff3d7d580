"""What pages weigh as files. What they bring over the network is in tests/browser/test_first_load.py."""

from pathlib import Path

STATIC = Path(__file__).parents[1] / "static"
LARGEST_STYLE_BYTES = 10 * 1024


def test_style_is_at_most_ten_kilobytes() -> None:
    assert (STATIC / "style.css").stat().st_size <= LARGEST_STYLE_BYTES
