"""Pieces joined are the whole decoded text, whatever the token ids."""

import random

import pytest
from tokenizers import Tokenizer, decoders, models
from transformers import PreTrainedTokenizerFast

from webapp.engine.detokenizer import TokenizerDetokenizer, open_ids

_TEXTS = (
    "हिन्दी में क्षत्रिय और श्रीमान् लिखना।",
    "السَّلامُ عَلَيْكُم ورحمة الله",
    "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🇪🇺 ❤️‍🔥",
    "漢字かな交じり文と한국어",
    "  leading, trailing and \t\n\n inner spaces  ",
    "Zalgo: h̷̢̛e̶̡ l̸p̵, \N{REPLACEMENT CHARACTER} itself, and a\u0301",
    "<|im_start|>user\nHi<|im_end|>",
)


@pytest.fixture(scope="module")
def llama_like() -> Tokenizer:
    """A tokenizer as Llama 2 has one: word pieces marked by a low line, unknown characters as byte tokens."""
    words = ["▁", "▁a", "b", "▁the", "é", "🌋", "▁▁"]
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *words]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def _pieces(tokenizer: Tokenizer, token_ids: list[int]) -> list[str]:
    detokenizer = TokenizerDetokenizer(tokenizer, open_ids=open_ids(tokenizer))
    return [*(detokenizer.push(token_id) for token_id in token_ids), detokenizer.flush()]


@pytest.mark.parametrize("text", _TEXTS)
def test_pieces_of_hard_texts_are_whole_characters(tokenizer: PreTrainedTokenizerFast, text: str):
    token_ids = tokenizer(text)["input_ids"]

    pieces = _pieces(tokenizer.backend_tokenizer, token_ids)

    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if "\N{REPLACEMENT CHARACTER}" not in text:
        assert not any("\N{REPLACEMENT CHARACTER}" in piece for piece in pieces)


def test_pieces_of_random_ids_are_the_whole_text(tokenizer: PreTrainedTokenizerFast):
    chance = random.Random(1)
    for _ in range(3000):
        token_ids = [chance.randrange(len(tokenizer)) for _ in range(chance.randrange(1, 30))]

        whole = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert "".join(_pieces(tokenizer.backend_tokenizer, token_ids)) == whole


def test_pieces_of_random_bytes_are_the_whole_text(tokenizer: PreTrainedTokenizerFast):
    chance = random.Random(2)
    byte_ids = [token_id for piece, token_id in tokenizer.get_vocab().items() if len(piece) == 1]
    for _ in range(3000):
        token_ids = chance.choices(byte_ids, k=chance.randrange(1, 12))

        whole = tokenizer.decode(token_ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        assert "".join(_pieces(tokenizer.backend_tokenizer, token_ids)) == whole


def test_pieces_of_byte_fallback_tokens_are_the_whole_text(llama_like: Tokenizer):
    chance = random.Random(3)
    euro = [3 + byte for byte in "€".encode()]
    for _ in range(3000):
        one_of_all = [[chance.randrange(llama_like.get_vocab_size())] for _ in range(chance.randrange(1, 14))]
        parts = [chance.choice((euro, other)) for other in one_of_all]
        token_ids = [token_id for part in parts for token_id in part]

        assert "".join(_pieces(llama_like, token_ids)) == llama_like.decode(token_ids, skip_special_tokens=True)


def test_text_cut_inside_a_character_ends_with_the_replacement_character(tokenizer: PreTrainedTokenizerFast):
    token_ids = tokenizer("ok 👩🏽‍🚀")["input_ids"][:-1]

    pieces = _pieces(tokenizer.backend_tokenizer, token_ids)

    assert pieces[-1].endswith("\N{REPLACEMENT CHARACTER}")
    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=True)
