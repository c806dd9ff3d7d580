"""Memory in bytes: as people write it, and how much this machine has. Knows no process and no model."""

import os
import re
from pathlib import Path

_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def parse_memory(text: str) -> int:
    """The bytes that a text such as "800 MB" or "1.2 GB" says. Raises ValueError."""
    found = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?) ?(MB|GB|MiB|GiB)", text, re.ASCII)
    size = round(float(found[1]) * _UNITS[found[2]]) if found else 0
    if size <= 0:
        raise ValueError(f'must be an amount of memory such as "800 MB" or "1.2 GB", not {text!r}')
    return size


def format_memory(size: int) -> str:
    """Bytes as people read them: "800 MB", "1.2 GB"."""
    return f"{size / 10**9:.1f} GB" if size >= 10**9 else f"{size / 10**6:.0f} MB"


def machine_memory(root: Path = Path("/")) -> int:
    """The bytes of memory that this process may use: the machine's, or its control group's where that has less."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits(root)])


def _group_limits(root: Path) -> list[int]:
    """The limits of this process's control group and of all above it (cgroups(7): version 2, and version 1)."""
    limits: list[int] = []
    for line in _read(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            mount, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mount, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = mount / path.lstrip("/")
        # Inside a container the path may be that outside of it; then only the mount itself is there.
        texts = [_read(folder / name).strip() for folder in (group, *group.parents) if folder.is_relative_to(mount)]
        limits += [int(text) for text in texts if text.isdigit()]
    return limits


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except OSError:
        return ""
