"""Reads many event sources in one thread, cheaply enough to leave the machine to what is watched."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.chaos.event_source import EventSource
from tests.chaos.http_body import Answer, AnswerBroken

LONGEST_STOP_SECONDS = 10.0


class Readers:
    """The readers of one server's streams. Each goes on until its source is closed, or `stop`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._loop = asyncio.new_event_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, name="readers", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel_all(), self._loop).result(LONGEST_STOP_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(LONGEST_STOP_SECONDS)
        self._loop.close()

    def open(self, source: EventSource) -> None:
        """Begin to read."""
        self._loop.call_soon_threadsafe(self._start, source)

    def _start(self, source: EventSource) -> None:
        task = self._loop.create_task(self._follow(source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, source: EventSource) -> None:
        while not source.is_closed:
            is_whole = False
            # Nobody listens, or the connection broke: an event source tries again.
            with contextlib.suppress(OSError):
                is_whole = await self._read_once(source)
            source.take_end(is_whole=is_whole)
            if not source.is_closed:
                await asyncio.sleep(source.retry_seconds)

    async def _read_once(self, source: EventSource) -> bool:
        """Whether the answer came to its end."""
        transport, answer = await self._connect(lambda: Answer(source.take_head, source.take_body))
        try:
            transport.write(source.request(self._port))
            await answer.closed
        except AnswerBroken as error:
            source.notes.append(str(error))
        finally:
            transport.abort()
        return answer.is_whole

    async def _connect(self, make_answer: Callable[[], Answer]) -> tuple[asyncio.Transport, Answer]:
        return await self._loop.create_connection(make_answer, "127.0.0.1", self._port)

    async def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
