"""A step that fails: the one it fails for ends, the others say what they would have said."""

from collections.abc import Callable

import pytest
import torch

from tests.engine.driving import Answer, Drive, answer_of, request
from tests.engine.tiny import tiny_runner
from webapp.engine.decoding import is_out_of_memory
from webapp.engine.errors import DeviceLost
from webapp.engine.model import Chunk, Row
from webapp.engine.sampling import Sampler
from webapp.engine.slot_cache import SlotCache
from webapp.engine.slot_model import SlotModel
from webapp.wire.generation import Failed, Finished, GenerationRequest

_PROMPTS = [f"the good prompt of number {at}" for at in range(8)]
_CPU_OUT_OF_MEMORY = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to allocate "
    "4000000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


def _asked(prompt: str, **fields: object) -> GenerationRequest:
    return request(prompt, **({"raw": True, "temperature": 1.0, "max_tokens": 12} | fields))


def _answers_beside(
    poison: GenerationRequest, monkeypatch: pytest.MonkeyPatch, patch: Callable[[pytest.MonkeyPatch], None]
) -> tuple[Answer, list[Answer]]:
    """The answer to a poison, and those of others beside it, which are as they are alone."""
    expected = [answer_of(tiny_runner(slots=8), _asked(prompt)) for prompt in _PROMPTS[:7]]
    runner = tiny_runner(slots=8)
    drive = Drive(runner)
    patch(monkeypatch)
    before = [drive.start(_asked(prompt)) for prompt in _PROMPTS[:4]]
    drive.step(3)
    answer = drive.start(poison)
    after = [drive.start(_asked(prompt)) for prompt in _PROMPTS[4:7]]
    drive.finish()

    for other, alone in zip((*before, *after), expected, strict=True):
        assert other.token_ids == alone.token_ids
        assert other.end == alone.end
    assert isinstance(answer_of(runner, _asked(_PROMPTS[7])).end, Finished)
    return answer, [*before, *after]


def _raise_for_position(error: Exception, *, position: int) -> Callable[[pytest.MonkeyPatch], None]:
    """Decode steps fail while one of their rows is at this position."""

    def patch(monkeypatch: pytest.MonkeyPatch) -> None:
        decode = SlotModel.decode

        def poisoned(model: SlotModel, rows: list[Row]) -> torch.Tensor:
            if any(row.position == position for row in rows):
                raise error
            return decode(model, rows)

        monkeypatch.setattr(SlotModel, "decode", poisoned)

    return patch


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RuntimeError("secret detail"), "EngineFailure"),
        (RuntimeError(_CPU_OUT_OF_MEMORY), "OutOfMemory"),
        (torch.OutOfMemoryError("CUDA out of memory"), "OutOfMemory"),
        (MemoryError(), "OutOfMemory"),
    ],
    ids=["any", "CPU", "CUDA", "host"],
)
def test_a_step_that_fails_for_one_sequence_fails_that_one_alone(
    monkeypatch: pytest.MonkeyPatch, error: Exception, code: str
):
    poison = _asked("P" * 100)

    answer, _ = _answers_beside(poison, monkeypatch, _raise_for_position(error, position=105))

    assert isinstance(answer.end, Failed) and answer.end.code == code
    assert "secret" not in answer.end.message
    assert len(answer.token_ids) <= 6


def test_a_step_that_fails_once_fails_nobody(monkeypatch: pytest.MonkeyPatch):
    failures = iter([RuntimeError("once"), None, torch.OutOfMemoryError("once")])
    decode = SlotModel.decode

    def flaky(model: SlotModel, rows: list[Row]) -> torch.Tensor:
        error = next(failures, None) if len(rows) == 8 else None
        if error:
            raise error
        return decode(model, rows)

    poison = _asked("no poison at all", frequency_penalty=0.5)
    alone = answer_of(tiny_runner(), poison)

    answer, _ = _answers_beside(poison, monkeypatch, lambda patch: patch.setattr(SlotModel, "decode", flaky))

    assert answer.token_ids == alone.token_ids


def test_prompts_that_wait_are_read_together_and_each_says_what_it_says_alone(monkeypatch: pytest.MonkeyPatch):
    lengths: list[list[int]] = []
    prefill = SlotModel.prefill

    def counted(model: SlotModel, chunks: list[Chunk]) -> None:
        lengths.append([len(chunk.token_ids) for chunk in chunks])
        prefill(model, chunks)

    asked = [_asked(letter * length) for letter, length in (("a", 60), ("b", 60), ("c", 60), ("d", 400))]
    alone = [answer_of(tiny_runner(slots=8, slot_length=600), one) for one in asked]
    monkeypatch.setattr(SlotModel, "prefill", counted)
    drive = Drive(tiny_runner(slots=8, slot_length=600))
    answers = [drive.start(one) for one in asked]
    drive.finish()

    assert [answer.token_ids for answer in answers] == [answer.token_ids for answer in alone]
    # Up to 256 at once, of the shortest first; then 128 a turn beside those that run.
    assert lengths == [[59, 59, 59, 79], [128], [128], [64]]


