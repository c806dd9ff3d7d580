"""A CUDA device as Jeton plans with it, and such devices stated by hand. Knows no driver and no model."""

import re

from msgspec import Struct

from webapp.memory import parse_memory

# Where models run that run on no CUDA device, and the memory of the machine itself.
CPU = "cpu"


class Device(Struct, frozen=True):
    """`name` is torch's, such as "cuda:0"; `title` the maker's. `used_bytes` were taken already when it was found."""

    name: str
    title: str
    memory_bytes: int
    used_bytes: int = 0


def parse_devices(text: str) -> tuple[Device, ...]:
    """Devices stated by hand: "NVIDIA H200: 141 GB, NVIDIA H200: 141 GB", or "none". Raises ValueError."""
    if text == "none":
        return ()
    return tuple(_parse_device(index, part) for index, part in enumerate(text.split(",")))


def _parse_device(index: int, text: str) -> Device:
    found = re.fullmatch(r"\s*([^:,\s][^:,]*?)\s*:\s*([^:,]+?)\s*", text)
    if not found:
        raise ValueError(f'must be devices such as "NVIDIA H200: 141 GB, NVIDIA H200: 141 GB", or none, not {text!r}')
    try:
        memory_bytes = parse_memory(found[2])
    except ValueError as error:
        raise ValueError(f"has for {found[1]} what {error}") from None
    return Device(f"cuda:{index}", found[1], memory_bytes)
