"""The openai package against /v1, or against an account's /ai/v1."""

import openai
from scenarios import CONFIG, read, read_first, run, until_refused

PARIS = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}


def client(token: str = CONFIG["token"]) -> openai.OpenAI:
    return openai.OpenAI(base_url=CONFIG["base_url"], api_key=token, max_retries=0, timeout=60)


def chat(prompt: str = CONFIG["prompt"], *, token: str = CONFIG["token"], **fields: object):
    fields = {"model": CONFIG["model"], "temperature": 0, "max_tokens": CONFIG.get("max_tokens", 64)} | fields
    return client(token).chat.completions.create(messages=[{"role": "user", "content": prompt}], **fields)


def plain() -> dict:
    answer = chat()
    choice = answer.choices[0]
    return {"text": choice.message.content, "finish_reason": choice.finish_reason, "usage": answer.usage.model_dump()}


def stream() -> dict:
    chunks = []

    def pieces():
        for chunk in chat(stream=True, stream_options={"include_usage": True}):
            chunks.append(chunk)
            if chunk.choices:
                yield chunk.choices[0].delta.content

    seen = read(pieces())
    finish_reasons = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
    return seen | {"finish_reasons": finish_reasons, "usage": chunks[-1].usage.model_dump()}


def first_piece() -> dict:
    with chat(CONFIG["slow_prompt"], stream=True) as chunks:
        return read_first(chunk.choices[0].delta.content for chunk in chunks if chunk.choices)


def completion() -> dict:
    answer = client().completions.create(model=CONFIG["model"], prompt=CONFIG["prompt"], temperature=0)
    return {"text": answer.choices[0].text}


def completion_stream() -> dict:
    chunks = client().completions.create(model=CONFIG["model"], prompt=CONFIG["prompt"], temperature=0, stream=True)
    return read(chunk.choices[0].text for chunk in chunks if chunk.choices)


def completion_first_piece() -> dict:
    with client().completions.create(model=CONFIG["model"], prompt=CONFIG["slow_prompt"], stream=True) as chunks:
        return read_first(chunk.choices[0].text for chunk in chunks if chunk.choices)


def response() -> dict:
    answer = client().responses.create(model=CONFIG["model"], input=CONFIG["prompt"], temperature=0)
    return {"text": answer.output_text, "status": answer.status}


def response_stream() -> dict:
    events = []

    def pieces():
        for event in client().responses.create(
            model=CONFIG["model"], input=CONFIG["prompt"], temperature=0, stream=True
        ):
            events.append(event)
            if event.type == "response.output_text.delta":
                yield event.delta

    seen = read(pieces())
    return seen | {"events": [event.type for event in events], "text": events[-1].response.output_text}


def response_first_piece() -> dict:
    with client().responses.create(model=CONFIG["model"], input=CONFIG["slow_prompt"], stream=True) as events:
        return read_first(event.delta for event in events if event.type == "response.output_text.delta")


def tools() -> dict:
    choice = chat(CONFIG["tool_prompt"], tools=[PARIS]).choices[0]
    calls = [[call.type, call.function.name, call.function.arguments] for call in choice.message.tool_calls]
    return {"finish_reason": choice.finish_reason, "calls": calls, "id": choice.message.tool_calls[0].id}


def tools_stream() -> dict:
    # The SDK's own accumulation of the chunks.
    messages = [{"role": "user", "content": CONFIG["tool_prompt"]}]
    with client().chat.completions.stream(model=CONFIG["model"], messages=messages, tools=[PARIS]) as chunks:
        choice = chunks.get_final_completion().choices[0]
    calls = [[call.type, call.function.name, call.function.arguments] for call in choice.message.tool_calls]
    return {"finish_reason": choice.finish_reason, "calls": calls}


def tool_result() -> dict:
    """The second turn of a conversation with tools."""
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "What is the weather?"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
        {"role": "user", "content": CONFIG["prompt"]},
    ]
    answer = client().chat.completions.create(model=CONFIG["model"], messages=messages, tools=[PARIS], temperature=0)
    return {"text": answer.choices[0].message.content}


def json_mode() -> dict:
    return {"text": chat(CONFIG["json_prompt"], response_format={"type": "json_object"}).choices[0].message.content}


def json_schema() -> dict:
    city = {"type": "string", "enum": ["Paris", "Rome"]}
    schema = {"type": "object", "properties": {"city": city}, "required": ["city"], "additionalProperties": False}
    wanted = {"type": "json_schema", "json_schema": {"name": "city", "strict": True, "schema": schema}}
    return {"text": chat(CONFIG["json_prompt"], response_format=wanted).choices[0].message.content}


def several() -> dict:
    choices = chat(n=2, logprobs=True, top_logprobs=1).choices
    tokens = [[token.token for token in choice.logprobs.content] for choice in choices]
    return {"texts": [choice.message.content for choice in choices], "tokens": tokens}


def embeddings() -> dict:
    # The package asks for base64 and decodes it.
    answer = client().embeddings.create(model=CONFIG["embeddings_model"], input=["one", "two"])
    return {"vectors": [item.embedding for item in answer.data]}


def models() -> dict:
    return {"names": [model.id for model in client().models.list()]}


run(
    {
        "plain": plain,
        "stream": stream,
        "first_piece": first_piece,
        "completion": completion,
        "completion_stream": completion_stream,
        "completion_first_piece": completion_first_piece,
        "response": response,
        "response_stream": response_stream,
        "response_first_piece": response_first_piece,
        "tools": tools,
        "tools_stream": tools_stream,
        "tool_result": tool_result,
        "json_mode": json_mode,
        "json_schema": json_schema,
        "several": several,
        "embeddings": embeddings,
        "models": models,
        "bad_token": lambda: chat(token="wrong"),
        "bad_field": lambda: chat(temperature=9),
        "unknown_model": lambda: chat(model="@jeton/none"),
        "long_prompt": lambda: chat(CONFIG["long_prompt"], model=CONFIG["small_model"], max_tokens=4),
        "bad_token_stream": lambda: chat(token="wrong", stream=True),
        "too_often": lambda: until_refused(lambda: chat(token=CONFIG["limited_token"])),
    }
)
