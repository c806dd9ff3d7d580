"""The bytes that one token stands for. Knows nothing of sequences."""

from functools import cache

from tokenizers import Tokenizer
from tokenizers.decoders import ByteLevel


class TokenBytes:
    """What each token id of a tokenizer says by itself: bytes, as a token may end inside a UTF-8 character."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._added = {token_id: token.content for token_id, token in tokenizer.get_added_tokens_decoder().items()}
        self._is_byte_level = _is_byte_level(tokenizer)
        self._known: dict[tuple[int, bool], bytes] = {}

    def of(self, token_id: int, *, is_first: bool = False) -> bytes:
        """The token's bytes; of a special token its name, of an unknown id nothing.

        With `is_first` it begins a text: there some tokenizers drop the space that a word's token starts with.
        """
        key = token_id, is_first and not self._is_byte_level
        if key not in self._known:
            self._known[key] = self._bytes(token_id, is_first=is_first)
        return self._known[key]

    def _bytes(self, token_id: int, *, is_first: bool) -> bytes:
        if token_id in self._added:
            return self._added[token_id].encode()
        piece = self._tokenizer.id_to_token(token_id)
        if piece is None:
            return b""
        if self._is_byte_level:
            return b"".join(_byte(character) for character in piece)
        if len(piece) == 6 and piece.startswith("<0x") and piece.endswith(">"):
            return bytes.fromhex(piece[3:5])
        once = self._tokenizer.decode([token_id])
        return (once if is_first else self._tokenizer.decode([token_id, token_id])[len(once) :]).encode()


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    """By what its decoder makes of a piece that no other decoder reads as a space."""
    decoder = tokenizer.decoder
    return isinstance(decoder, ByteLevel) or (decoder is not None and decoder.decode(["Ġ"]) == " ")


def _byte(character: str) -> bytes:
    byte = _bytes_by_character().get(character)
    return character.encode() if byte is None else bytes([byte])


@cache
def _bytes_by_character() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the others for the characters from U+0100 on.

    Source: openai/gpt-2, src/encoder.py, bytes_to_unicode.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + at): byte for at, byte in enumerate(others)}
