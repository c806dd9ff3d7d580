"""The metrics as docs/metrics.md tells of them."""

import re

from tests.harness import PROJECT_FOLDER

_ROW = re.compile(r"^\| (`jeton_.*?) \|(.*?)\|", re.MULTILINE)


def documented_metrics() -> dict[str, set[str]]:
    """The labels of each metric of the document, by its name."""
    document = (PROJECT_FOLDER / "docs" / "metrics.md").read_text("utf-8")
    return {
        name: set(re.findall(r"`(\w+)`", labels))
        for names, labels in _ROW.findall(document)
        for name in re.findall(r"`(\w+)`", names)
    }
