"""What one writes first: FastAPI, a StreamingResponse, a queue for each stream. uvicorn runs it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
from fastapi import FastAPI  # pyright: ignore[reportMissingImports]
from fastapi.responses import StreamingResponse  # pyright: ignore[reportMissingImports]

from benchmarks.load.peer.engine_line import EngineLine
from benchmarks.load.plan import Schedule
from webapp.wire.generation import Delta

KEEP_ALIVE_SECONDS = 10.0
line = EngineLine()


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with line.running():
        yield


app = FastAPI(lifespan=_lifespan)


@app.get("/healthz")
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@app.get("/generations/events")
async def events(begin_at: int, tokens: int) -> StreamingResponse:
    script = Schedule(begin_at, tokens).script(time.monotonic_ns())
    return StreamingResponse(_frames(script, tokens), media_type="text/event-stream")


async def _frames(script: str, tokens: int) -> AsyncIterator[bytes]:
    with line.generation(script, max_tokens=tokens) as queue:
        yield b"retry: 300\n\n"
        event_id = 0
        while True:
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    event = await queue.get()
            except TimeoutError:
                yield b": keep-alive\n\n"
                continue
            event_id += 1
            if not isinstance(event, Delta):
                yield b"id: %d\ndata: [DONE]\n\n" % event_id
                return
            yield b"id: %d\ndata: %b\n\n" % (event_id, msgspec.json.encode({"response": event.text}))
