"""Embeddings over HTTP with real processes: whole when an engine is killed, and clean in the journal."""

import json
import os
import signal
import threading
from pathlib import Path

import httpx
import pytest

from tests.harness import TOKEN, Server, wait_until
from webapp.catalog import read_catalog
from webapp.engine.scripted_embeddings import scripted_vector

SCRIPTED = "@jeton/scripted-embeddings"
MINILM = "@hf/sentence-transformers/all-minilm-l6-v2"
IS_MINILM_INSTALLED = read_catalog(Path("models.toml")).find(MINILM).is_installed


def embed(server: Server, texts: list[str], *, model: str = SCRIPTED) -> httpx.Response:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return server.client.post("/v1/embeddings", headers=headers, json={"model": model, "input": texts})


def vectors(response: httpx.Response) -> list[list[float]]:
    assert response.status_code == 200, response.text
    return [one["embedding"] for one in response.json()["data"]]


def expected(texts: list[str]) -> list[list[float]]:
    return [pytest.approx(scripted_vector(text), abs=1e-6) for text in texts]


def test_a_long_list_is_whole_and_in_order(server: Server) -> None:
    texts = [f"text {at} {'word ' * (at % 30)}" for at in range(2048)]

    assert vectors(embed(server, texts)) == expected(texts)


def test_an_engine_that_is_killed_in_the_middle_leaves_the_answer_whole(server: Server) -> None:
    # Each takes a moment, so that most of the list is left when the engine goes.
    texts = [f"{json.dumps({'step_seconds': 0.2})}{' ' * at}" for at in range(1, 60)]
    restarts = 0 if server.engine_state(SCRIPTED) is None else server.engine(SCRIPTED)["restarts"]
    answers: list[httpx.Response] = []
    asking = threading.Thread(target=lambda: answers.append(embed(server, texts)))

    asking.start()
    wait_until(lambda: server.engine_state(SCRIPTED) == "busy", 20)
    os.kill(server.engine(SCRIPTED)["pid"], signal.SIGKILL)
    asking.join(60)

    assert vectors(answers[0]) == expected(texts)
    assert server.engine(SCRIPTED)["restarts"] == restarts + 1


def test_the_audit_and_the_probe_know_embeddings(server: Server) -> None:
    assert len(vectors(embed(server, ["one", "two"]))) == 2

    audit = server.audit()
    readiness = server.readiness()

    assert audit.returncode == 0, audit.stdout
    assert readiness.status_code == 200


@pytest.mark.skipif(not IS_MINILM_INSTALLED, reason="MiniLM is not installed")
def test_the_shipped_model_answers(real_server: Server) -> None:
    cat, kitten, stocks = vectors(
        embed(real_server, ["A cat sleeps.", "A kitten is napping.", "Stocks fell sharply today."], model=MINILM)
    )

    def likeness(one: list[float], other: list[float]) -> float:
        return sum(a * b for a, b in zip(one, other, strict=True))

    assert likeness(cat, cat) == pytest.approx(1.0, abs=1e-4)
    assert likeness(cat, kitten) > likeness(cat, stocks) + 0.2
