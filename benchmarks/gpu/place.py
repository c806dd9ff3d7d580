"""The one device on which every contender runs, one at a time, and how much of its memory is taken."""

import os
import subprocess
from dataclasses import dataclass


@dataclass(frozen=True)
class Place:
    """`visible` is the device as CUDA_VISIBLE_DEVICES names it: then it is the only one, cuda:0. Empty: no device."""

    visible: str
    uuid: str = ""

    @property
    def is_cuda(self) -> bool:
        return bool(self.visible)

    @property
    def device(self) -> str:
        return "cuda:0" if self.is_cuda else "cpu"

    @property
    def environ(self) -> dict[str, str]:
        """What makes a process run there, and nowhere else."""
        # Everybody has to count devices alike, and Jeton counts them so.
        order = os.environ.get("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
        return {"CUDA_VISIBLE_DEVICES": self.visible, "CUDA_DEVICE_ORDER": order, "JETON_DEVICE": self.device}

    def used_bytes(self) -> int | None:
        """Memory of the device that programs have taken; None where nothing says it."""
        used = self._ask("memory.used") if self.is_cuda else None
        return int(used) * 2**20 if used and used.isdigit() else None

    def driver(self) -> str | None:
        return self._ask("driver_version") if self.is_cuda else None

    def _ask(self, what: str) -> str | None:
        # As torch says it, without the word that the driver's tools put before it.
        name = f"GPU-{self.uuid.removeprefix('GPU-')}" if self.uuid else self.visible
        command = ["nvidia-smi", f"--id={name}", f"--query-gpu={what}", "--format=csv,noheader,nounits"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()


def first_visible() -> str:
    """The first device that this process may use, as CUDA_VISIBLE_DEVICES names it; whether there is one or not."""
    return os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
