"""Prompts through the starter's own template, and through none."""

from collections.abc import Iterator
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from tests.engine.driving import request
from webapp.engine.chat_template import prompt_token_ids
from webapp.engine.errors import InvalidPrompt
from webapp.wire.generation import Message


@pytest.fixture
def changeable(tokenizer: PreTrainedTokenizerFast) -> Iterator[PreTrainedTokenizerFast]:
    """The tokenizer, its chat template put back afterwards."""
    template = tokenizer.chat_template
    yield tokenizer
    tokenizer.chat_template = template


def _text(tokenizer: PreTrainedTokenizerFast, **fields: Any) -> str:
    text = tokenizer.decode(prompt_token_ids(tokenizer, request(**fields)))
    assert isinstance(text, str)
    return text


def test_a_prompt_becomes_one_user_message(tokenizer: PreTrainedTokenizerFast):
    text = _text(tokenizer, prompt="Hi")

    assert text.startswith("<|im_start|>system\n")
    assert text.endswith("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")


def test_messages_keep_their_roles(tokenizer: PreTrainedTokenizerFast):
    messages = (Message("system", "Be brief."), Message("user", "A"), Message("assistant", "B"), Message("user", "C"))

    text = _text(tokenizer, prompt=None, messages=messages)

    assert text == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nA<|im_end|>\n"
        "<|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_raw_prompt_is_read_as_it_is(tokenizer: PreTrainedTokenizerFast):
    assert _text(tokenizer, prompt="  Once upon", raw=True) == "  Once upon"


def test_a_model_without_a_template_reads_a_transcript(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = None

    text = _text(changeable, prompt=None, messages=(Message("system", "Be brief."), Message("user", "Hi")))

    assert text == "System: Be brief.\nUser: Hi\nAssistant:"


def test_what_the_template_refuses_is_an_invalid_prompt(changeable: PreTrainedTokenizerFast):
    changeable.chat_template = "{{ raise_exception('Roles must alternate.') }}"

    with pytest.raises(InvalidPrompt, match="Roles must alternate"):
        prompt_token_ids(changeable, request("Hi"))


def test_an_empty_raw_prompt_is_invalid(tokenizer: PreTrainedTokenizerFast):
    with pytest.raises(InvalidPrompt):
        prompt_token_ids(tokenizer, request("", raw=True))


@pytest.mark.parametrize("raw", [True, False])
def test_a_template_or_prompt_with_its_own_bos_gets_no_second_one(changeable: PreTrainedTokenizerFast, raw: bool):
    bos = changeable.bos_token_id
    assert isinstance(bos, int)
    backend = changeable.backend_tokenizer
    before = backend.post_processor
    backend.post_processor = TemplateProcessing(single="<|im_start|> $A", special_tokens=[("<|im_start|>", bos)])
    changeable.chat_template = "<|im_start|>{{ messages[0].content }}"
    try:
        with_bos = prompt_token_ids(changeable, request("<|im_start|>Hi" if raw else "Hi", raw=raw))
    finally:
        backend.post_processor = before

    assert with_bos.count(bos) == 1
    assert with_bos[0] == bos
