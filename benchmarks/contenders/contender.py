"""What is measured side by side: started, asked for some streams at once, paused while others are measured, stopped."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks.client import RawStream, StreamFailed, events, read_all
from benchmarks.environments import PROJECT_FOLDER
from benchmarks.plan import TEMPERATURE, TOP_K, TOP_P, Configuration
from benchmarks.processes import ProcessGroup
from benchmarks.prompts import Prompt, PromptMaker
from benchmarks.streams import StreamResult

START_SECONDS = 300.0
RUN_SECONDS = 900.0


class ContenderFailed(Exception):
    """It did not start, or did not answer; the message has the end of what it printed."""


class Program(ABC):
    """One program with all its processes, in a folder of its own. With `has_pipes`, one talks to it in lines."""

    has_pipes = False

    def __init__(self, name: str) -> None:
        self.name = name
        self.group = ProcessGroup()
        self._temporary = tempfile.TemporaryDirectory(prefix="jeton-bench-", ignore_cleanup_errors=True)
        self.log = self.folder / "output.log"
        self._process: subprocess.Popen[str] | None = None

    @property
    def folder(self) -> Path:
        """Its own, gone when it is."""
        return Path(self._temporary.name)

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """What starts it."""

    @property
    def environ(self) -> dict[str, str]:
        """Besides this process's own environment."""
        return {}

    @abstractmethod
    def wait_until_ready(self) -> None: ...

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def output(self) -> str:
        # Into reports, which name nobody's folders.
        text = self.log.read_text("utf-8", "replace")[-2000:] if self.log.exists() else ""
        return text.replace(str(PROJECT_FOLDER), ".").replace(str(Path.home()), "~")

    def start(self) -> float:
        """Start it; how many seconds until it is ready to answer."""
        self.group = ProcessGroup()
        started_at = time.perf_counter()
        with self.log.open("ab") as log:
            self._process = self._launch(log)
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return time.perf_counter() - started_at

    def _launch(self, log: IO[bytes]) -> "subprocess.Popen[str]":
        # Everything on the processor: the peers have no other device here.
        environ = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"} | self.group.environ | self.environ
        return subprocess.Popen(
            self.command,
            cwd=PROJECT_FOLDER,
            env=environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if self.has_pipes else log,
            stderr=log,
            text=True,
            start_new_session=True,
        )

    def pause(self) -> None:
        """Take it off the processor while another is measured."""
        self.group.send(signal.SIGSTOP)

    def resume(self) -> None:
        self.group.send(signal.SIGCONT)

    def stop(self) -> None:
        if self._process is None:
            return
        self.resume()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(25)
        self.group.send(signal.SIGKILL)
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process = None


class Contender(Program):
    """A program under measurement. `is_http` says whether its figures were taken through HTTP."""

    is_http = False

    def __init__(self, name: str, *, title: str, precision: str) -> None:
        super().__init__(name)
        self.title = title
        # Of the weights; some contenders say it themselves once they have started.
        self.precision = precision

    @abstractmethod
    def run(
        self, prompts: Sequence[Prompt], configuration: Configuration, *, max_tokens: int, delays: Sequence[float] = ()
    ) -> list[StreamResult]:
        """All prompts at once. Raises ContenderFailed."""

    def takes(self, configuration: Configuration, round_number: int) -> bool:
        """Whether it runs in this configuration and round."""
        return round_number < configuration.most_rounds

    @property
    def sampling(self) -> dict[str, float | int]:
        return {"temperature": TEMPERATURE, "top_p": TOP_P, "top_k": TOP_K}

    def sampling_for(self, configuration: Configuration) -> dict[str, float | int]:
        return self.sampling if configuration.is_sampled else {**self.sampling, "temperature": 0.0}


