"""Pieces joined are the whole decoded text, whatever the token ids."""

import random
import time

import pytest
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from tests.engine.small_tokenizers import llama_like, metaspace_like
from tests.engine.tiny import tiny_tokenizer
from webapp.engine.detokenizer import TokenizerDetokenizer, open_ids, special_ids

_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_TEXTS = {
    "Devanagari": "हिन्दी में क्षत्रिय और श्रीमान् लिखना। ज्ञ त्र ड़ ढ़ ॐ ०१२",
    "Bengali": "বাংলা ভাষায় ক্ষুদ্র যুক্তাক্ষর: ঙ্ক, ঞ্চ, র‍্য",
    "Tamil": "தமிழ் எழுத்துகள் க்ஷ ஸ்ரீ கொ",
    "Arabic": "السَّلامُ عَلَيْكُم ورحمة الله ﷺ لا ﻻ ٠١٢",
    "Urdu": "اُردُو میں نستعلیق ہے، ‏(دائیں سے بائیں)‏",
    "Hebrew": "בְּרֵאשִׁית בָּרָא אֱלֹהִים",
    "Thai": "ภาษาไทยไม่มีช่องว่าง น้ำ ก็ ที่ ๑๒๓",
    "Khmer": "ភាសាខ្មែរ ស្ត្រី",
    "Tibetan": "བོད་སྐད་ རྒྱ",
    "Burmese": "မြန်မာဘာသာ က္က",
    "Hangul": "한국어 각 갂 뷁",
    "Hangul jamo": "\u1112\u1161\u11ab\u1100\u1173\u11af ㄱㄴㄷ \u115f\u1160",
    "Japanese": "漢字かな交じり文、が\u3099 ﾊﾝｶｸ 𠮷野家 葛󠄀",
    "Chinese": "汉字简体與繁體「引號」龘𪚥",
    "Vietnamese": "Tiếng Việt: ễ ặ ự — e\u0302\u0301",
    "Greek and Cyrillic": "Ἀρχὴ σοφίας. Съешь ещё этих мягких булок, ѣ ҈",
    "Ethiopic and Cherokee": "አማርኛ ፩፪ ᏣᎳᎩ",
    "emoji with joiners": "👨‍👩‍👧‍👦 👩🏽‍🚀 🏳️‍🌈 🧑🏿‍🤝‍🧑🏻 ❤️‍🔥 🏴‍☠️",
    "skin tones and flags": "👍🏻👍🏿 🇪🇺🇫🇷🇺🇸 🏴\U000e0067\U000e0062\U000e0073\U000e0063\U000e0074\U000e007f 1️⃣ #️⃣",
    "combining marks": "Zalgo: h̷̢̛e̶̡ l̸p̵, a\u0301\u0323\u0308 \u0301 o\u20dd",
    "spaces": "  leading, trailing" + " " * 300 + "and \t\n\n\r\n inner \u00a0\u2003\u3000\u200b\ufeff spaces   ",
    "control characters": "".join(map(chr, range(0x20))) + "\x7f\x80\x85\x9f\u2028\u2029\u202e\u2066",
    "mathematics and symbols": "𝔐𝕒𝖙𝚑 ∑∫√ ½ ﬃ ™ ™️ 𓀀𓂀 𒀀 🀄 𝄞 ⠓⠑",
    "noncharacters": "\ufffe\uffff \U0001fffe \U0010ffff \ue000",
    "replacement characters": f"{_REPLACEMENT} itself, {_REPLACEMENT * 5} and at the end {_REPLACEMENT}",
    "special tokens": "<|im_start|>user\nHi<|im_end|> </s> <0x0A> ▁",
    "code": "def f(x):\n\t\treturn {'é': x ** 2}  # ✓\n" * 2,
}
_CHARACTERS = sorted({character for text in _TEXTS.values() for character in text})


@pytest.fixture(scope="module", params=["starter", "bytes", "llama_like", "metaspace_like"])
def any_tokenizer(request: pytest.FixtureRequest) -> Tokenizer:
    match request.param:
        case "starter":
            return request.getfixturevalue("tokenizer").backend_tokenizer
        case "bytes":
            return tiny_tokenizer().backend_tokenizer
        case "llama_like":
            return llama_like()
        case _:
            return metaspace_like()


def _pieces(tokenizer: Tokenizer, token_ids: list[int]) -> list[str]:
    detokenizer = TokenizerDetokenizer(tokenizer, open_ids=open_ids(tokenizer))
    return [*(detokenizer.push(token_id) for token_id in token_ids), detokenizer.flush()]


def _assert_whole(tokenizer: Tokenizer, token_ids: list[int]) -> None:
    pieces = _pieces(tokenizer, token_ids)
    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=True), token_ids


def _random_text(chance: random.Random) -> str:
    """Characters of all the hard texts, in runs as they stand there and mixed, and some that stand nowhere."""
    parts = []
    for _ in range(chance.randrange(1, 5)):
        match chance.randrange(5):
            case 0 | 1:
                text = chance.choice(list(_TEXTS.values()))
                start = chance.randrange(len(text))
                parts.append(text[start : start + chance.randrange(1, 12)])
            case 2:
                parts.append("".join(chance.choices(_CHARACTERS, k=chance.randrange(1, 6))))
            case 3:
                parts.append(" " * chance.randrange(1, 30))
            case _:
                code = chance.randrange(0x110000)
                parts.append(chr(code) if not 0xD800 <= code < 0xE000 else "?")
    return "".join(parts)


