"""Token ids to text with the tokenizer's own decoder, a few ids at a time. Knows nothing of stop sequences."""

from tokenizers import Tokenizer

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"


class TokenizerDetokenizer:
    """The text of a growing list of token ids; special tokens are skipped.

    Only a window is decoded: the ids whose text is still open, after those of the last piece. The latter
    are context: some decoders drop the leading space of what they decode first.
    """

    def __init__(self, tokenizer: Tokenizer, *, byte_ids: frozenset[int] = frozenset()) -> None:
        self._tokenizer = tokenizer
        self._byte_ids = byte_ids
        self._window: list[int] = []
        self._context_ids = 0
        self._context_text = ""

    def push(self, token_id: int) -> str:
        self._window.append(token_id)
        # One wrong byte makes replacement characters of its whole run of byte tokens, so a run is open until it ends.
        if token_id in self._byte_ids:
            return ""
        text = self._decode(self._window)
        if text.endswith(_REPLACEMENT) or len(text) <= len(self._context_text):
            return ""
        piece = text[len(self._context_text) :]
        self._window = self._window[self._context_ids :]
        self._context_ids = len(self._window)
        self._context_text = self._decode(self._window)
        return piece

    def flush(self) -> str:
        return self._decode(self._window)[len(self._context_text) :]

    def _decode(self, token_ids: list[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True)


def byte_fallback_ids(tokenizer: Tokenizer) -> frozenset[int]:
    """The ids of the tokens that stand for one byte each, such as <0x0A>; empty for most tokenizers."""
    ids = (tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
    return frozenset(token_id for token_id in ids if token_id is not None)
