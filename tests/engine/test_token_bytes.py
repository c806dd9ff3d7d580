"""What each token says, byte for byte, in every family of tokenizers."""

import pytest
from transformers import PreTrainedTokenizerFast

from tests.engine.small_tokenizers import llama_like, metaspace_like
from tests.engine.tiny import tiny_tokenizer
from webapp.engine.token_bytes import TokenBytes

_TEXT = "Hi  there,\n\tनमस्ते 👩🏽‍🚀 \x00\x7f naïve €"


def _joined(token_bytes: TokenBytes, token_ids: list[int]) -> bytes:
    return b"".join(token_bytes.of(token_id, is_first=at == 0) for at, token_id in enumerate(token_ids))


@pytest.mark.parametrize("text", [_TEXT, " " + _TEXT, "   "])
def test_the_bytes_of_a_byte_level_text_are_its_utf8(tokenizer: PreTrainedTokenizerFast, text: str):
    token_bytes = TokenBytes(tokenizer.backend_tokenizer)

    assert _joined(token_bytes, tokenizer(text)["input_ids"]) == text.encode()


def test_every_single_byte_is_itself():
    tokenizer = tiny_tokenizer()
    token_bytes = TokenBytes(tokenizer.backend_tokenizer)

    assert {token_bytes.of(token_id) for token_id in range(256)} == {bytes([byte]) for byte in range(256)}


@pytest.mark.parametrize("text", ["a the é", "ab 🌋", "€ a", "ไทย क्ष x"])
def test_the_bytes_of_a_text_with_byte_fallback_are_its_utf8(text: str):
    tokenizer = llama_like()

    assert _joined(TokenBytes(tokenizer), tokenizer.encode(text).ids) == text.encode()


def test_a_word_keeps_its_space_but_at_the_start():
    for tokenizer in (llama_like(), metaspace_like()):
        token_bytes = TokenBytes(tokenizer)
        word = tokenizer.token_to_id("▁the")

        assert token_bytes.of(word) == b" the"
        assert token_bytes.of(word, is_first=True) == b"the"


def test_a_special_token_says_its_name_and_an_unknown_id_nothing(tokenizer: PreTrainedTokenizerFast):
    token_bytes = TokenBytes(tokenizer.backend_tokenizer)

    assert token_bytes.of(tokenizer.convert_tokens_to_ids("<|im_end|>")) == b"<|im_end|>"
    assert token_bytes.of(10_000_000) == b""
