"""litellm with its providers cloudflare/ (an account's /ai/v1) and openai/ (/v1)."""

import os
from functools import partial

# Else it asks the internet for prices while it is imported.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from scenarios import CONFIG, read, read_first, run, until_refused

litellm.suppress_debug_info = True


def chat(
    provider: str,
    prompt: str = CONFIG["prompt"],
    *,
    model: str = CONFIG["model"],
    token: str = CONFIG["token"],
    **fields: object,
):
    fields = {"temperature": 0, "max_tokens": CONFIG.get("max_tokens", 64), "num_retries": 0, "max_retries": 0} | fields
    return litellm.completion(
        model=f"{provider}/{model}",
        messages=[{"role": "user", "content": prompt}],
        api_base=CONFIG["url"] + CONFIG["paths"][provider],
        api_key=token,
        timeout=60,
        **fields,
    )


def plain(provider: str) -> dict:
    answer = chat(provider)
    choice = answer.choices[0]
    return {"text": choice.message.content, "finish_reason": choice.finish_reason, "usage": answer.usage.model_dump()}


def stream(provider: str) -> dict:
    chunks = []

    def pieces():
        for chunk in chat(provider, stream=True):
            chunks.append(chunk)
            yield chunk.choices[0].delta.content

    return read(pieces()) | {"finish_reason": chunks[-1].choices[0].finish_reason}


def first_piece(provider: str) -> dict:
    return read_first(chunk.choices[0].delta.content for chunk in chat(provider, CONFIG["slow_prompt"], stream=True))


SCENARIOS = {
    "plain": plain,
    "stream": stream,
    "first_piece": first_piece,
    "bad_token": partial(chat, token="wrong"),
    "bad_field": partial(chat, top_p=9),
    "unknown_model": partial(chat, model="@jeton/none"),
    "long_prompt": partial(chat, prompt=CONFIG["long_prompt"], model=CONFIG["small_model"], max_tokens=4),
    "too_often": lambda provider: until_refused(partial(chat, provider, token=CONFIG["limited_token"])),
}
run(
    {
        f"{provider} {name}": partial(scenario, provider)
        for provider in CONFIG["paths"]
        for name, scenario in SCENARIOS.items()
    }
)