@pytest.mark.parametrize("text", _TEXTS.values(), ids=_TEXTS)
def test_pieces_of_hard_texts_are_the_whole_text(any_tokenizer: Tokenizer, text: str):
    token_ids = any_tokenizer.encode(text, add_special_tokens=False).ids

    _assert_whole(any_tokenizer, token_ids)
    if _REPLACEMENT not in text:
        assert not any(_REPLACEMENT in piece for piece in _pieces(any_tokenizer, token_ids))


@pytest.mark.parametrize("text", _TEXTS.values(), ids=_TEXTS)
def test_a_text_cut_anywhere_is_what_its_tokens_say(any_tokenizer: Tokenizer, text: str):
    token_ids = any_tokenizer.encode(text, add_special_tokens=False).ids[:60]

    for cut in range(len(token_ids)):
        _assert_whole(any_tokenizer, token_ids[:cut])


def test_pieces_of_ten_thousand_random_texts_are_the_whole_text(tokenizer: PreTrainedTokenizerFast):
    chance = random.Random(0)
    texts = [_random_text(chance) for _ in range(10_000)]

    for encoding in tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False):
        _assert_whole(tokenizer.backend_tokenizer, encoding.ids)


def test_pieces_of_random_texts_are_the_whole_text(any_tokenizer: Tokenizer):
    chance = random.Random(1)
    for _ in range(1500):
        token_ids = any_tokenizer.encode(_random_text(chance), add_special_tokens=False).ids
        _assert_whole(any_tokenizer, token_ids)


def test_pieces_of_random_ids_are_the_whole_text(any_tokenizer: Tokenizer):
    chance = random.Random(2)
    for _ in range(2500):
        _assert_whole(any_tokenizer, chance.choices(range(any_tokenizer.get_vocab_size()), k=chance.randrange(1, 30)))


def test_pieces_of_random_bytes_are_the_whole_text(tokenizer: PreTrainedTokenizerFast):
    chance = random.Random(3)
    byte_ids = [token_id for piece, token_id in tokenizer.get_vocab().items() if len(piece) == 1]
    for _ in range(2500):
        _assert_whole(tokenizer.backend_tokenizer, chance.choices(byte_ids, k=chance.randrange(1, 12)))


def test_invalid_bytes_in_the_middle_of_a_text_are_the_whole_text(tokenizer: PreTrainedTokenizerFast):
    chance = random.Random(4)
    byte_ids = [token_id for piece, token_id in tokenizer.get_vocab().items() if len(piece) == 1]
    for _ in range(1000):
        token_ids = tokenizer.backend_tokenizer.encode(_random_text(chance)).ids
        at = chance.randrange(len(token_ids) + 1)
        token_ids[at:at] = chance.choices(byte_ids, k=chance.randrange(1, 4))
        _assert_whole(tokenizer.backend_tokenizer, token_ids)


def test_pieces_of_byte_fallback_tokens_are_the_whole_text():
    tokenizer = llama_like()
    chance = random.Random(5)
    euro = [3 + byte for byte in "€".encode()]
    for _ in range(2500):
        one_of_all = [[chance.randrange(tokenizer.get_vocab_size())] for _ in range(chance.randrange(1, 14))]
        parts = [chance.choice((euro, other)) for other in one_of_all]
        _assert_whole(tokenizer, [token_id for part in parts for token_id in part])


def test_text_cut_inside_a_character_ends_with_the_replacement_character(tokenizer: PreTrainedTokenizerFast):
    token_ids = tokenizer("ok 👩🏽‍🚀")["input_ids"][:-1]

    pieces = _pieces(tokenizer.backend_tokenizer, token_ids)

    assert pieces[-1].endswith(_REPLACEMENT)
    assert "".join(pieces) == tokenizer.decode(token_ids, skip_special_tokens=True)


def test_characters_that_stay_incomplete_are_shown_as_they_come():
    tokenizer = tiny_tokenizer()
    (lead,) = (tokenizer.convert_tokens_to_ids(piece) for piece in "â")

    pieces = _pieces(tokenizer.backend_tokenizer, [lead] * 50)

    assert pieces == ["", *[_REPLACEMENT] * 50]


@pytest.mark.parametrize("text", ["word ", " ", "\x07", "क्", "🌋"])
def test_a_long_text_takes_no_longer_for_each_token(any_tokenizer: Tokenizer, text: str):
    token_ids = any_tokenizer.encode(text * 2000, add_special_tokens=False).ids[:5000] * 2

    started_at = time.process_time()
    pieces = _pieces(any_tokenizer, token_ids)

    assert time.process_time() - started_at < 2.5
    assert "".join(pieces) == any_tokenizer.decode(token_ids, skip_special_tokens=True)


def test_special_tokens_that_are_shown_stand_in_the_text(tokenizer: PreTrainedTokenizerFast):
    backend = tokenizer.backend_tokenizer
    shown = special_ids(backend, ("<repo_name>", "<tool_call>"))
    token_ids = tokenizer("🌋<|im_start|> a<repo_name>")["input_ids"] + tokenizer(" é")["input_ids"]
    detokenizer = TokenizerDetokenizer(backend, shown=shown)

    assert list(shown.values()) == ["<repo_name>"]
    pieces = [*(detokenizer.push(token_id) for token_id in token_ids), detokenizer.flush()]
    assert "".join(pieces) == "🌋 a<repo_name> é"
    assert pieces.count("<repo_name>") == 1


def test_a_shown_special_token_ends_an_incomplete_character(tokenizer: PreTrainedTokenizerFast):
    backend = tokenizer.backend_tokenizer
    shown = special_ids(backend, ("<repo_name>",))
    detokenizer = TokenizerDetokenizer(backend, shown=shown)

    pieces = [detokenizer.push(token_id) for token_id in (tokenizer("🌋")["input_ids"][0], *shown)]

    assert pieces == ["", f"{_REPLACEMENT}<repo_name>"]
