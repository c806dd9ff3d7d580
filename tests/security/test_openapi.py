"""The served document, tried by what it says: whatever is sent, answers are as it says, and none is a fault.

Some examples of each operation in the test-suite; `make fuzz` tries 500 (FUZZ_EXAMPLES).
"""

import json
import os

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.schemas import BaseSchema

from tests.harness import SCRIPTED_MODELS, TOKEN, Server
from webapp.catalog import read_catalog
from webapp.web.openapi import document

IS_FUZZING = "FUZZ_EXAMPLES" in os.environ
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "15"))
# Answers at once; the catalogue's others take their time to load, or are refused with 503.
MODEL = "@jeton/scripted"
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
    (run,) = [path for path in served["paths"] if path.endswith("/ai/run/{model}")]
    (model,) = [parameter for parameter in served["paths"][run]["parameters"] if parameter["name"] == "model"]
    model["schema"]["enum"] = [MODEL]
    served["components"]["schemas"]["Form"]["allOf"][0]["properties"]["model"]["enum"] = [MODEL]
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
        case.call_and_validate(base_url=server.url, session=session, timeout=60)

    answers_as_it_says()

    # A web process is known from its first question on; none has gone.
    assert before <= pids(server)


def _make_history(form: dict[str, object]) -> None:
    """Messages of the texts in a form's history: that they are JSON, a schema can say and no generator makes."""
    if "history" in form:
        form["history"] = [json.dumps({"role": "user", "content": text}) for text in form["history"]]
