"""What a process asks of Linux about its relatives: to end with its parent, to inherit orphans."""

import ctypes
import os
import signal

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent ends, however that ends."""
    parent = os.getppid()
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent ended before the kernel was told.
        raise SystemExit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none outlives this process unseen."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
