"""What a Worker's binding sends, as the proxy route gets it."""

import json

import httpx

from tests.harness import TOKEN, Server, script

MODEL = "@jeton/scripted"
PROXY = "/client/v4/accounts/acc/ai/run/proxy"
# By version, the URL that the binding calls.
V1, V2, V3 = (f"http://workers-binding.ai/run{query}" for query in ("", "?version=2", "?version=3"))
UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


HELLO = script(pieces=["Hello", " world", "🪙"])


def call(
    server: Server, url: str | None, body: object = None, *, method: str = "POST", token: str = TOKEN, **headers: str
) -> httpx.Response:
    """What the proxy route answers; the body is sent as bytes, or as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    named = {"Authorization": f"Bearer {token}", "cf-consn-model-id": MODEL} | ({"X-Forwarded": url} if url else {})
    named |= {name.replace("_", "-"): value for name, value in headers.items()}
    return server.client.request(method, PROXY, headers=named, content=content if method == "POST" else None)


def tensors(prompt: object = HELLO, max_tokens: object = 256, **more: object) -> dict[str, object]:
    """What 1.0.x sends."""
    return {
        "input": [
            {"type": "str", "shape": [1], "name": "INPUT_0", "value": [prompt]},
            {"type": "uint32", "shape": [1], "name": "INPUT_1", "value": [max_tokens]},
        ],
        "stream": False,
    } | more


def error_of(answer: httpx.Response) -> str:
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    return answer.text
