"""The GPU benchmark: its small shape on the processor, with real processes, and its arithmetic for a GPU."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from benchmarks.contenders.contender import Program
from benchmarks.environments import PROJECT_FOLDER
from benchmarks.gpu.catalogue import Entry, fitted, published_entry, short_entry, write_catalog
from benchmarks.gpu.deadline import Deadline
from benchmarks.gpu.goals import goals, share_of_bandwidth
from benchmarks.gpu.measure import Measuring
from benchmarks.gpu.model_folder import TokenizerUnfit, cut_tokenizer
from benchmarks.gpu.place import Place
from benchmarks.gpu.plan import ON_GPU, PARTS
from benchmarks.gpu.report import markdown
from benchmarks.gpu.results import DeviceFacts, FirstTokens, GpuResults, GpuRun, Measured, ShapeFacts, joined, read
from benchmarks.gpu.shape import LLAMA_2_7B, Variant
from benchmarks.gpu.tenures import VARIANTS, Setting, planned
from benchmarks.peers.engine import Driver
from benchmarks.prompts import PromptMaker
from benchmarks.results import Bandwidth
from benchmarks.streams import Figures
from tests.engine.tiny import tiny_runner
from webapp.catalog import read_catalog

GB = 10**9


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tokenizer of some more tokens than the small shape has."""
    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    text = [path.read_text("utf-8") for path in sorted((PROJECT_FOLDER / "docs").glob("*.md"))]
    trained.train_from_iterator(text, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet))
    folder = tmp_path_factory.mktemp("tokenizer")
    trained.save(str(folder / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def small_run(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """What the smallest run with every kind of contender prints, and the stem of its files."""
    folder = tmp_path_factory.mktemp("run")
    chosen = ["--parts", "bandwidth,engine,peers,server", "--variants", "fp16", "--streams", "2", "--minutes", "2"]
    folders = ["--tokenizer", str(tokenizer), "--weights", str(folder / "weights"), "--output", str(folder)]
    command = [sys.executable, "-m", "benchmarks.gpu", *chosen, *folders]
    done = subprocess.run(command, cwd=PROJECT_FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    yield done.stdout, next(folder.glob("*.json")).with_suffix("")


@pytest.mark.timeout(180)
def test_small_run_measures_engine_server_and_peer_with_real_processes(small_run: tuple[str, Path]) -> None:
    found = read(small_run[1].with_suffix(".json"))

    assert {run.contender for run in found.runs} >= {"engine-fp16", "server-fp16"}
    assert {run.contender for run in found.runs} & {"batching-manager", "transformers-serve"}
    assert found.failures == []
    assert [run.figures.complete_share for run in found.runs if run.figures] == [1.0] * len(found.runs)
    assert all(run.figures and run.figures.completion_tokens == 2 * run.new_tokens for run in found.runs)
    assert found.bandwidth
    assert found.bandwidth.bytes_per_second > GB


def test_small_run_says_that_nothing_is_about_a_gpu(small_run: tuple[str, Path]) -> None:
    printed, stem = small_run
    text = stem.with_suffix(".md").read_text("utf-8")

    assert printed.startswith("No GPU here")
    assert stem.name.endswith("-cpu-shape")
    assert text.startswith("# A small shape on a processor")
    assert "nothing here is about a GPU" in text.splitlines()[0]
    assert "Goals" not in text
    assert str(stem.parent) not in text


def test_llama_has_its_weights_and_int8_reads_half_of_them() -> None:
    assert LLAMA_2_7B.parameters == 6_738_415_616
    assert LLAMA_2_7B.cache_bytes == 524_288
    assert LLAMA_2_7B.bytes_read("fp16") == 2 * (6_738_415_616 - 32_000 * 4096)
    assert 0.50 < LLAMA_2_7B.bytes_read("int8") / LLAMA_2_7B.bytes_read("fp16") < 0.52


def test_slots_are_as_many_as_the_device_holds() -> None:
    def slots(memory: int, *entries: Entry) -> list[int]:
        return [entry.slots for entry in fitted(entries, LLAMA_2_7B, memory_bytes=memory)]

    assert slots(141 * GB, short_entry("fp16"), published_entry("fp16")) == [64, 16]
    assert slots(80 * GB, short_entry("fp16"), published_entry("fp16")) == [64, 2]
    assert slots(24 * GB, published_entry("fp16")) == [1]
    assert slots(24 * GB, short_entry("int8"), published_entry("int8")) == [24]
    assert slots(8 * GB, short_entry("int8")) == []


def test_own_catalogue_is_one_that_jeton_reads(tmp_path: Path) -> None:
    entries = [short_entry("fp16"), published_entry("int8"), short_entry("int8", outlier_threshold=6.0)]

    read_back = read_catalog(write_catalog(entries, tmp_path / "it's", tmp_path)).entries

    assert [(one.precision, one.context_window, one.sequence_length, one.slots) for one in read_back] == [
        ("full", 640, 256, 64),
        ("int8", 2048, 1800, 16),
        ("int8", 640, 256, 64),
    ]
    assert [one.outlier_threshold for one in read_back] == [None, None, 6.0]
    assert read_back[0].weights.folder == str(tmp_path / "it's")


def test_cut_tokenizer_has_its_first_tokens_and_reads_any_text(tokenizer: Path) -> None:
    content = json.loads((tokenizer / "tokenizer.json").read_bytes())

    cut = Tokenizer.from_str(json.dumps(cut_tokenizer(content, vocabulary=300)))

    assert cut.get_vocab_size() == 300
    text = "Jeton streams, ça marche."
    assert cut.decode(cut.encode(text).ids) == text
    with pytest.raises(TokenizerUnfit, match="600"):
        cut_tokenizer(content, vocabulary=601)


def test_plan_on_a_gpu_has_every_contender_once_and_says_what_cannot_be(tokenizer: Path) -> None:
    tenures, left_out = planned(gpu_setting(tokenizer, missing_for_serve=["openai"]))

    names = [tenure.name for tenure in tenures]
    assert names[:5] == ["engine-fp16", "engine-int8", "batching-manager", "server-fp16", "server-int8"]
    assert set(names[5:]) == {
        "generate",
        "engine-int8-0",
        "engine-int8-6",
        *(f"engine-{way}-{graphs}" for way in ("fp16", "int8", "int8-0") for graphs in ("plain", "off")),
    }
    assert [load.name for _, load in tenures[3].limits] == ["8 × 3040 in, 2500 out"]
    assert left_out == ["`transformers serve`: openai not installed; its ContinuousBatchingManager is measured"]


def test_plan_leaves_int8_out_where_its_library_is_missing(tokenizer: Path) -> None:
    tenures, left_out = planned(gpu_setting(tokenizer, missing_for_int8=["bitsandbytes"]))

    assert {tenure.variant for tenure in tenures} == {"fp16"}
    assert left_out == ["int8: bitsandbytes is not installed"]


def gpu_setting(tokenizer: Path, **facts: list[str]) -> Setting:
    return Setting(
        place=Place("0"),
        device=DeviceFacts(is_cuda=True, **facts),  # pyright: ignore[reportArgumentType]
        shape=LLAMA_2_7B,
        weights=tokenizer,
        scale=ON_GPU,
        prompt_maker=PromptMaker(tokenizer / "tokenizer.json"),
        parts=PARTS,
        variants=VARIANTS,
        memory_bytes=141 * GB,
    )


def test_what_there_is_no_time_for_is_left_out_and_named(tokenizer: Path, tmp_path: Path) -> None:
    setting = gpu_setting(tokenizer)
    found = gpu_results()
    measuring = Measuring(
        setting, found, Deadline(20.0), folder=tmp_path, rounds=1, is_profiled=False, keep=lambda: None
    )

    measuring.measure(planned(setting)[0][0])

    assert found.left_out[0].startswith("engine-fp16: ")
    assert "it takes about 70 s" in found.left_out[0]
    assert found.contenders == []


class Sleeper(Program):
    """Answers nobody."""

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-c", "import time; time.sleep(600)"]

    def wait_until_ready(self) -> None:
        assert self._process
        self._process.wait()


def test_who_has_not_ended_at_the_deadline_is_killed() -> None:
    sleeper = Sleeper("sleeper")
    try:
        with Deadline(0.5).kills(sleeper):
            sleeper.start()

        assert not sleeper.is_running
    finally:
        sleeper.stop()


def test_driver_and_memory_of_the_device_are_what_its_own_tool_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\ncase "$*" in *GPU-abc*memory*) echo 1234 ;; *GPU-abc*) echo 580.1 ;; esac\n', "utf-8")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    place = Place("0", uuid="abc")

    assert (place.driver(), place.used_bytes()) == ("580.1", 1234 * 2**20)
    assert place.environ["CUDA_VISIBLE_DEVICES"] == "0"
    tool.unlink()
    assert place.used_bytes() is None
    assert (Place("").driver(), Place("").environ["JETON_DEVICE"]) == (None, "cpu")


def test_engine_alone_writes_logits_and_profiles_a_step_of_all_its_streams(tmp_path: Path) -> None:
    entry = read_catalog(write_catalog([short_entry("fp16")], tmp_path, tmp_path)).entries[0]
    driver = Driver(entry, tiny_runner())
    target = tmp_path / "logits.npy"
    prompts = [{"text": "one", "seed": 1}, {"text": "another", "seed": 2}]

    driver.answer({"ask": "logits", "token_ids": [5, 6, 7], "target": str(target)})
    sampling = {"temperature": 0.7, "top_p": 0.9, "top_k": 50}
    profile = driver.answer({"ask": "profile", "prompts": prompts, "max_tokens": 100, "sampling": sampling})
    run = driver.answer({"prompts": prompts, "max_tokens": 4, "sampling": sampling})

    assert np.load(target).shape == (3, 256)
    assert profile["step_microseconds"] > 0
    assert profile["kernels"][0]["microseconds"] >= profile["kernels"][-1]["microseconds"] > 0
    assert [stream["completion_tokens"] for stream in run["streams"]] == [4, 4]


def test_goals_are_judged_by_what_was_found() -> None:
    found = gpu_results(
        run("engine-fp16", 1, 200.0),
        run("engine-int8", 1, 180.0),
        run("server-fp16", 64, 4000.0),
        run("transformers-serve", 64, 3000.0),
    )
    found.first_tokens = [FirstTokens(contender="server-fp16", prompt_tokens=500, seconds=[0.05, 0.9, 0.04])]

    assert share_of_bandwidth(found, "engine-fp16") == pytest.approx(200 * 13_214_687_232 / 4e12)
    assert [goal.is_met for goal in goals(found)] == [False, False, True, True]
    assert [goal.is_met for goal in goals(gpu_results())] == [None] * 4


def test_goals_compare_the_manager_with_our_engine_where_the_server_was_not_there() -> None:
    found = gpu_results(
        run("engine-fp16", 64, 3000.0), run("server-fp16", 64, 9000.0), run("batching-manager", 64, 4000.0)
    )

    assert [(goal.what, goal.found) for goal in goals(found)][2] == (
        "64 streams: tokens/s of engine-fp16 over batching-manager",
        0.75,
    )


def test_report_of_a_gpu_names_device_goals_and_what_was_left_out() -> None:
    found = gpu_results(run("engine-fp16", 1, 230.0), run("server-int8", 8, 900.0, is_limit=True))
    found.left_out = ["generate: 3 s were left, and it takes about 90 s"]
    found.failures = ["server-fp16: it ended:\nTraceback\nOSError: no"]

    text = markdown(found)

    assert text.startswith("# GPU benchmark of 2026-01-01: NVIDIA H200\n")
    assert "| fp16, one stream, engine alone: share of bandwidth / weight bytes | ≥ 70% | 76% | met |" in text
    assert "## Published limits: 8 × 128 in, 128 out" in text
    assert "- generate: 3 s were left, and it takes about 90 s" in text
    assert "- server-fp16: it ended: OSError: no" in text


def test_parts_of_one_commit_are_joined_into_one_report() -> None:
    parts = [gpu_results(run("engine-fp16", 1, 200.0)), gpu_results(run("engine-int8", 1, 300.0))]

    found = joined(parts)

    assert [goal.found for goal in goals(found)][1] == 1.5
    assert [one.name for one in found.contenders] == ["engine-fp16", "engine-int8"]
    parts[1].commit = "other"
    with pytest.raises(ValueError, match="one commit"):
        joined(parts)


def run(contender: str, streams: int, rate: float, *, is_limit: bool = False) -> GpuRun:
    return GpuRun(
        contender=contender,
        load=f"{streams} × 128 in, 128 out",
        streams=streams,
        prompt_tokens=128,
        new_tokens=128,
        is_limit=is_limit,
        round_number=0,
        figures=Figures(rate, rate, 0.05, 0.06, 0.01, 0.02, 1.0, 128 * streams, 136.0, 1.0),
    )


def gpu_results(*runs: GpuRun) -> GpuResults:
    def measured(name: str) -> Measured:
        variant: Variant = "int8" if "int8" in name else "fp16"
        is_ours, is_http = name.startswith(("engine", "server")), not name.startswith(("engine", "batching"))
        return Measured(
            name=name, title=name, precision="bf16", variant=variant, is_http=is_http, is_ours=is_ours, own_bytes=1
        )

    return GpuResults(
        date="2026-01-01",
        commit="abc",
        command="python -m benchmarks.gpu",
        machine={"processor": "A Processor"},
        versions={"torch": "2"},
        device=DeviceFacts(is_cuda=True, name="NVIDIA H200", memory_bytes=141 * GB),
        shape=ShapeFacts(
            name=LLAMA_2_7B.name,
            title=LLAMA_2_7B.title,
            parameters=LLAMA_2_7B.parameters,
            vocabulary=LLAMA_2_7B.vocabulary,
            positions=LLAMA_2_7B.positions,
            bytes_read={variant: LLAMA_2_7B.bytes_read(variant) for variant in VARIANTS},
        ),
        bandwidth=Bandwidth(bytes_per_second=4e12, ways={"copy": 4e12}),
        contenders=[measured(name) for name in dict.fromkeys(run.contender for run in runs)],
        runs=list(runs),
    )
