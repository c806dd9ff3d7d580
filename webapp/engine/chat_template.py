"""What was asked to the token ids of a prompt, through the model's own chat template."""

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerFast

from webapp.engine.errors import InvalidPrompt
from webapp.wire.generation import GenerationRequest, Message


def prompt_token_ids(tokenizer: PreTrainedTokenizerFast, request: GenerationRequest) -> list[int]:
    """The prompt as the model reads it: at least one token id. Raises InvalidPrompt.

    A raw prompt is tokenised as it is, with the special tokens the tokenizer adds by itself; any other
    goes through the chat template, which writes its own.
    """
    if request.raw and request.prompt is not None:
        token_ids = _without_second_bos(tokenizer, _encode(tokenizer, request.prompt, add_special_tokens=True))
    else:
        messages = request.messages or (Message("user", request.prompt or ""),)
        text = _render(tokenizer, messages)
        has_template = tokenizer.chat_template is not None
        token_ids = _encode(tokenizer, text, add_special_tokens=not has_template)
    if not token_ids:
        raise InvalidPrompt("The prompt is empty.")
    return token_ids


def _render(tokenizer: PreTrainedTokenizerFast, messages: tuple[Message, ...]) -> str:
    if tokenizer.chat_template is None:
        return _transcript(messages)
    turns = [{"role": message.role, "content": message.content} for message in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise InvalidPrompt(f"The model's chat template refuses these messages: {error}") from error
    assert isinstance(text, str)
    return text


def _transcript(messages: tuple[Message, ...]) -> str:
    """A plain conversation, for a model without a chat template."""
    turns = [f"{message.role.capitalize()}: {message.content}\n" for message in messages]
    return "".join(turns) + "Assistant:"


def _encode(tokenizer: PreTrainedTokenizerFast, text: str, *, add_special_tokens: bool) -> list[int]:
    # verbose=False: no warning about a text longer than the model; the runner checks the length.
    return tokenizer(text, add_special_tokens=add_special_tokens, verbose=False)["input_ids"]


def _without_second_bos(tokenizer: PreTrainedTokenizerFast, token_ids: list[int]) -> list[int]:
    """A raw prompt that was written with its BOS gets no second one from the tokenizer."""
    bos = tokenizer.bos_token_id
    return token_ids[1:] if bos is not None and token_ids[:2] == [bos, bos] else token_ids
