"""/metrics and the log over a real server: what is counted, who may see it, and that the documents know every name."""

import json
import re
from collections.abc import Iterator

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.harness import TOKEN, Server, make_server
from tests.metrics_document import documented_metrics

MODEL = "@jeton/scripted"
OPERATOR_TOKEN = "an-operator-token"
BEHIND_A_PROXY = {"X-Forwarded-For": "203.0.113.9"}


def samples(server: Server) -> dict[str, float]:
    """The samples of the scripted model and those without a model, by name and what else tells them apart."""
    answer = server.client.get("/metrics")
    assert answer.status_code == 200, answer.text
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(answer.text):
        for sample in family.samples:
            if sample.labels.get("model", MODEL) == MODEL:
                rest = [value for label, value in sorted(sample.labels.items()) if label not in ("model", "post")]
                found[" ".join([sample.name, *rest])] = sample.value
    return found


def test_generation_is_counted_from_its_acceptance_to_its_end(server: Server):
    server.wait_until_ready()
    before = samples(server)

    answer = server.run(MODEL, prompt='{"tokens": 20, "step_seconds": 0.002}')

    assert answer.status_code == 200
    after = samples(server)
    risen = {name: after[name] - before.get(name, 0.0) for name in after}
    assert risen["jeton_generations_accepted_total"] == 1
    assert risen["jeton_generations_ended_total stop"] == 1
    assert risen["jeton_completion_tokens_total"] == 20
    assert risen["jeton_prompt_tokens_total"] == answer.json()["result"]["usage"]["prompt_tokens"]
    assert risen["jeton_queue_time_seconds_count"] == risen["jeton_time_to_first_token_seconds_count"] == 1
    assert risen["jeton_inter_token_latency_seconds_bucket +Inf"] == 19
    assert risen["jeton_inter_token_latency_seconds_sum"] > 0


def test_engine_journal_and_processes_are_shown_as_they_are(server: Server):
    server.wait_until_ready()

    seen = samples(server)

    assert seen["jeton_engine_loaded_ratio"] == 1
    assert seen["jeton_engine_slots"] == 16
    assert seen["jeton_engine_state idle"] + seen["jeton_engine_state busy"] == 1
    assert seen["jeton_journal_bytes"] > 0
    assert seen["jeton_journal_failing"] == 0
    # One that has had no request yet has not spoken to the pool.
    assert seen["jeton_web_processes"] >= 1
    assert seen["jeton_pool_process_start_time_seconds"] > 0


def test_every_metric_is_documented_and_every_documented_one_exists(server: Server):
    text = server.client.get("/metrics").text
    families = set(re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))

    assert set(documented_metrics()) == families


def test_labels_are_those_of_the_document(server: Server):
    documented = documented_metrics()
    server.run(MODEL, prompt='{"fail_at": 1}')
    server.run(MODEL, prompt="Hi", max_tokens=1)

    for family in text_string_to_metric_families(server.client.get("/metrics").text):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        for sample in family.samples:
            assert set(sample.labels) - {"le"} == documented[name]


# --- who may see it, and the log ---


def bearer(token: str) -> dict[str, str]:
    return BEHIND_A_PROXY | {"Authorization": f"Bearer {token}"}


@pytest.fixture(scope="module")
def operated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that knows an operator, and logs all it can as JSON."""
    settings = {"JETON_OPERATOR_TOKEN": OPERATOR_TOKEN, "JETON_LOG_FORMAT": "json", "JETON_LOG_LEVEL": "debug"}
    server = make_server(tmp_path_factory.mktemp("operated"), **settings)
    server.start()
    yield server
    server.stop()


def test_metrics_are_for_this_machine_and_for_operators(operated: Server):
    here = operated.client.get("/metrics")
    stranger = operated.client.get("/metrics", headers=BEHIND_A_PROXY)
    user = operated.client.get("/metrics", headers=bearer(TOKEN))
    operator = operated.client.get("/metrics", headers=bearer(OPERATOR_TOKEN))

    assert [answer.status_code for answer in (here, stranger, user, operator)] == [200, 401, 403, 200]
    assert stranger.headers["WWW-Authenticate"] == "Bearer"
    for refused in (stranger, user):
        assert "operator" in refused.text and "jeton_" not in refused.text
    assert operator.headers["Content-Type"].startswith("text/plain; version=")
    assert operator.headers["Cache-Control"] == "no-store"


def test_every_line_of_the_log_is_json_and_the_end_of_a_generation_has_its_figures(operated: Server):
    secret = "words that nobody logs"
    assert operated.run(MODEL, prompt=json.dumps({"pieces": [secret, "!"]})).status_code == 200

    # What a start tells its user ends with a hint, and is no log.
    lines = operated.output.partition("Ctrl+C stops it.\n\n")[2].splitlines()
    entries = [json.loads(line) for line in lines]
    (end,) = [entry for entry in entries if entry["message"] == "generation ended"]
    assert {"time", "level", "process", "logger", "generation_id", "queue_time", "decode_time"} <= set(end)
    assert (end["model"], end["finish_reason"], end["completion_tokens"]) == (MODEL, "stop", 2)
    # At this level gunicorn says something of each connection.
    assert "gunicorn.error" in {entry["logger"] for entry in entries}
    assert secret not in operated.output
