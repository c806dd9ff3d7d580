"""Why an engine fails one generation.

    EngineError
    ├── ContextWindowExceeded
    ├── NoFreeSlot
    ├── InvalidPrompt
    └── OutOfMemory

Each becomes a Failed event with its code; the engine and its other generations go on.
"""

from typing import ClassVar


class EngineError(Exception):
    """A generation cannot go on. `code` is what crosses the wire."""

    code: ClassVar[str] = "EngineFailure"


class ContextWindowExceeded(EngineError):
    code = "ContextWindowExceeded"

    def __init__(self, *, prompt_tokens: int, max_tokens: int, context_window: int) -> None:
        super().__init__(
            f"The estimated number of input and maximum output tokens ({prompt_tokens + max_tokens}) exceeded this "
            f"model context window limit ({context_window}). The prompt alone has {prompt_tokens} tokens."
        )


class NoFreeSlot(EngineError):
    code = "EngineFull"


class InvalidPrompt(EngineError):
    code = "InvalidPrompt"


class OutOfMemory(EngineError):
    code = "OutOfMemory"