@pytest.mark.parametrize("is_prompt", [True, False], ids=["prefill", "decode"])
def test_a_lost_device_is_no_fault_of_a_generation(monkeypatch: pytest.MonkeyPatch, *, is_prompt: bool):
    def lost(*_: object, **__: object) -> None:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    drive = Drive(runner := tiny_runner(slots=8))
    answers = [drive.start(_asked(prompt)) for prompt in _PROMPTS]
    monkeypatch.setattr(SlotModel, "prefill" if is_prompt else "decode", lost)
    # A lost device makes nothing zero either.
    monkeypatch.setattr(SlotCache, "forget", lost)

    with pytest.raises(DeviceLost, match="illegal memory access"):
        drive.step(10)

    assert not any(answer.end for answer in answers)
    assert len(runner.leases) > 0


def test_a_failure_of_all_ends_all_and_leaves_the_runner_usable(monkeypatch: pytest.MonkeyPatch):
    steps = 0

    def broken(model: SlotModel, rows: list[Row]) -> torch.Tensor:
        nonlocal steps
        steps += 1
        raise RuntimeError("secret detail")

    drive = Drive(runner := tiny_runner(slots=8))
    answers = [drive.start(_asked(prompt)) for prompt in _PROMPTS]
    with monkeypatch.context() as patch:
        patch.setattr(SlotModel, "decode", broken)
        drive.step(3)

    ends = {answer.end for answer in answers}
    assert ends == {Failed("EngineFailure", "The engine failed with RuntimeError.")}
    assert runner.leases == ()
    assert steps == 1 + 15
    assert isinstance(answer_of(runner, _asked(_PROMPTS[0])).end, Finished)


def test_a_parameter_that_no_sampler_takes_fails_its_own_generation(monkeypatch: pytest.MonkeyPatch):
    poison = _asked("a seed beyond 64 bits", seed=2**70)

    answer, _ = _answers_beside(poison, monkeypatch, lambda _: None)

    assert isinstance(answer.end, Failed) and answer.end.code == "EngineFailure"
    assert answer.text == ""


def test_a_sampler_that_fails_for_one_row_fails_that_one_alone(monkeypatch: pytest.MonkeyPatch):
    sample = Sampler.sample

    def poisoned(sampler: Sampler, logits: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        token_ids = sample(sampler, logits, positions)
        if (positions == 105).any():
            raise ValueError("after its tokens were counted")
        return token_ids

    poison = _asked("P" * 100, presence_penalty=1.0)
    answer, _ = _answers_beside(poison, monkeypatch, lambda patch: patch.setattr(Sampler, "sample", poisoned))

    assert isinstance(answer.end, Failed)
    assert len(answer.token_ids) <= 5


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_numbers_that_are_none_fail_their_sequence_and_leave_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, temperature: float
):
    prefill = SlotModel.prefill

    def poisoned(model: SlotModel, chunks: list[Chunk]) -> None:
        prefill(model, chunks)
        for chunk in chunks:
            if len(chunk.token_ids) > 90:
                for layer in range(2):
                    for tensor in model.cache.layer(layer):
                        tensor[chunk.slot, 50:90] = float("nan")

    poison = _asked("P" * 100, temperature=temperature)
    answer, _ = _answers_beside(poison, monkeypatch, lambda patch: patch.setattr(SlotModel, "prefill", poisoned))

    assert answer.end == Failed("EngineFailure", "The model's numbers are not finite.")
    assert answer.text == ""


def test_a_prefill_without_memory_gets_that_of_idle_prefixes(monkeypatch: pytest.MonkeyPatch):
    drive = Drive(runner := tiny_runner())
    drive.start(_asked("something to be forgotten"))
    drive.finish()
    held = runner._slots.held
    prefill = SlotModel.prefill

    def short_of_memory(model: SlotModel, chunks: list[Chunk]) -> None:
        if runner._slots.held >= held:
            raise RuntimeError(_CPU_OUT_OF_MEMORY)
        prefill(model, chunks)

    monkeypatch.setattr(SlotModel, "prefill", short_of_memory)

    assert isinstance(answer_of(runner, _asked("what needs the memory")).end, Finished)


def test_what_torch_says_without_memory_is_known():
    with pytest.raises(RuntimeError) as raised:
        torch.empty(10**15)

    assert is_out_of_memory(raised.value)
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    # Another than torch's allocator asked for memory: the device goes on.
    assert is_out_of_memory(torch.AcceleratorError("CUDA error: out of memory\nCUDA kernel errors might be …"))
    assert is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
