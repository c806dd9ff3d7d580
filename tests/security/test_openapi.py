"""The served document, tried by what it says: whatever is sent, answers are as it says, and none is a fault.

Some examples of each operation in the test-suite; `make fuzz` tries 500 (FUZZ_EXAMPLES).
"""

import json
import os
import re
from pathlib import Path

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance

from tests.harness import SCRIPTED_MODELS, TOKEN, Server
from webapp.catalog import read_catalog
from webapp.web.create_app import create_app
from webapp.web.openapi.document import document

IS_FUZZING = "FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "10"))
# Answers at once; the catalogue's others take their time to load, or are refused with 503.
MODEL = "@jeton/scripted"
# Fields whose use has rules that are not of one field alone.
RULED = (
    "response_format",
    "tools",
    "tool_choice",
    "n",
    "best_of",
    "echo",
    "top_logprobs",
    "modalities",
    "dimensions",
)
OPERATIONS = [
    (path, method)
    for path, item in document(read_catalog(SCRIPTED_MODELS))["paths"].items()
    for method in item
    if method != "parameters"
]


@pytest.fixture(scope="module")
def schema(server: Server) -> BaseSchema:
    """The document as it is served, with one model."""
    served = server.client.get("/openapi.json").json()
    schemas = served["components"]["schemas"]
    schemas["Model"]["enum"] = schemas["AnyModel"]["enum"] = [MODEL]
    # What is for models that make vectors is refused by one that makes text.
    schemas["RunBody"] = schemas["RunBody"]["anyOf"][0]
    loaded = schemathesis.openapi.from_dict(served)
    loaded.config.generation.update(with_security_parameters=False)
    return loaded


@pytest.fixture(scope="module")
def session(server: Server) -> requests.Session:
    """Has a cookie, its CSRF token and an API token."""
    reader = server.reader()
    made = requests.Session()
    made.cookies.update(dict(reader.client.cookies))
    made.headers.update({"X-CSRFToken": reader.csrf_token, "Authorization": f"Bearer {TOKEN}"})
    return made


@pytest.fixture(scope="module")
def generation_id(server: Server, session: requests.Session) -> str:
    """A generation of this session that has ended."""
    form = {"model": MODEL, "prompt": '{"tokens": 3}'}
    turn = session.post(f"{server.url}/generations", data=form, headers={"HX-Request": "true"}).text
    return turn.split('src="/generations/')[1].split("/")[0]


def pids(server: Server) -> set[tuple[str, int]]:
    return {(process["role"], process["pid"]) for process in server.state()["processes"]}


@pytest.mark.parametrize(("path", "method"), OPERATIONS, ids=lambda value: value)
def test_whatever_is_sent_the_answer_is_as_the_document_says(
    server: Server, schema: BaseSchema, session: requests.Session, generation_id: str, path: str, method: str
) -> None:
    operation = schema[path][method]
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    before = pids(server)

    @given(case=right | wrong, is_known=st.booleans())
    @settings(
        max_examples=EXAMPLES,
        # The test-suite tries the same ones each time; the search for others is `make fuzz`.
        derandomize=not IS_FUZZING,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    def answers_as_it_says(case: Case, *, is_known: bool) -> None:
        if is_known and "generation_id" in case.path_parameters:
            case.path_parameters["generation_id"] = generation_id
        if isinstance(case.body, dict) and case.meta.generation.mode == GenerationMode.POSITIVE:
            _make_history(case.body)
        answer = case.call(base_url=server.url, session=session, timeout=60)
        excluded = [positive_data_acceptance] if _may_break_a_rule(case, answer.status_code) else []
        if answer.status_code == 414:
            # How long an address is no schema says, and schemathesis counts that status as no refusal.
            excluded = [positive_data_acceptance, negative_data_rejection]
        case.validate_response(answer, excluded_checks=excluded)

    answers_as_it_says()

    # A web process is known from its first question on; none has gone.
    assert before <= pids(server)


def test_every_route_of_the_app_is_in_the_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JETON_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("JETON_MODELS_FILE", str(SCRIPTED_MODELS))
    app = create_app()

    routes = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule), method.lower())
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }

    assert set(OPERATIONS) <= routes
    # What these answer is a refusal, whatever they are asked.
    assert routes - set(OPERATIONS) == {("/run", "get"), ("/ai-gateway/run", "get")}


def _may_break_a_rule(case: Case, status: int) -> bool:
    """Whether a refusal may be for what no schema says: one field beside another, a schema inside a field."""
    if status == 400 and case.path == "/worker-endpoint":
        # How many tokens a model makes differs from one to the other, and without a name it is the published one.
        return bool(case.query and case.query.get("max_tokens"))
    if status not in (400, 405, 413) or not isinstance(case.body, dict):
        return False
    if case.body.get("lifetime_days") == "never":
        # A setting allows it.
        return status == 400
    is_free = case.path.endswith("/responses") or case.operation.definition.raw["tags"] == ["The Worker binding"]
    return is_free or any(case.body.get(name) is not None for name in RULED)


def _make_history(form: dict[str, object]) -> None:
    """Messages of the texts in a form's history: that they are JSON, a schema can say and no generator makes."""
    if "history" in form:
        form["history"] = [json.dumps({"role": "user", "content": text}) for text in form["history"]]
