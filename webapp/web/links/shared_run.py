"""A run as a shared link keeps it: what was asked, what answered, and each piece of text with its moment.

Made from the pool's own record, never from text that a client sends. Knows no table and no page.
"""

from msgspec import Struct

from webapp.wire.generation import FinishReason, GenerationRequest, Timings, Usage

# A piece of text and the milliseconds from the acceptance to its event.
TimedText = tuple[int, str]


class SharedRun(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One generation that has ended, as it was.

    `model` is the name that was asked for; `request.model` the one that answered. `revision` tells which weights
    these were, as far as their source does.
    """

    model: str
    model_title: str
    serving_title: str
    revision: str
    device: str
    precision: str
    request: GenerationRequest
    texts: tuple[TimedText, ...]
    finish_reason: FinishReason
    usage: Usage
    timings: Timings

    @property
    def text(self) -> str:
        """The whole answer."""
        return "".join(text for _, text in self.texts)

    @property
    def last_prompt(self) -> str:
        """What was answered: the prompt, or in a conversation the last message of its user."""
        if self.request.prompt is not None:
            return self.request.prompt
        said = (message.content for message in reversed(self.request.messages) if message.role == "user")
        return next(said, "")
