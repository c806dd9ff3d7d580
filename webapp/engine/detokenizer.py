"""Token ids to text with the tokenizer's own decoder, a few ids at a time. Knows nothing of stop sequences."""

from collections.abc import Container, Mapping
from types import MappingProxyType

from tokenizers import Tokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenizerDetokenizer:
    """The text of a growing list of token ids; special tokens are skipped.

    Only a window is decoded: the ids whose text is still open, after those of the last piece. The latter
    are context: some decoders drop the leading space of what they decode first. After one of `open_ids` no
    text is certain yet. `shown` are the special tokens that are not skipped, and what they say.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        open_ids: frozenset[int] = frozenset(),
        shown: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        self._tokenizer = tokenizer
        self._open_ids = open_ids
        self._special = shown
        self._window: list[int] = []
        self._context_ids = 0
        # What the window says and has been returned.
        self._shown = ""

    def push(self, token_id: int) -> str:
        if token_id in self._special:
            text = self.flush() + self._special[token_id]
            self._window, self._context_ids, self._shown = [], 0, ""
            return text
        self._window.append(token_id)
        if token_id in self._open_ids:
            return ""
        text = self._decode(self._window)
        # An incomplete character is one replacement character, whatever it has of its bytes.
        certain = text.removesuffix(_REPLACEMENT)
        piece = certain[len(self._shown) :]
        if not piece:
            return ""
        self._shown = certain
        if certain == text:
            self._window = self._window[self._context_ids :]
            self._context_ids = len(self._window)
            self._shown = self._decode(self._window)
        return piece

    def flush(self) -> str:
        return self._decode(self._window)[len(self._shown) :]

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)


def open_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """Byte tokens such as <0x0A>, where a tokenizer has them, and the special tokens that may stand between.

    One wrong byte makes replacement characters of its whole run, so a run is open until other text ends it.
    """
    ids = (tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
    byte_ids = frozenset(token_id for token_id in ids if token_id is not None)
    added = tokenizer.get_added_tokens_decoder()
    return byte_ids | {token_id for token_id, token in added.items() if token.special} if byte_ids else byte_ids


def special_ids(tokenizer: Tokenizer, contents: Container[str]) -> dict[int, str]:
    """Those of `contents` that are special tokens of this tokenizer, which its decoder would skip."""
    added = tokenizer.get_added_tokens_decoder()
    return {token_id: token.content for token_id, token in added.items() if token.special and token.content in contents}
