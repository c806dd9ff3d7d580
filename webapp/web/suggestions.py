"""What the playground offers to begin with: example prompts, and presets of its parameters. Knows no page.

In English; pages translate.
"""

from msgspec import Struct


class Example(Struct, frozen=True):
    title: str
    prompt: str


class Preset(Struct, frozen=True, kw_only=True):
    """Texts for the form's fields; fields that are not named stay as they are."""

    title: str
    description: str
    values: dict[str, str]
    # For a preset that sets one: it is in the reader's language, as their prompts will be.
    system: str = ""


EXAMPLES = (
    Example("A short story", "Write a very short story about a coin that could talk."),
    Example("Explain simply", "Explain to a ten-year-old why the sky is blue."),
    Example("Some Python", "Write a Python function that tells whether a word is a palindrome."),
    Example("A plain question", "Where is New York?"),
)

PRESETS = (
    Preset(
        title="Precise",
        description="Always the likeliest token",
        values={"temperature": "0", "top_p": "", "top_k": "", "repetition_penalty": ""},
    ),
    Preset(
        title="Balanced",
        description="As a new page has it",
        values={"temperature": "0.6", "top_p": "", "top_k": "", "repetition_penalty": ""},
    ),
    Preset(
        title="Creative",
        description="Takes unlikely words as well",
        values={"temperature": "1.1", "top_p": "0.95", "top_k": "", "repetition_penalty": "1.05"},
    ),
    Preset(
        title="In one sentence",
        description="Sets the system prompt",
        values={},
        system="Answer in one short sentence.",
    ),
    Preset(
        title="Ship's captain",
        description="Sets the system prompt",
        values={},
        system="You are a good-humoured ship's captain. Answer truthfully, in the words of the sea.",
    ),
)
