"""`python -m benchmarks.gpu`: measures Jeton and its peers on a GPU, or a small shape without one."""

import argparse
import datetime
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from subprocess import SubprocessError

import msgspec

from benchmarks import machine
from benchmarks.contenders.contender import ContenderFailed
from benchmarks.environments import FOLDER
from benchmarks.gpu.contenders import DeviceLines
from benchmarks.gpu.deadline import Deadline
from benchmarks.gpu.measure import Measuring
from benchmarks.gpu.model_folder import TokenizerUnfit, make_model_folder
from benchmarks.gpu.place import Place, first_visible
from benchmarks.gpu.plan import DEFAULT_MINUTES, ON_GPU, PARTS, REPORT_SECONDS, SMALL_PARTS, SMALL_SCALE
from benchmarks.gpu.report import markdown
from benchmarks.gpu.results import DeviceFacts, GpuResults, ShapeFacts, joined, read
from benchmarks.gpu.shape import LLAMA_2_7B, SHAPES, SMALL, Shape
from benchmarks.gpu.tenures import VARIANTS, Setting, planned
from benchmarks.prompts import PromptMaker
from benchmarks.reports import write_results
from benchmarks.results import Bandwidth
from benchmarks.rounds import say
from webapp.memory import machine_memory


def main(arguments: Sequence[str] = tuple(sys.argv[1:])) -> int:
    started_at = time.monotonic()
    options = _options(arguments)
    if options.join:
        return _join(options)
    # So that contenders are stopped then too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    deadline = Deadline(options.minutes * 60 - REPORT_SECONDS)
    with tempfile.TemporaryDirectory(prefix="jeton-bench-") as folder:
        try:
            found = _measure(options, arguments, deadline, Path(folder), started_at=started_at)
        except (FileNotFoundError, TokenizerUnfit, SubprocessError, ContenderFailed) as error:
            print(f"The benchmark cannot run: {error}", file=sys.stderr)
            return 1
    print(f"\n{markdown(found)}")
    ours = [failure for failure in found.failures if failure.startswith(("engine", "server"))]
    return 1 if ours else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    def chosen(text: str, choices: Sequence[str]) -> list[str]:
        if unknown := set(text.split(",")) - set(choices):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: not one of {', '.join(choices)}")
        return text.split(",")

    def parts(text: str) -> list[str]:
        return chosen(text, PARTS)

    def variants(text: str) -> list[str]:
        return chosen(text, VARIANTS)

    def numbers(text: str) -> tuple[int, ...]:
        return tuple(int(part) for part in text.split(","))

    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__, allow_abbrev=False)
    parser.add_argument("--parts", type=parts, help=f"of {','.join(PARTS)}")
    parser.add_argument("--minutes", type=float, default=DEFAULT_MINUTES, help="after which all has ended, 9")
    parser.add_argument("--rounds", type=int, help="of the short texts; 3 on a GPU, else 1")
    parser.add_argument("--streams", type=numbers, help="such as 1,8,64")
    parser.add_argument("--variants", type=variants, default=VARIANTS, help=f"of {','.join(VARIANTS)}")
    parser.add_argument("--shape", choices=list(SHAPES), help="Llama-2 7B's on a GPU, else the small one")
    parser.add_argument("--tokenizer", type=Path, help="a folder with a tokenizer.json; the starter's by default")
    parser.add_argument("--weights", type=Path, help="where the random weights are kept; a folder of the cache")
    parser.add_argument("--profile", action="store_true", help="which kernels take a decode step's time, too")
    parser.add_argument("--output", type=Path, help="the folder of the report")
    parser.add_argument("--commit", help="what is measured, where git does not know it")
    parser.add_argument("--join", type=Path, nargs="+", metavar="FILE", help="only join the .json of several runs")
    return parser.parse_args(arguments)


def _measure(
    options: argparse.Namespace, arguments: Sequence[str], deadline: Deadline, folder: Path, *, started_at: float
) -> GpuResults:
    place = Place(first_visible())
    probe = DeviceLines("device", place, title="", module="device", arguments=[])
    with deadline.kills(probe):
        try:
            probe.start()
            device = msgspec.convert(probe.hello, DeviceFacts)
            say(_first_line(device))
            options.parts = options.parts or (PARTS if device.is_cuda else SMALL_PARTS)
            bandwidth = _bandwidth(probe) if "bandwidth" in options.parts else None
        finally:
            probe.stop()
    place = Place(place.visible, uuid=device.uuid) if device.is_cuda else Place("")
    shape = SHAPES[options.shape] if options.shape else LLAMA_2_7B if device.is_cuda else SMALL
    found = GpuResults(
        date=datetime.date.today().isoformat(),
        commit=options.commit or machine.commit(),
        command=" ".join(["python -m benchmarks.gpu", *_named_to_nobody(arguments)]),
        machine=machine.describe(),
        versions=machine.own_versions(),
        driver=place.driver(),
        device=device,
        shape=_facts(shape),
        bandwidth=bandwidth,
    )
    report = Report(found, options, is_gpu=device.is_cuda)
    report.write()
    if set(options.parts) - {"bandwidth"}:
        setting = _setting(options, place, device, shape, seconds=deadline.seconds_left)
        tenures, found.left_out = planned(setting)
        cannot_be = list(found.left_out)

        def keep() -> None:
            found.seconds = time.monotonic() - started_at
            report.write()

        measuring = Measuring(
            setting,
            found,
            deadline,
            folder=folder,
            rounds=options.rounds or setting.scale.rounds,
            is_profiled=options.profile,
            keep=keep,
        )
        for tenure in tenures:
            measuring.measure(tenure)
        if found.left_out == cannot_be:
            report.finish()
    say(f"Written to {report.stem}.md and .json")
    return found


