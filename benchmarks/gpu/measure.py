"""Measures one tenure after the other, and keeps what was found after each, so that a run cut off loses little."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.contenders.contender import Contender, ContenderFailed, HttpContender, LineContender
from benchmarks.environments import FOLDER
from benchmarks.gpu.catalogue import Entry
from benchmarks.gpu.contenders import DeviceServer
from benchmarks.gpu.deadline import Deadline
from benchmarks.gpu.plan import Load
from benchmarks.gpu.results import FirstTokens, GpuResults, GpuRun, Measured, Profile, WayQuality
from benchmarks.gpu.tenures import Kind, Setting, Tenure
from benchmarks.long_prompt import measure_long_prompt
from benchmarks.plan import WARM_UP_TOKENS, Configuration
from benchmarks.processes import OutsideLoad
from benchmarks.prompts import Prompt
from benchmarks.quality import divergence, top1_agreement
from benchmarks.rounds import say
from benchmarks.streams import StreamResult, figures

TEXT = FOLDER / "text.txt"
# With whose distributions those of int8 are compared.
REFERENCE = "engine-fp16"
# In seconds: who computes for longer without being asked is measured while it does.
_LONGEST_UNREST = 20.0


class Measuring:
    """One run: what was found so far, and until when there is time."""

    def __init__(
        self,
        setting: Setting,
        found: GpuResults,
        deadline: Deadline,
        *,
        folder: Path,
        rounds: int,
        is_profiled: bool,
        keep: Callable[[], None],
    ) -> None:
        self._setting = setting
        self._scale = setting.scale
        self._prompts = setting.prompt_maker
        self._found = found
        self._deadline = deadline
        self._folder = folder
        self._rounds = rounds
        self._is_profiled = is_profiled
        self._keep = keep
        self._start_seconds: dict[Kind, float] = {}

    def measure(self, tenure: Tenure) -> None:
        """All of one contender; what there is no time for is left out, what fails is noted."""
        needed = self._start_seconds.get(tenure.kind, self._scale.start_seconds) + tenure.seconds
        if self._deadline.seconds_left < needed:
            left = max(0.0, self._deadline.seconds_left)
            self._leave_out(f"{tenure.name}: {left:.0f} s were left, and it takes about {needed:.0f} s")
            return
        contender = tenure.make()
        try:
            with self._deadline.kills(contender):
                self._start(contender, tenure)
                self._measure(contender, tenure)
        except ContenderFailed as error:
            self._note(f"{tenure.name}", error)
        finally:
            contender.stop()
            self._keep()
        if tenure.stand_in and not self._found.contender(tenure.name):
            self.measure(tenure.stand_in)

    def _start(self, contender: Contender, tenure: Tenure) -> None:
        seconds = contender.start()
        # Some compile for a while after they have begun to answer.
        seconds += contender.group.wait_until_quiet(seconds=0.5, timeout=_LONGEST_UNREST)
        self._start_seconds[tenure.kind] = max(seconds, self._start_seconds.get(tenure.kind, 0.0))
        say(f"{tenure.name}: ready after {seconds:.1f} s")
        self._found.contenders.append(
            Measured(
                name=tenure.name,
                title=contender.title,
                precision=contender.precision,
                variant=tenure.variant,
                is_http=contender.is_http,
                is_ours=tenure.is_ours,
                way=tenure.way,
                start_seconds=seconds,
                remarks=contender.hello.get("remarks", []) if isinstance(contender, LineContender) else [],
            )
        )

    def _measure(self, contender: Contender, tenure: Tenure) -> None:
        if isinstance(contender, DeviceServer) and tenure.entry:
            contender.turn_to(tenure.entry)
        with self._memory_noted(contender, tenure):
            self._loads(contender, tenure.loads)
            for entry, load in tenure.limits:
                self._limits(contender, entry, load)
            if isinstance(contender, LineContender) and tenure.is_ours:
                if tenure.wants_quality:
                    self._quality(contender)
                if self._is_profiled:
                    self._profiles(contender, tenure.loads)

    @contextlib.contextmanager
    def _memory_noted(self, contender: Contender, tenure: Tenure) -> Iterator[None]:
        try:
            yield
        finally:
            measured = self._found.contender(tenure.name)
            assert measured
            measured.device_bytes = self._setting.place.used_bytes()
            measured.pss_bytes = contender.group.pss_bytes
            with contextlib.suppress(ContenderFailed, OSError):
                if isinstance(contender, DeviceServer):
                    measured.own_bytes = contender.memory_bytes()
                elif isinstance(contender, LineContender) and tenure.is_ours:
                    measured.own_bytes = contender.ask({"ask": "sizes"})["memory_bytes"]

    def _loads(self, contender: Contender, loads: list[Load]) -> None:
        for load in loads:
            self._attempt(f"{contender.name}, {load.name}, warm-up", lambda load=load: self._warm_up(contender, load))
        for round_number in range(self._rounds):
            for load in loads:
                self._round(contender, load, round_number)

    def _warm_up(self, contender: Contender, load: Load, *, new_tokens: int | None = None) -> None:
        # As long as what is measured: every shape that it passes through is then captured or compiled.
        tokens = new_tokens or load.new_tokens
        prompts = self._prompts.make_of(f"warm-up/{load.name}", load.streams, tokens=load.prompt_tokens)
        _run(contender, prompts, max_tokens=tokens)
        contender.group.wait_until_quiet(seconds=0.3, timeout=_LONGEST_UNREST)

    def _round(self, contender: Contender, load: Load, round_number: int, *, is_limit: bool = False) -> None:
        run = GpuRun(
            contender=contender.name,
            load=load.name,
            streams=load.streams,
            prompt_tokens=load.prompt_tokens,
            new_tokens=load.new_tokens,
            is_limit=is_limit,
            round_number=round_number,
        )
        prompts = self._prompts.make_of(f"{load.name}/{round_number}", load.streams, tokens=load.prompt_tokens)
        try:
            with OutsideLoad(contender.group) as outside:
                streams = _run(contender, prompts, max_tokens=load.new_tokens)
            run.figures = figures(streams, max_tokens=load.new_tokens)
            run.outside_share = outside.share
        except (ContenderFailed, ValueError) as error:
            run.failure = str(error)[:500]
            if not contender.is_running:
                raise ContenderFailed(str(error)) from error
        self._found.runs.append(run)
        say(_line(run))

    def _limits(self, contender: Contender, entry: Entry, load: Load) -> None:
        """The published limits: one long prompt after the other alone, many at once, and one beside running streams."""
        if isinstance(contender, DeviceServer):
            contender.turn_to(entry)
        name = f"{contender.name}, published limits"
        self._attempt(f"{name}, first tokens", lambda: self._first_tokens(contender))
        if self._scale.beside_tokens and isinstance(contender, HttpContender):
            self._attempt(f"{name}, beside a long prompt", lambda: self._beside(contender))
        self._attempt(
            f"{name}, warm-up", lambda: self._warm_up(contender, load, new_tokens=min(WARM_UP_TOKENS, load.new_tokens))
        )
        self._round(contender, load, 0, is_limit=True)

    def _first_tokens(self, contender: Contender) -> None:
        count, tokens = self._scale.first_prompts, self._scale.first_prompt_tokens
        # The first one captures or compiles, and is not counted.
        prompts = self._prompts.make_of("first", count + 1, tokens=tokens)
        streams = [_run(contender, [prompt], max_tokens=4)[0] for prompt in prompts][1:]
        if not all(stream.times for stream in streams):
            raise ContenderFailed(f"{contender.name}: a prompt brought no text")
        self._found.first_tokens.append(
            FirstTokens(
                contender=contender.name,
                prompt_tokens=streams[0].prompt_tokens,
                seconds=[stream.time_to_first_token for stream in streams],
            )
        )
        say(
            f"{contender.name}: first token after {min(stream.time_to_first_token for stream in streams):.3f} s or more"
        )

    def _beside(self, contender: HttpContender) -> None:
        found = measure_long_prompt(contender, self._prompts, rounds=1, tokens=self._scale.beside_tokens)
        self._found.long_prompt.append(found)
        say(f"{contender.name}: gaps beside a long prompt {found.beside_p99 / found.quiet_p99:.2f} times as long")

    def _quality(self, contender: LineContender) -> None:
        def measure() -> None:
            token_ids = self._prompts.token_ids(TEXT.read_text("utf-8"))[: self._scale.text_tokens]
            target = self._folder / f"{contender.name}.npy"
            contender.ask({"ask": "logits", "token_ids": token_ids, "target": str(target)})
            reference = self._folder / f"{REFERENCE}.npy"
            if contender.name == REFERENCE or not reference.is_file():
                return
            ours, theirs = np.load(target), np.load(reference)
            self._found.quality.append(
                WayQuality(
                    contender=contender.name,
                    tokens=len(token_ids),
                    top1=top1_agreement(theirs, ours),
                    divergence=divergence(theirs, ours),
                )
            )

        self._attempt(f"{contender.name}, quality", measure)

    def _profiles(self, contender: LineContender, loads: list[Load]) -> None:
        def measure(load: Load) -> None:
            prompts = self._prompts.make_of("profile", load.streams, tokens=load.prompt_tokens)
            message = {
                "ask": "profile",
                "prompts": [{"text": prompt.text, "seed": prompt.seed} for prompt in prompts],
                "max_tokens": load.new_tokens,
                "sampling": contender.sampling,
            }
            self._found.profiles.append(
                msgspec.convert(
                    {"contender": contender.name, "streams": load.streams, **contender.ask(message)}, Profile
                )
            )

        for load in dict.fromkeys((loads[0], loads[-1])):
            # It runs while the others' prompts are still read, and must not have ended by then.
            profiled = Load(load.streams, load.prompt_tokens, max(load.new_tokens, 2 * (load.streams + 32)))
            self._attempt(f"{contender.name}, profile of {load.streams}", lambda load=profiled: measure(load))

    def _attempt(self, what: str, measure: Callable[[], None]) -> None:
        """What fails is noted; the contender goes on unless it has ended."""
        try:
            measure()
        except ContenderFailed as error:
            self._note(what, error)
            if self._deadline.has_passed:
                raise

    def _note(self, what: str, error: Exception) -> None:
        if self._deadline.has_passed:
            self._leave_out(f"{what}: the time was up")
            return
        self._found.failures.append(f"{what}: {error}")
        say(f"{what} FAILED: {error}")

    def _leave_out(self, line: str) -> None:
        if line not in self._found.left_out:
            self._found.left_out.append(line)
            say(f"left out: {line}")


def _run(contender: Contender, prompts: list[Prompt], *, max_tokens: int) -> list[StreamResult]:
    return contender.run(prompts, Configuration(len(prompts), "short", is_sampled=True), max_tokens=max_tokens)


def _line(run: GpuRun) -> str:
    start = f"round {run.round_number + 1}  {run.load:24} {run.contender:22}"
    if run.figures is None:
        return f"{start} FAILED: {run.failure}"
    seen = run.figures
    return (
        f"{start} {seen.tokens_per_second:8.1f} tokens/s, {seen.tokens_per_second_per_stream:7.1f} a stream, "
        f"first token {seen.time_to_first_token_median * 1000:7.1f} ms"
    )
