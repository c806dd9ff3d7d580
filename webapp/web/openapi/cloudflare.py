"""Cloudflare's routes in `/openapi.json`: the run route, the Worker binding's, the catalogue."""

from webapp.web.api.workers_ai.model_search import PublicFields, SchemaFields, SearchFields
from webapp.web.hosts import BINDING_PATHS, MODELS_PATH
from webapp.web.openapi.parts import (
    API_TOKEN,
    GENERATING,
    body,
    cloudflare_refusals,
    json_of,
    operation,
    parameter,
    query_parameters,
    stream_of,
)
from webapp.web.openapi.schemas import TEXT, Schema, reference

WORKERS_AI = "Workers AI"
BINDING = "The Worker binding"
CATALOGUE = "The catalogue"
_ACCOUNT = "/client/v4/accounts/{account}/ai"
_IN_ACCOUNT = [parameter("account", TEXT, place="path", description="Any name.")]


def paths() -> Schema:
    """The paths and their operations."""
    return _run_paths() | _binding_paths() | _catalogue_paths()


def _run_paths() -> Schema:
    run = operation(
        "run",
        "Generate text, as Workers AI does; with `stream`, as server-sent events. Or vectors, of a model for these.",
        {200: ("The answer.", json_of("RunAnswer") | stream_of("ApiEvent"))} | cloudflare_refusals(),
        tag=WORKERS_AI,
        headers=("cf-ai-req-id", *GENERATING),
        security=API_TOKEN,
        requestBody=body("RunBody"),
    )
    parameters = [*_IN_ACCOUNT, parameter("model", reference("AnyModel"), place="path")]
    return {f"{_ACCOUNT}/run/{{model}}": {"parameters": parameters, "post": run}}


def _binding_paths() -> Schema:
    posts = {
        path: {"post": _binding_run(f"run{path.title().replace('/', '').replace('-', '')}", [])}
        for path in BINDING_PATHS
        if path != MODELS_PATH
    }
    proxy = {
        "parameters": _IN_ACCOUNT,
        "post": _binding_run("runForwarded", [_forwarded("/run(\\?version=[123])?")]),
        "get": _binding_models("modelsForwarded", [_forwarded(MODELS_PATH)]),
    }
    bare = {MODELS_PATH: {"get": _binding_models("modelsOfBinding", [])}}
    return {f"{_ACCOUNT}/run/proxy": proxy} | posts | bare


def _binding_run(name: str, parameters: list[Schema]) -> Schema:
    model = parameter("cf-consn-model-id", reference("Model"), place="header") | {"required": True}
    version = parameter(
        "version",
        {"enum": ["1", "2", "3"]},
        place="query",
        description="Which wire: 3 is the built-in `env.AI`; 1, as without a version, speaks in tensors.",
    )
    # Of version 3 a refusal is the error itself, of the others a sentence.
    content = {"text/plain": {"schema": TEXT}} | json_of("BindingRefusal")
    refusals = {status: (names, content) for status, (names, _) in cloudflare_refusals().items()}
    answer = {"application/json": {"schema": {"type": "object"}}} | stream_of("ApiEvent")
    return operation(
        name,
        "Run a model, as `env.AI.run` asks it: the bare result, in the shape of the wire's version.",
        {200: ("The bare result.", answer)} | refusals,
        tag=BINDING,
        headers=("cf-ai-req-id", *GENERATING),
        security=API_TOKEN,
        parameters=[*parameters, model, *([] if parameters else [version])],
        requestBody=body("BindingBody"),
    )


def _binding_models(name: str, parameters: list[Schema]) -> Schema:
    return operation(
        name,
        "The catalogue, as `env.AI.models` asks it.",
        {200: ("One page of it.", json_of("ModelsAnswer"))} | cloudflare_refusals(),
        tag=BINDING,
        headers=("cf-ai-req-id",),
        security=API_TOKEN,
        parameters=parameters or query_parameters(SearchFields),
    )


def _forwarded(path: str) -> Schema:
    called = TEXT | {"pattern": f"^https://workers-binding\\.ai{path}$"}
    described = parameter("X-Forwarded", called, place="header", description="The address that the binding has called.")
    return described | {"required": True}


def _catalogue_paths() -> Schema:
    def reads(name: str, summary: str, answer: str, parameters: list[Schema]) -> Schema:
        described = operation(
            name,
            summary,
            {200: ("The result.", json_of(answer))} | cloudflare_refusals(),
            tag=CATALOGUE,
            headers=("cf-ai-req-id",),
            security=API_TOKEN,
            parameters=parameters,
        )
        return {"parameters": _IN_ACCOUNT, "get": described}

    schema_of = [parameter("model", reference("AnyModel"), place="query") | {"required": True}]
    assert [each["name"] for each in query_parameters(SchemaFields)] == ["model"]
    return {
        f"{_ACCOUNT}/models/search": reads(
            "searchModels", "The catalogue, in pages.", "ModelsAnswer", query_parameters(SearchFields)
        ),
        f"{_ACCOUNT}/models/schema": reads(
            "modelSchema", "What a model takes and answers, as JSON schemas.", "SchemaAnswer", schema_of
        ),
        f"{_ACCOUNT}/tasks/search": reads("searchTasks", "The tasks of the catalogue's models.", "ListAnswer", []),
        f"{_ACCOUNT}/authors/search": reads("searchAuthors", "Who has made its models.", "ListAnswer", []),
        f"{_ACCOUNT}/finetunes": reads("finetunes", "Its LoRA adapters.", "ListAnswer", []),
        f"{_ACCOUNT}/finetunes/public": reads(
            "publicFinetunes", "The same, in pieces.", "ListAnswer", query_parameters(PublicFields)
        ),
    }
