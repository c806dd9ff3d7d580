"""What a run of the benchmark found: everything the report is made of, as one JSON file."""

from pathlib import Path

import msgspec

from benchmarks.streams import Figures


class ContenderResult(msgspec.Struct, kw_only=True):
    """`start_seconds` are warm starts; `pss_bytes` the most its processes held at the end of a measurement."""

    name: str
    title: str
    precision: str
    is_http: bool
    start_seconds: list[float] = []
    pss_bytes: int = 0
    # Cores it takes while it has nothing to do.
    idle_cores: float = 0.0


class RunResult(msgspec.Struct, kw_only=True):
    """One contender in one configuration and round. `outside_share`: of all cores, what other programs took."""

    round_number: int
    configuration: str
    contender: str
    figures: Figures | None = None
    outside_share: float = 0.0
    failure: str | None = None


class LongPromptResult(msgspec.Struct, kw_only=True):
    """The 99th percentile of the gaps of some running streams, in seconds: undisturbed, and beside a long prompt."""

    contender: str
    streams: int
    prompt_tokens: int
    quiet_p99: float
    beside_p99: float
    time_to_first_token: float


class QualityResult(msgspec.Struct, kw_only=True):
    """A variant on the fixed text. Divergence in nats per token, from the reference to the variant."""

    variant: str
    precision: str
    tokens: int
    perplexity: float
    top1_bf16: float
    divergence_bf16: float
    top1_fp32: float
    divergence_fp32: float


class EqualTextsResult(msgspec.Struct, kw_only=True):
    """How many of some sampled texts were the same alone and beside others; `equal_again`: beside others and
    dispatched again from their middle on, as after the loss of an engine."""

    variant: str
    precision: str
    texts: int
    equal: int
    equal_again: int | None = None
    beside: int


class Bandwidth(msgspec.Struct, kw_only=True):
    """Bytes a second that all cores together read from memory; the best of several ways to read."""

    bytes_per_second: float
    ways: dict[str, float]


class Results(msgspec.Struct, kw_only=True):
    date: str
    commit: str
    command: str
    machine: dict[str, str]
    versions: dict[str, dict[str, str]] = {}
    contenders: list[ContenderResult] = []
    runs: list[RunResult] = []
    long_prompt: list[LongPromptResult] = []
    quality: list[QualityResult] = []
    equal_texts: list[EqualTextsResult] = []
    bandwidth: Bandwidth | None = None
    # Bytes of weights that one decode step reads, by precision.
    weight_bytes: dict[str, float] = {}
    notes: list[str] = []

    def contender(self, name: str) -> ContenderResult | None:
        return next((contender for contender in self.contenders if contender.name == name), None)


def read(path: Path) -> Results:
    return msgspec.json.decode(path.read_bytes(), type=Results)