class Report:
    """The files of a run. Until it is whole, their names end in -part, and take no whole one's place."""

    def __init__(self, found: GpuResults, options: argparse.Namespace, *, is_gpu: bool) -> None:
        self._found = found
        # What a small shape says of a processor is nothing to keep beside measurements.
        folder = options.output or (FOLDER / "results" if is_gpu else Path(tempfile.mkdtemp(prefix="jeton-gpu-")))
        missing = {*PARTS, *VARIANTS} - {*options.parts, *options.variants}
        self._is_planned_whole = is_gpu and not (missing or options.streams or options.shape)
        parts = "" if self._is_planned_whole else "-" + "-".join(options.parts)
        gpu = re.sub(r"[^a-z0-9]+", "-", found.device.name.lower())
        self.machine = f"{gpu}-gpu" if is_gpu else f"{machine.slug(found.machine)}-cpu-shape"
        self._whole = folder / f"{found.date}-{self.machine}"
        self.stem = folder / f"{found.date}-{self.machine}{f'{parts}-part' if is_gpu else ''}"

    def write(self) -> None:
        """What is known so far."""
        self.stem.parent.mkdir(parents=True, exist_ok=True)
        write_results(self._found, self.stem.with_name(f"{self.stem.name}.json"))
        self.stem.with_name(f"{self.stem.name}.md").write_text(markdown(self._found), "utf-8")

    def finish(self) -> None:
        """Nothing was left out for want of time."""
        if self._is_planned_whole:
            for ending in ("json", "md"):
                self.stem.with_name(f"{self.stem.name}.{ending}").rename(f"{self._whole}.{ending}")
            self.stem = self._whole


def _join(options: argparse.Namespace) -> int:
    try:
        found = joined([read(path) for path in options.join])
    except (OSError, ValueError, msgspec.DecodeError) as error:
        print(f"These files cannot be joined: {error}", file=sys.stderr)
        return 1
    options.parts = PARTS
    report = Report(found, options, is_gpu=found.device.is_cuda)
    report.stem = report.stem.with_name(f"{found.date}-{report.machine}-joined")
    report.write()
    say(f"{markdown(found)}\nWritten to {report.stem}.md and .json")
    return 0


def _bandwidth(probe: DeviceLines) -> Bandwidth:
    ways = probe.ask({})["ways"]
    say(f"memory: {max(ways.values()) / 1e9:.0f} GB/s")
    return Bandwidth(bytes_per_second=max(ways.values()), ways=ways)


def _first_line(device: DeviceFacts) -> str:
    if device.is_cuda:
        return f"{device.name}, {device.memory_bytes / 1e9:.0f} GB"
    return "No GPU here: a small shape runs on the processor, and nothing it says is about a GPU."


def _facts(shape: Shape) -> ShapeFacts:
    return ShapeFacts(
        name=shape.name,
        title=shape.title,
        parameters=shape.parameters,
        vocabulary=shape.vocabulary,
        positions=shape.positions,
        bytes_read={variant: shape.bytes_read(variant) for variant in VARIANTS},
    )


def _setting(
    options: argparse.Namespace, place: Place, device: DeviceFacts, shape: Shape, *, seconds: float
) -> Setting:
    started_at = time.monotonic()
    weights = make_model_folder(
        shape,
        place,
        dtype=device.dtype,
        tokenizer=options.tokenizer,
        parent=options.weights,
        seconds=max(1.0, seconds),
    )
    say(f"{shape.parameters:,} random weights: {time.monotonic() - started_at:.1f} s")
    scale = ON_GPU if device.is_cuda else SMALL_SCALE
    return Setting(
        place=place,
        device=device,
        shape=shape,
        weights=weights,
        scale=replace(scale, streams=options.streams) if options.streams else scale,
        prompt_maker=PromptMaker(weights / "tokenizer.json"),
        parts=options.parts,
        variants=options.variants,
        memory_bytes=device.memory_bytes if device.is_cuda else machine_memory(),
    )


def _named_to_nobody(arguments: Sequence[str]) -> list[str]:
    """Without the folders that they give: a report names nobody's."""
    for option in ("--output", "--tokenizer", "--weights"):
        arguments = machine.without(arguments, option)
    return list(arguments)


if __name__ == "__main__":
    raise SystemExit(main())
