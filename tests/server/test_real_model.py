"""The published curl command and its kin, over the shipped catalogue and the real starter model."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import threading

import pytest

from tests.harness import TOKEN, Server, text_of, wait_until

INT8 = "@cf/meta/llama-2-7b-chat-int8"
STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
STARTER_INT8 = "@hf/huggingfacetb/smollm2-135m-instruct-int8"


def test_published_curl_streams_as_published(real_server: Server):
    curl = shutil.which("curl")
    assert curl, "curl is needed for this test"
    # As published, but for the address.
    published = [
        curl,
        "-X",
        "POST",
        f"{real_server.url}/client/v4/accounts/acc/ai/run/{INT8}",
        "-H",
        f"Authorization: Bearer {TOKEN}",
        "-H",
        "Content-Type:application/json",
        "-d",
        '{ "prompt": "where is new york?", "stream": true }',
    ]

    output = subprocess.run([*published, "-s", "-N"], capture_output=True, timeout=120, check=True).stdout.decode()

    blocks = output.removesuffix("\n\n").split("\n\n")
    assert blocks[-1] == "data: [DONE]"
    chunks = [json.loads(block.removeprefix("data: ")) for block in blocks[:-1]]
    # The published command gives no seed, so what the model says is not the same each time.
    assert len(chunks) > 2
    assert "".join(chunk["response"] for chunk in chunks).strip()


def test_streamed_text_equals_the_plain_answer_at_temperature_0(real_server: Server):
    body = {"prompt": "Name three colours.", "temperature": 0, "max_tokens": 40}

    plain = real_server.run(INT8, **body).json()["result"]
    with real_server.streaming(INT8, **body) as stream:
        taken = list(stream)

    assert taken[-1].data == "[DONE]"
    assert "".join(event.json["response"] for event in taken[:-1]) == plain["response"] != ""
    assert taken[-2].json["usage"] == plain["usage"]
    assert real_server.run(INT8, **body).headers["x-jeton-served-by"] == STARTER


def test_chunks_arrive_one_by_one(real_server: Server):
    with real_server.streaming(INT8, prompt="Tell a story.", seed=1, max_tokens=60) as stream:
        moments = [event.at for event in stream]

    # Not in one piece at the end, however fast the machine is: what comes together is read within a millisecond.
    arrivals = 1 + sum(later - earlier > 0.001 for earlier, later in itertools.pairwise(moments))
    assert arrivals >= 4
    assert moments[-1] - moments[0] > 0.01


def test_sixteen_streams_progress_together_and_an_abort_disturbs_none(real_server: Server):
    ends: dict[int, tuple[float, float, str]] = {}

    def read(number: int) -> None:
        with real_server.streaming(STARTER, prompt="Tell a long story.", seed=number + 1, max_tokens=40) as stream:
            if number == 3:
                next(stream)
                return
            taken = list(stream)
        ends[number] = (taken[0].at, taken[-1].at, taken[-1].data)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(ends) == 15
    assert {data for _, _, data in ends.values()} == {"[DONE]"}
    assert max(first for first, _, _ in ends.values()) < min(last for _, last, _ in ends.values())


def test_prompt_over_the_context_window_is_refused_by_the_models_own_tokens(real_server: Server):
    answer = real_server.run(INT8, prompt="one two three four " * 600, max_tokens=5)

    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (413, 5021)
    assert "context window limit (2048)" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("prompt", ["नमस्ते", "👩‍👩‍👧‍👦 🪙", "\u0000", " ", "\u2028", "مرحبا"])
def test_prompts_of_every_script_are_answered(real_server: Server, prompt: str):
    assert real_server.run(STARTER, prompt=prompt, max_tokens=4).status_code == 200


def test_prompt_with_half_a_surrogate_pair_is_bad_input(real_server: Server):
    headers = {"Authorization": f"Bearer {TOKEN}"}

    answer = real_server.client.post(
        f"/client/v4/accounts/acc/ai/run/{STARTER}", headers=headers, content=b'{"prompt":"\\ud800","max_tokens":2}'
    )

    assert answer.status_code in (200, 400), answer.text
    assert real_server.run(STARTER, prompt="hi", max_tokens=2).status_code == 200


def test_raw_prompts_and_conversations_are_answered(real_server: Server):
    raw = real_server.run(STARTER, prompt="The capital of France is", raw=True, temperature=0, max_tokens=4)
    messages = [
        {"role": "system", "content": "You answer briefly."},
        {"role": "user", "content": "What is the capital of France?"},
        {"role": "assistant", "content": "Paris."},
        {"role": "user", "content": [{"type": "text", "text": "And of Italy?"}]},
    ]
    chat = real_server.run(STARTER, messages=messages, temperature=0, max_tokens=20)

    assert "Paris" in raw.json()["result"]["response"]
    assert "Rome" in chat.json()["result"]["response"]


def test_int8_variant_loads_at_its_first_use_streams_and_unloads_when_idle(real_server: Server):
    reader = real_server.reader()
    assert real_server.engine_state(STARTER_INT8) in (None, "cold")

    url = reader.submit(model=STARTER_INT8, prompt="Where is New York?", max_tokens="12", temperature="0")
    with reader.attached(url) as stream:
        taken = list(stream)

    phases = [event.json["phase"] for event in taken if event.name == "status"]
    assert phases[0] == "loading"
    assert phases[-1] == "reading"
    started = next(event.json for event in taken if event.name == "status" and event.json["phase"] == "reading")
    assert started["precision"] == "int8"
    assert taken[-1].data == "[DONE]"
    assert text_of(taken).strip()

    wait_until(lambda: real_server.engine_state(STARTER_INT8) == "cold", 30, lambda: real_server.output)
    assert real_server.engine_state(STARTER) in ("idle", "busy")
    assert real_server.readiness().status_code == 200


def test_counted_tokens_are_those_of_the_prompt_that_is_read(real_server: Server):
    reader = real_server.reader()
    form = {
        "system": "Réponds en français.",
        "prompt": "Où est New York ? 🗽",
        "history": [
            '{"role": "user", "content": "Hello"}',
            '{"role": "assistant", "content": "Hi. What can I do?"}',
        ],
    }
    count = {"model": STARTER, "csrf_token": reader.csrf_token} | form

    counted = reader.client.post("/tokens", data=count).json()
    url = reader.submit(model=STARTER, max_tokens="1", **form)
    with reader.attached(url) as stream:
        usage = next(event for event in stream if event.name == "usage").json

    assert counted["prompt_tokens"] == usage["prompt_tokens"] > 20
    assert counted["context_window"] == 4096


def test_state_shows_what_runs_where(real_server: Server):
    engine = real_server.engine(STARTER)

    assert engine["state"] in ("idle", "busy")
    assert engine["device"] == "cpu" or engine["device"].startswith("cuda")
    assert engine["precision"] == "int4"
    assert engine["memory_bytes"] > 100_000_000


def test_an_engine_killed_in_the_middle_changes_no_word(real_server: Server):
    body = {"prompt": "Tell me a long story about a river.", "seed": 11, "temperature": 0.8, "max_tokens": 250}
    with real_server.streaming(STARTER, **body) as stream:
        undisturbed = "".join(event.json["response"] for event in stream if event.data != "[DONE]")

    with real_server.streaming(STARTER, **body) as stream:
        events = iter(stream)
        taken = [next(events) for _ in range(20)]
        engine = real_server.engine(STARTER)
        os.kill(engine["pid"], signal.SIGKILL)
        taken += events

    assert engine["state"] == "busy"
    assert taken[-1].data == "[DONE]"
    assert "".join(event.json["response"] for event in taken[:-1]) == undisturbed
