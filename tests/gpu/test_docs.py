"""What docs/gpu.md says the log says, the engine says."""

import re

from tests.harness import PROJECT_FOLDER

_WAY = "compiled and captured as CUDA graphs"
_PAGE = (PROJECT_FOLDER / "docs" / "gpu.md").read_text("utf-8")


def test_log_lines_of_the_page_are_those_of_the_engine():
    table = _PAGE.split("## What the log says")[1].split("\n## ")[0]
    quoted = re.findall(r"^\| `([^`]+)`", table, re.MULTILINE)
    sources = "".join(path.read_text("utf-8") for path in (PROJECT_FOLDER / "webapp" / "engine").glob("*.py"))

    assert len(quoted) == 5
    for line in quoted:
        # The name of the way is said by another module.
        words, _, way = line.partition(_WAY)
        assert words in sources, line
        assert _WAY in sources or not way, line
