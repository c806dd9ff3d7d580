"""What answers look like, as types for `/openapi.json`. Members that are named here are there; none else is."""

from typing import Any

from msgspec import Struct

from webapp.web.api.model_rows import ModelRow


class Exact(Struct, forbid_unknown_fields=True):
    """An object with these members and no others."""


class Usage(Exact):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Result(Exact):
    """`response` is a text, in JSON mode a value."""

    response: Any
    tool_calls: list[dict[str, Any]]
    usage: Usage


class Vectors(Exact):
    shape: list[int]
    data: list[list[float]]
    pooling: str = ""


class Problem(Exact):
    code: int
    message: str


class Envelope(Exact):
    """What Cloudflare wraps every answer in."""

    success: bool
    errors: list[Problem]
    messages: list[str]


class RunAnswer(Envelope, kw_only=True):
    # A Result, or Vectors of a model that makes them.
    result: Any


class RunRefusal(Envelope, kw_only=True):
    """`result` is null where the gate refused, before the request was looked at."""

    result: dict[str, Any] | None


class BindingRefusal(Struct):
    """Of version 3: the error itself. Where the gate refused, and of no version, the envelope."""

    name: str = ""
    internalCode: int = 0
    httpCode: int = 0
    message: str = ""
    description: str = ""
    requestId: str = ""


class PageInfo(Exact):
    count: int
    page: int
    per_page: int
    total_count: int


class ModelsAnswer(Envelope, kw_only=True):
    result: list[ModelRow]
    result_info: PageInfo


class ModelSchemas(Exact):
    input: dict[str, Any]
    output: dict[str, Any]


class SchemaAnswer(Envelope, kw_only=True):
    result: ModelSchemas


class ListAnswer(Envelope, kw_only=True):
    result: list[dict[str, Any]]


class ChatAnswer(Exact):
    id: str
    object: str
    created: int
    model: str
    choices: list[dict[str, Any]]
    usage: Usage


class CompletionAnswer(ChatAnswer):
    pass


class ResponseAnswer(Struct):
    """The response, and what it repeats of its request."""

    id: str
    object: str
    created_at: int
    status: str
    model: str
    output: list[dict[str, Any]]
    usage: dict[str, Any] | None


class EmbeddingUsage(Exact):
    prompt_tokens: int
    total_tokens: int


class Embedding(Exact):
    """`embedding` is numbers, or base64 of 32-bit ones."""

    object: str
    index: int
    embedding: list[float] | str


class EmbeddingAnswer(Exact):
    object: str
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class ModelObject(Struct):
    id: str
    object: str
    created: int
    owned_by: str


class ModelList(Exact):
    object: str
    data: list[ModelObject]


class OpenAIProblem(Exact):
    message: str
    type: str
    param: str | None
    code: str | None


class OpenAIRefusal(Exact):
    error: OpenAIProblem


class Health(Exact):
    status: str


class Readiness(Exact):
    status: str
    reasons: list[str] = []


class PoolReport(Exact):
    """Each of `processes` has a role and a state; engines have more. `devices` are CUDA's, with their memory."""

    epoch: str
    answered_by: int | None
    running: int
    waiting: dict[str, int]
    memory_budget: int | None
    memory_taken: int
    devices: list[dict[str, Any]]
    processes: list[dict[str, Any]]


class SiteError(Exact):
    code: str
    message: str


class SiteProblem(Exact):
    error: SiteError


class PoolProblem(SiteProblem):
    pass


class TokenCountReport(Exact):
    """`prompt_tokens` is null while the model is not loaded; `context_window` is the most it may have."""

    model: str
    prompt_tokens: int | None
    context_window: int


class SharedRunReport(Exact):
    """`texts` are the pieces of the answer, each with its milliseconds since the run was accepted."""

    slug: str
    created_at: str
    expires_at: str | None
    model: str
    served_by: str
    revision: str
    device: str
    precision: str
    messages: list[dict[str, str]]
    parameters: dict[str, Any]
    text: str
    texts: list[tuple[int, str]]
    usage: dict[str, Any]


ANSWERS = (
    Result,
    Vectors,
    RunAnswer,
    RunRefusal,
    BindingRefusal,
    ModelsAnswer,
    SchemaAnswer,
    ListAnswer,
    ChatAnswer,
    CompletionAnswer,
    ResponseAnswer,
    EmbeddingAnswer,
    ModelObject,
    ModelList,
    OpenAIRefusal,
    Health,
    Readiness,
    PoolReport,
    PoolProblem,
    SiteProblem,
    TokenCountReport,
    SharedRunReport,
)
