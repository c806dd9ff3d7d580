"""What a generation is promised, on each device: its seed, its end, its memory, its prompt however it is read."""

import pytest
import torch

from tests.engine.driving import Drive, answer_of, request
from tests.engine.tiny import tiny_runner
from tests.gpu.places import BOTH, TOLERANCES, distance, model_of, place, prepare
from webapp.engine.model import Chunk, Row
from webapp.engine.slot_model import SlotModel
from webapp.wire.generation import Failed, Finished, GenerationRequest

_HALVES = [torch.float16, torch.bfloat16]
# More than any device has, and less than an address may be.
_TOO_MANY_BYTES = 10**15
_POISON_LENGTH = 100


def asked(prompt: str, **fields: object) -> GenerationRequest:
    return request(prompt, **({"raw": True, "temperature": 1.0, "max_tokens": 20} | fields))


@pytest.mark.parametrize("device", BOTH)
def test_seeded_text_is_equal_again_and_beside_others_in_fp32(device: str):
    runner = prepare(tiny_runner(slots=8, hardware=place(device)))
    story = asked("a story of a kite", seed=9_999_999_999, max_tokens=40)
    alone, again = answer_of(runner, story), answer_of(runner, story)
    drive = Drive(runner)

    for at in range(5):
        drive.start(asked(f"{at} " * (10 * at + 1), seed=at, max_tokens=10 + 7 * at, repetition_penalty=1 + at / 9))
    drive.step(3)
    beside = drive.start(story)
    drive.finish()

    assert again.token_ids == beside.token_ids == alone.token_ids
    assert len(set(alone.token_ids)) > 5


@pytest.mark.parametrize("dtype", _HALVES, ids=str)
@pytest.mark.parametrize("device", BOTH)
def test_in_16_bits_a_text_is_equal_again_and_a_row_beside_others_differs_by_rounding(device: str, dtype: torch.dtype):
    runner = prepare(tiny_runner(slots=8, hardware=place(device), dtype=dtype))
    story = asked("a story of a kite", seed=5)
    assert answer_of(runner, story).token_ids == answer_of(runner, story).token_ids
    model = model_of(runner)
    model.prefill([Chunk(slot, list(range(slot, slot + 50)), 0) for slot in range(8)])
    rows = [Row(slot, 7, 50) for slot in range(8)]
    alone = model.decode(rows[:1]).clone()

    assert torch.equal(model.decode(rows[:1]), alone)
    for count in (2, 4, 8):
        assert distance(model.decode(rows[:count])[:1], alone) < TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", [torch.float32, *_HALVES], ids=str)
@pytest.mark.parametrize("device", BOTH)
def test_a_prompt_in_chunks_gives_what_one_reading_gives(device: str, dtype: torch.dtype):
    model = model_of(tiny_runner(slots=4, hardware=place(device, "off"), dtype=dtype))
    prompt = [at * at % 256 for at in range(90)]
    logits = []
    for slot, size in enumerate((len(prompt), 5, 40)):
        for start in range(0, len(prompt), size):
            # Others beside it are no matter.
            beside = [Chunk(3, [1, 2, 3], 0)] if start == 40 else []
            model.prefill([Chunk(slot, prompt[start : start + size], start), *beside])
        logits.append(model.decode([Row(slot, 9, len(prompt))]).clone())

    for each in logits[1:]:
        assert distance(each, logits[0]) < TOLERANCES[dtype]


@pytest.mark.parametrize("device", BOTH)
def test_an_abort_frees_the_slot_within_a_step(device: str):
    drive = Drive(prepare(tiny_runner(slots=2, hardware=place(device))))
    kept, aborted = (drive.start(asked(f"number {at}", max_tokens=60)) for at in range(2))
    drive.step(3)
    refused = drive.start(asked("no room"))

    drive.abort(aborted)
    said = len(aborted.token_ids)
    following = drive.start(asked("the next one"))
    drive.step(2)

    assert isinstance(refused.end, Failed) and refused.end.code == "EngineFull"
    assert len(aborted.token_ids) == said and aborted.end is None
    assert following.token_ids
    drive.finish()
    assert isinstance(kept.end, Finished) and isinstance(following.end, Finished)


@pytest.mark.parametrize("where", ["prefill", "decode"])
@pytest.mark.parametrize("device", BOTH)
def test_a_lack_of_memory_fails_one_generation_and_the_others_end(
    monkeypatch: pytest.MonkeyPatch, device: str, where: str
):
    good = [asked(f"the good prompt of number {at}", seed=at) for at in range(6)]
    runner = prepare(tiny_runner(slots=8, hardware=place(device)))
    alone = [answer_of(runner, one).token_ids for one in good]
    _run_out_of_memory(monkeypatch, device, where)
    drive = Drive(runner)

    before = [drive.start(one) for one in good[:3]]
    drive.step(2)
    poison = drive.start(asked("P" * _POISON_LENGTH))
    after = [drive.start(one) for one in good[3:]]
    drive.finish()

    assert poison.end == Failed("OutOfMemory", "The engine ran out of memory.")
    assert [answer.token_ids for answer in (*before, *after)] == alone
    assert answer_of(runner, good[0]).token_ids == alone[0]


def _run_out_of_memory(monkeypatch: pytest.MonkeyPatch, device: str, where: str) -> None:
    """From now on a long prompt, or the steps behind it, ask the device's own allocator for what it cannot give."""
    prefill, decode = SlotModel.prefill, SlotModel.decode

    def hungry_prefill(model: SlotModel, chunks: list[Chunk]) -> None:
        if where == "prefill" and any(chunk.end > _POISON_LENGTH - 5 for chunk in chunks):
            torch.empty(_TOO_MANY_BYTES, dtype=torch.uint8, device=device)
        prefill(model, chunks)

    def hungry_decode(model: SlotModel, rows: list[Row]) -> torch.Tensor:
        if where == "decode" and any(row.position > _POISON_LENGTH for row in rows):
            torch.empty(_TOO_MANY_BYTES, dtype=torch.uint8, device=device)
        return decode(model, rows)

    monkeypatch.setattr(SlotModel, "prefill", hungry_prefill)
    monkeypatch.setattr(SlotModel, "decode", hungry_decode)
