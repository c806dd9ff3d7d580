"""The cheap reader: a small C++ program, compiled at the start of the benchmark, that reads all streams at once."""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import msgspec

from benchmarks.environments import cache_folder

_SOURCE = Path(__file__).with_name("reader.cpp")
_OPTIONS = ("-std=c++20", "-O2", "-Wall", "-Wextra", "-Werror")


class NoCompiler(Exception):
    """There is no C++ compiler here."""


@dataclass(frozen=True)
class Source:
    """Where one event stream is read."""

    port: int
    path: str
    cookies: str = ""


class Readings(msgspec.Struct, frozen=True):
    """What the reader found. Delays in seconds, over the tokens made in the measured time; `events` are all.

    `gaps` and `repeats` count event ids that were not the next one; `complete` streams came to their own end.
    """

    connected: int
    complete: int
    failed: int
    events: int
    gaps: int
    repeats: int
    comments: int
    reads: int
    measured: int
    p50: float
    p90: float
    p99: float
    p999: float
    longest: float
    failure: str


def compile_reader() -> Path:
    """The program, compiled unless that was done before. Raises NoCompiler."""
    key = hashlib.sha256(_SOURCE.read_bytes() + repr(_OPTIONS).encode()).hexdigest()[:16]
    program = cache_folder() / f"reader-{key}"
    if not program.exists():
        compiler = os.environ.get("CXX") or shutil.which("c++") or shutil.which("g++")
        if not compiler:
            raise NoCompiler("The reader is compiled here: install a C++ compiler, such as Debian's g++, or set CXX.")
        program.parent.mkdir(parents=True, exist_ok=True)
        made = program.with_suffix(f".{os.getpid()}")
        subprocess.run([compiler, *_OPTIONS, "-o", made, _SOURCE], check=True)
        made.replace(program)
    return program


class Reader:
    """The reader at work on these sources. Moments are CLOCK_MONOTONIC in nanoseconds."""

    def __init__(self, program: Path, sources: Sequence[Source], *, begin: int, end: int, deadline: int) -> None:
        command = [str(program), str(deadline), str(begin), str(end)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdin
        self._process.stdin.writelines(f"{source.port}\t{source.path}\t{source.cookies}\n" for source in sources)
        self._process.stdin.close()
        self._last_line = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_until_connected(self) -> int:
        """Wait until every answer has begun or failed; how many have begun. 0 where the reader has ended before."""
        assert self._process.stdout
        self._last_line = self._process.stdout.readline()
        word, _, count = self._last_line.partition(" ")
        return int(count) if word == "connected" else 0

    def stop(self) -> None:
        """Have it end now."""
        self._process.terminate()

    def finish(self) -> Readings:
        """Wait for the end."""
        assert self._process.stdout
        for line in self._process.stdout:
            self._last_line = line
        return msgspec.json.decode(self._last_line, type=Readings)
