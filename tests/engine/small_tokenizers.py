"""Small tokenizers, each with the decoder of a family of models."""

from tokenizers import Tokenizer, decoders, models, normalizers

# Its words are those that the hard texts of the tests are made of, and a few that begin in the middle of one.
_WORDS = (
    "▁",
    "▁a",
    "b",
    "▁the",
    "é",
    "🌋",
    "▁▁",
    "a",
    "e",
    "क",
    "्",
    "ष",
    "▁क",
    "ا",
    "ل",
    "ไ",
    "ทย",
    "👩",
    "\u200d",
    "\n",
    "i",
)


def llama_like() -> Tokenizer:
    """As Llama 2 has it (sentencepiece): pieces marked by a low line, unknown characters as byte tokens."""
    pieces = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *_WORDS]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>", byte_fallback=True))
    tokenizer.add_special_tokens(["<unk>", "<s>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def metaspace_like() -> Tokenizer:
    """As T5 and older sentencepiece conversions have it: a metaspace decoder, and no bytes."""
    pieces = ["<unk>", "</s>", *_WORDS]
    vocabulary = {piece: at for at, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="<unk>"))
    tokenizer.add_special_tokens(["<unk>", "</s>"])
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Metaspace()
    return tokenizer
