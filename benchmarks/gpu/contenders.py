"""Who is measured on the device: Jeton's engine and server, and the peers of transformers, all of one Python."""

import sys
from collections.abc import Mapping
from pathlib import Path

from benchmarks.contenders.contender import ContenderFailed, LineContender
from benchmarks.contenders.jeton import JetonServer
from benchmarks.contenders.transformers import TransformersServe
from benchmarks.gpu.catalogue import Entry, write_catalog
from benchmarks.gpu.place import Place
from benchmarks.prompts import PromptMaker

# Streams of one client, and tokens a minute: none of it is what is measured.
_WITHOUT_BOUNDS = {"JETON_CLIENT_LIMIT": "1000", "JETON_QUEUE_LENGTH": "1000", "JETON_RATE_LIMIT": "0"}
# On a processor: pages of the manager's cache, of 256 tokens, and tokens of a step. Without these bounds it would take
# most of the memory, which on a GPU is what it is there for: there its own defaults are taken.
_CPU_CACHE_BLOCKS = 32
_CPU_BATCH_TOKENS = 512


class DeviceLines(LineContender):
    """A program of benchmarks/peers on the device."""

    def __init__(
        self,
        name: str,
        place: Place,
        *,
        title: str,
        module: str,
        arguments: list[str],
        precision: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            name, title=title, precision=precision, module=module, python=Path(sys.executable), arguments=arguments
        )
        self._settings = {**place.environ, **(settings or {})}

    @property
    def environ(self) -> dict[str, str]:
        return self._settings


class DeviceEngine(DeviceLines):
    """Jeton's engine alone, with one entry."""

    def __init__(
        self, name: str, place: Place, entry: Entry, weights: Path, *, title: str, settings: Mapping[str, str]
    ) -> None:
        super().__init__(name, place, title=title, module="engine", arguments=[entry.name], settings=settings)
        self._settings["JETON_MODELS_FILE"] = str(write_catalog([entry], weights, self.folder))


class DeviceServer(JetonServer):
    """`python -m webapp serve` with a catalogue of its own; requests go to `model`, one of its entries."""

    def __init__(
        self,
        name: str,
        place: Place,
        entries: list[Entry],
        weights: Path,
        *,
        title: str,
        prompt_maker: PromptMaker,
    ) -> None:
        super().__init__(prompt_maker=prompt_maker, model=entries[0].name)
        self.name, self.title = name, title
        self._place = place
        self._models_file = write_catalog(entries, weights, self.folder)

    @property
    def environ(self) -> dict[str, str]:
        models = {"JETON_MODELS_FILE": str(self._models_file)}
        return super().environ | _WITHOUT_BOUNDS | models | self._place.environ

    def wait_until_ready(self) -> None:
        """Its models on the device: where it does not find that, it would serve them on the processor, for hours."""
        super().wait_until_ready()
        devices = {str(process.get("device")) for process in self.processes() if process.get("role") == "engine"}
        if devices != {self._place.device}:
            raise ContenderFailed(f"{self.name}: its engines run on {', '.join(sorted(devices))}")

    def memory_bytes(self) -> int:
        """What its engines say that they hold: weights, cache, work space."""
        return sum(process.get("memory_bytes", 0) for process in self.processes())

    def turn_to(self, entry: Entry) -> None:
        """From here on requests are for this entry."""
        self._model = entry.name


class DeviceServe(TransformersServe):
    """`transformers serve` of the Python that runs the benchmark; nothing but the end token is not its default."""

    def __init__(self, place: Place, weights: Path, *, dtype: str, prompt_maker: PromptMaker) -> None:
        super().__init__(weights, threads=1, is_sampled=True, prompt_maker=prompt_maker, end_id=-1)
        self.precision = _PRECISIONS[dtype]
        self._place = place
        self._dtype = dtype

    @property
    def command(self) -> list[str]:
        start = "from transformers.cli.transformers import main; main()"
        bounds = [f"--cb-num-blocks={_CPU_CACHE_BLOCKS}", f"--cb-max-batch-tokens={_CPU_BATCH_TOKENS}"]
        return [
            *(sys.executable, "-c", start, "serve", str(self._weights)),
            "--continuous-batching",
            f"--dtype={self._dtype}",
            f"--device={self._place.device}",
            *([] if self._place.is_cuda else bounds),
            "--host=127.0.0.1",
            f"--port={self.port}",
        ]

    @property
    def environ(self) -> dict[str, str]:
        return self._place.environ


def batching_manager(place: Place, weights: Path, *, dtype: str) -> DeviceLines:
    """What `transformers serve` is built on, without HTTP and text."""
    bounds = ["--blocks", str(_CPU_CACHE_BLOCKS), "--batch-tokens", str(_CPU_BATCH_TOKENS)]
    return DeviceLines(
        "batching-manager",
        place,
        title="transformers' ContinuousBatchingManager",
        precision=_PRECISIONS[dtype],
        module="continuous_batching",
        arguments=[str(weights), "--device", place.device, "--dtype", dtype, *([] if place.is_cuda else bounds)],
    )


def plain_generate(place: Place, weights: Path, *, dtype: str) -> DeviceLines:
    """What one writes first, a thread for each stream."""
    return DeviceLines(
        "generate",
        place,
        title="transformers `generate`, a thread per stream",
        precision=_PRECISIONS[dtype],
        module="generate",
        arguments=[str(weights), "--device", place.device, "--dtype", dtype],
    )


_PRECISIONS = {"bfloat16": "bf16", "float16": "fp16"}
