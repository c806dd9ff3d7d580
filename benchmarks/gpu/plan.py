"""What is measured, in which order, and how long each piece may take. Knows no processes."""

from dataclasses import dataclass

from benchmarks.gpu.catalogue import PUBLISHED
from benchmarks.gpu.shape import Variant

# In the order of what they tell.
PARTS = ("bandwidth", "engine", "peers", "server", "limits", "generate", "ways")
# On a processor the rest says nothing, and takes as long again.
SMALL_PARTS = PARTS[:-2]
DEFAULT_MINUTES = 9.0
# What is kept for ending the last contender and writing the report.
REPORT_SECONDS = 8.0


@dataclass(frozen=True)
class Load:
    """So many streams at once, each with a prompt of its own of about so many tokens, and so many new ones."""

    streams: int
    prompt_tokens: int
    new_tokens: int

    @property
    def name(self) -> str:
        return f"{self.streams} × {self.prompt_tokens} in, {self.new_tokens} out"


@dataclass(frozen=True)
class Scale:
    """How much of everything: a GPU takes what would keep a processor busy for hours."""

    streams: tuple[int, ...]
    prompt_tokens: int
    new_tokens: int
    rounds: int
    limit_streams: int
    # Of the published limits: all, or next to nothing where the limits are not the point.
    limit_share: float
    # A prompt of so many tokens is sent to an idle server, so often.
    first_prompt_tokens: int
    first_prompts: int
    # What the running streams make undisturbed, and beside a long prompt; 0 leaves that out.
    beside_tokens: int
    # Of the fixed text on which qualities are compared.
    text_tokens: int
    # How long a contender takes to start, before one of its kind has.
    start_seconds: float
    # All of its short loads, and all that is measured of one entry with the published limits.
    load_seconds: float
    limit_seconds: float

    def short_loads(self) -> list[Load]:
        return [Load(streams, self.prompt_tokens, self.new_tokens) for streams in self.streams]

    def limit_load(self, variant: Variant) -> Load:
        """Prompts as long as the context window lets them be with the chat template, answers as long as any."""
        context_window, sequence_length = PUBLISHED[variant]
        prompt_tokens = round((context_window - _TEMPLATE_TOKENS) * self.limit_share)
        return Load(self.limit_streams, prompt_tokens, round(sequence_length * self.limit_share))


# More than the chat template adds.
_TEMPLATE_TOKENS = 32
ON_GPU = Scale(
    streams=(1, 8, 64),
    prompt_tokens=128,
    new_tokens=128,
    rounds=3,
    limit_streams=8,
    limit_share=1.0,
    first_prompt_tokens=492,
    first_prompts=7,
    beside_tokens=384,
    text_tokens=400,
    start_seconds=40.0,
    load_seconds=30.0,
    limit_seconds=50.0,
)
SMALL_SCALE = Scale(
    streams=(1, 4, 8),
    prompt_tokens=24,
    new_tokens=12,
    rounds=1,
    limit_streams=2,
    limit_share=0.03,
    first_prompt_tokens=100,
    first_prompts=2,
    beside_tokens=0,
    text_tokens=32,
    start_seconds=8.0,
    load_seconds=2.0,
    limit_seconds=3.0,
)
