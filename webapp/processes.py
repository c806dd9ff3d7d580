"""What a process asks of Linux: to end with its parent, to inherit orphans, to open many files."""

import ctypes
import os
import resource
import signal

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


# Set by the supervisor for its services: its own pid.
SUPERVISOR_VARIABLE = "JETON_SUPERVISED"


def end_with_parent() -> None:
    """Have the kernel send this process SIGTERM when its parent ends, however that ends."""
    parent = int(os.environ.get(SUPERVISOR_VARIABLE) or os.getppid())
    _prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        # The parent ended before the kernel was told.
        raise SystemExit(1)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent ends, so that none outlives this process unseen."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def raise_descriptor_limit() -> int:
    """Let this process and its children open as many files as the system allows; how many that is."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, value, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
