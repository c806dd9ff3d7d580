"""Amounts of memory: as people write them, and what this machine has."""

import os
from pathlib import Path

import pytest

from webapp.memory import format_memory, machine_memory, parse_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.parametrize(
    ("text", "size"),
    [("800 MB", 800 * 10**6), ("1.2 GB", 12 * 10**8), ("2GB", 2 * 10**9), ("1 GiB", 2**30), ("512MiB", 2**29)],
)
def test_amount_is_read_as_it_is_written(text: str, size: int) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["", "5", "0 GB", "-1 GB", "1,2 GB", "1 gb", "1 TB", "1  GB", "GB", "1 GB\n", "1e3 MB", "٣ GB"]
)
def test_amount_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="amount of memory"):
        parse_memory(text)


@pytest.mark.parametrize(("size", "text"), [(800 * 10**6, "800 MB"), (12 * 10**8, "1.2 GB"), (10**9, "1.0 GB")])
def test_amount_is_written_as_people_read_it(size: int, text: str) -> None:
    assert format_memory(size) == text


def group(root: Path, lines: str, **limits: str) -> Path:
    """A file system whose process belongs to these control groups; limits by path."""
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text(lines)
    for path, limit in limits.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(limit + "\n")
    return root


@pytest.mark.parametrize(
    ("lines", "limits", "size"),
    [
        ("0::/\n", {"sys/fs/cgroup/memory.max": "1000"}, 1000),
        ("0::/a/b\n", {"sys/fs/cgroup/a/b/memory.max": "max", "sys/fs/cgroup/a/memory.max": "500"}, 500),
        ("0::/not/here\n", {"sys/fs/cgroup/memory.max": "700"}, 700),
        ("4:cpu,memory:/a\n0::/\n", {"sys/fs/cgroup/memory/a/memory.limit_in_bytes": "300"}, 300),
        ("4:memory:/\n", {"sys/fs/cgroup/memory/memory.limit_in_bytes": str(2**63 - 4096)}, MACHINE),
        ("0::/\n", {"sys/fs/cgroup/memory.max": "max"}, MACHINE),
        ("0::/\n", {}, MACHINE),
    ],
    ids=range(7),
)
def test_memory_of_the_machine_is_that_of_the_control_group_where_it_has_less(
    tmp_path: Path, lines: str, limits: dict[str, str], size: int
) -> None:
    assert machine_memory(group(tmp_path, lines, **limits)) == size


def test_machine_without_control_groups_has_all_its_memory(tmp_path: Path) -> None:
    assert machine_memory(tmp_path) == MACHINE
