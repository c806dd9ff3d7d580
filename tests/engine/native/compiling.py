"""The native decoder compiled for a test, where it does not matter how fast it is."""

from webapp.engine.native import library


def compiled_sooner() -> tuple[str, ...]:
    """The compiler's flags, without its work of making the code fast: half of the time."""
    return tuple("-O0" if flag == "-O3" else flag for flag in library._FLAGS)
