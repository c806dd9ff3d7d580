"""Why an engine fails one generation.

    EngineError
    ├── ContextWindowExceeded
    ├── NoFreeSlot
    ├── InvalidPrompt
    ├── FeatureUnsupported     this model, or its chat template, cannot do what was asked
    ├── SchemaUnsupported      no answer can be held to this JSON schema
    └── OutOfMemory

Each becomes a Failed event with its code; the engine and its other generations go on. Only DeviceLost ends the engine.
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


class FeatureUnsupported(EngineError):
    code = "FeatureUnsupported"


class SchemaUnsupported(EngineError):
    code = "SchemaUnsupported"


class OutOfMemory(EngineError):
    code = "OutOfMemory"


class DeviceLost(BaseException):
    """The device computes nothing any more for this process. No Exception: whatever tries again would fail again.

    The process ends, and the pool gives what ran on it to the next one.
    """