class LineContender(Contender):
    """A program of benchmarks/peers that answers lines of JSON."""

    has_pipes = True

    def __init__(
        self, name: str, *, title: str, precision: str, module: str, python: Path, arguments: list[str]
    ) -> None:
        super().__init__(name, title=title, precision=precision)
        self._command = [str(python), "-m", f"benchmarks.peers.{module}", *arguments]
        self.hello: dict[str, Any] = {}

    @property
    def command(self) -> list[str]:
        return self._command

    def wait_until_ready(self) -> None:
        self.hello = self._read()
        self.precision = self.hello.get("precision", self.precision)

    def run(
        self, prompts: Sequence[Prompt], configuration: Configuration, *, max_tokens: int, delays: Sequence[float] = ()
    ) -> list[StreamResult]:
        assert not delays, "a program in lines starts all streams at once"
        reply = self.ask(
            {
                "prompts": [{"text": prompt.text, "seed": prompt.seed} for prompt in prompts],
                "max_tokens": max_tokens,
                "sampling": self.sampling_for(configuration),
            }
        )
        return [StreamResult(**stream) for stream in reply["streams"]]

    def ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process
        assert self._process.stdin
        try:
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()
        except OSError as error:
            raise ContenderFailed(f"{self.name}: it has ended:\n{self.output}") from error
        return self._read()

    def _read(self) -> dict[str, Any]:
        assert self._process
        assert self._process.stdout
        line = self._process.stdout.readline()
        reply = json.loads(line) if line else {"error": f"it ended:\n{self.output}"}
        if "error" in reply:
            raise ContenderFailed(f"{self.name}: {reply['error']}")
        return reply


class HttpContender(Contender):
    """A server. Subclasses say how a request looks, and what text and counts an event of the answer holds."""

    is_http = True
    ready_path = "/"

    def __init__(self, name: str, *, title: str, precision: str, prompt_maker: PromptMaker) -> None:
        super().__init__(name, title=title, precision=precision)
        self.port = free_port()
        self._prompts = prompt_maker

    @abstractmethod
    def request(self, prompt: Prompt, configuration: Configuration, *, max_tokens: int) -> bytes: ...

    @abstractmethod
    def text(self, event: dict[str, Any]) -> str: ...

    def usage(self, event: dict[str, Any]) -> dict[str, Any] | None:
        return event.get("usage")

    def wait_until_ready(self) -> None:
        wait_for(f"http://127.0.0.1:{self.port}{self.ready_path}", self)

    def run(
        self, prompts: Sequence[Prompt], configuration: Configuration, *, max_tokens: int, delays: Sequence[float] = ()
    ) -> list[StreamResult]:
        requests = [self.request(prompt, configuration, max_tokens=max_tokens) for prompt in prompts]
        try:
            streams = read_all(self.port, requests, delays=delays, timeout=RUN_SECONDS)
            return [self._result(stream, max_tokens=max_tokens) for stream in streams]
        except (StreamFailed, OSError, ValueError) as error:
            raise ContenderFailed(f"{self.name}: {error}\n{self.output}") from error

    def _result(self, stream: RawStream, *, max_tokens: int) -> StreamResult:
        times: list[float] = []
        text = ""
        usage: dict[str, Any] = {}
        is_cut = False
        for moment, data in events(stream):
            if data == b"[DONE]":
                break
            event = json.loads(data)
            if event.get("error") or event.get("errors"):
                raise StreamFailed(f"an error in the stream: {data.decode()}")
            piece = self.text(event)
            if piece:
                times.append(moment)
                text += piece
            usage = self.usage(event) or usage
            is_cut = is_cut or any(choice.get("finish_reason") == "length" for choice in event.get("choices", ()))
        if "completion_tokens" not in usage:
            # A server that counts nothing: the tokens of its text, and the end token, unless it was cut at the limit.
            usage["completion_tokens"] = max_tokens if is_cut else self._prompts.count(text) + 1
        return StreamResult(
            started_at=stream.started_at,
            times=times,
            prompt_tokens=usage.get("prompt_tokens", 0),
            completion_tokens=usage["completion_tokens"],
            text=text,
        )


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(url: str, program: Program) -> None:
    """Until the URL answers with 200. Raises ContenderFailed."""
    deadline = time.perf_counter() + START_SECONDS
    while time.perf_counter() < deadline:
        if not program.is_running:
            raise ContenderFailed(f"{program.name} ended:\n{program.output}")
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.02)
    raise ContenderFailed(f"{program.name} was not ready within {START_SECONDS:.0f} s:\n{program.output}")
