"""Requests to OpenAI's routes of a server, at both of their addresses."""

from dataclasses import dataclass

import httpx

from tests.harness import TOKEN, Event, Server, events, script

V1 = "/v1"
ON_ACCOUNT = "/client/v4/accounts/acc/ai/v1"
ADDRESSES = (V1, ON_ACCOUNT)
MODEL = "@jeton/scripted"


@dataclass(frozen=True)
class Stream:
    """What a stream has sent: all frames as they are, and the chunks among them."""

    headers: httpx.Headers
    events: list[Event]

    @property
    def is_done(self) -> bool:
        return self.events[-1].data == "[DONE]"

    @property
    def chunks(self) -> list[dict]:
        return [event.json for event in self.events if event.data != "[DONE]"]

    def choices(self, index: int = 0) -> list[dict]:
        """The choices with this index, one of each chunk that has it."""
        return [choice for chunk in self.chunks for choice in chunk["choices"] if choice["index"] == index]

    def text(self, index: int = 0) -> str:
        return "".join(choice["delta"].get("content") or "" for choice in self.choices(index))


def said(**fields: object) -> list[dict]:
    """A conversation that makes the scripted model do this."""
    return [{"role": "user", "content": script(**fields)}]


def post(server: Server, route: str, *, address: str = V1, token: str | None = TOKEN, **body: object) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return server.client.post(f"{address}/{route}", headers=headers, json={"model": MODEL} | body)


def chat(server: Server, *, address: str = V1, token: str | None = TOKEN, **body: object) -> httpx.Response:
    return post(server, "chat/completions", address=address, token=token, **body)


def get(server: Server, route: str, *, address: str = V1) -> httpx.Response:
    return server.client.get(f"{address}/{route}", headers={"Authorization": f"Bearer {TOKEN}"})


def stream(server: Server, route: str = "chat/completions", *, address: str = V1, **body: object) -> Stream:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    json_body = {"model": MODEL, "stream": True} | body
    with server.client.stream("POST", f"{address}/{route}", headers=headers, json=json_body) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["content-type"] == "text/event-stream"
        return Stream(response.headers, list(events(response)))
