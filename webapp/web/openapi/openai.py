"""OpenAI's routes in `/openapi.json`, at both of their addresses."""

from webapp.web.openapi.parts import (
    API_TOKEN,
    GENERATING,
    Answers,
    body,
    cloudflare_refusals,
    json_of,
    openai_refusals,
    operation,
    parameter,
    stream_of,
)
from webapp.web.openapi.schemas import TEXT, Schema, reference

OPENAI = "OpenAI"
# Path, operation, summary, body, answer, event of its stream.
_POSTS = (
    ("chat/completions", "chatCompletions", "Answer a conversation.", "ChatBody", "ChatAnswer", "ChunkEvent"),
    ("completions", "completions", "Go on from a prompt.", "CompletionBody", "CompletionAnswer", "ChunkEvent"),
    ("responses", "responses", "Answer an input.", "ResponseBody", "ResponseAnswer", "ResponseEvent"),
    ("embeddings", "embeddings", "Make vectors of texts.", "EmbeddingBody", "EmbeddingAnswer", None),
)


def paths() -> Schema:
    """The paths and their operations: OpenAI's own, and those on an account, whose errors are in the envelope."""
    in_account = [parameter("account", TEXT, place="path", description="Any name.")]
    return _paths("/v1", "", openai_refusals(), []) | _paths(
        "/client/v4/accounts/{account}/ai/v1", "OnAccount", cloudflare_refusals(), in_account
    )


def _paths(prefix: str, suffix: str, refusals: Answers, parameters: list[Schema]) -> Schema:
    def described(name: str, summary: str, content: Schema, **more: object) -> Schema:
        return operation(
            name + suffix,
            summary,
            {200: ("The answer.", content)} | refusals,
            tag=OPENAI,
            headers=("x-request-id", *GENERATING),
            security=API_TOKEN,
            **more,
        )

    shared = {"parameters": parameters} if parameters else {}
    model = parameter("model", reference("AnyModel"), place="path")
    posts = {
        f"{prefix}/{path}": shared
        | {
            "post": described(
                name, summary, json_of(answer) | (stream_of(event) if event else {}), requestBody=body(asked)
            )
        }
        for path, name, summary, asked, answer, event in _POSTS
    }
    return posts | {
        f"{prefix}/models": shared | {"get": described("listModels", "The catalogue.", json_of("ModelList"))},
        f"{prefix}/models/{{model}}": {
            "parameters": [*parameters, model],
            "get": described("model", "One model of the catalogue.", json_of("ModelObject")),
        },
    }
