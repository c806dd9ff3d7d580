"""The cloudflare package against the run route and the catalogue."""

import json
from contextlib import contextmanager

import cloudflare
from scenarios import CONFIG, read, read_first, run, until_refused

ACCOUNT = "an-account"


def client(token: str = CONFIG["token"]) -> cloudflare.Cloudflare:
    return cloudflare.Cloudflare(
        base_url=f"{CONFIG['url']}/client/v4", api_token=token, max_retries=0, timeout=60, api_email=None, api_key=None
    )


def ask(
    prompt: str = CONFIG["prompt"], *, model: str = CONFIG["model"], token: str = CONFIG["token"], **fields: object
):
    fields = {"temperature": 0, "max_tokens": CONFIG.get("max_tokens", 64)} | fields
    return client(token).ai.run(model, account_id=ACCOUNT, prompt=prompt, extra_body=fields)


def plain() -> dict:
    answer = ask()
    return {"text": answer["response"], "usage": answer["usage"]}


def messages() -> dict:
    asked = [{"role": "user", "content": CONFIG["prompt"]}]
    answer = client().ai.run(CONFIG["model"], account_id=ACCOUNT, messages=asked, temperature=0)
    return {"text": answer["response"]}


@contextmanager
def streamed(prompt: str):
    fields = {"stream": True, "temperature": 0, "max_tokens": CONFIG.get("max_tokens", 64)}
    run_streamed = client().ai.with_streaming_response.run
    with run_streamed(CONFIG["model"], account_id=ACCOUNT, prompt=prompt, extra_body=fields) as response:
        yield response, (line.removeprefix("data: ") for line in response.iter_lines() if line)


def stream() -> dict:
    with streamed(CONFIG["prompt"]) as (response, lines):
        *chunks, last = lines
        seen = read(json.loads(chunk)["response"] for chunk in chunks)
        return seen | {"content_type": response.headers["content-type"], "last": last}


def first_piece() -> dict:
    with streamed(CONFIG["slow_prompt"]) as (_, lines):
        return read_first(json.loads(line)["response"] for line in lines)


def models() -> dict:
    """All pages, until one is empty."""
    page = client().ai.models.list(account_id=ACCOUNT, per_page=2)
    return {"names": [model["name"] if isinstance(model, dict) else model.name for model in page]}


def schema() -> dict:
    answer = client().ai.models.schema.get(account_id=ACCOUNT, model=CONFIG["model"])
    answer = answer if isinstance(answer, dict) else answer.model_dump()
    return {"keys": sorted(answer)}


def tasks() -> dict:
    found = client().ai.tasks.list(account_id=ACCOUNT)
    return {"names": [task["name"] if isinstance(task, dict) else task.name for task in found]}


def tools() -> dict:
    answer = ask(CONFIG["tool_prompt"], tools=[{"name": "weather", "parameters": {"type": "object"}}])
    return {"calls": answer["tool_calls"]}


def embeddings() -> dict:
    answer = client().ai.run(CONFIG["embeddings_model"], account_id=ACCOUNT, text=["one", "two"])
    return {"vectors": answer["data"], "shape": answer["shape"]}


def json_mode() -> dict:
    return {"response": ask(CONFIG["json_prompt"], response_format={"type": "json_object"})["response"]}


run(
    {
        "plain": plain,
        "messages": messages,
        "stream": stream,
        "first_piece": first_piece,
        "models": models,
        "schema": schema,
        "tasks": tasks,
        "tools": tools,
        "json_mode": json_mode,
        "embeddings": embeddings,
        "bad_token": lambda: ask(token="wrong"),
        "bad_field": lambda: ask(temperature=9),
        "unknown_model": lambda: ask(model="@jeton/none"),
        "unknown_route": lambda: client().get("/accounts/an-account/ai/none", cast_to=object),
        "long_prompt": lambda: ask(CONFIG["long_prompt"], model=CONFIG["small_model"], max_tokens=4),
        "too_often": lambda: until_refused(lambda: ask(token=CONFIG["limited_token"])),
    }
)
