"""Texts that try to be something else than the text of one event: eleven by hand, ten thousand by chance."""

import json
import random

HOSTILE = {
    "CR": "\r",
    "LF": "\n",
    "CRLF": "\r\n",
    "id": "\nid: 99\n\n",
    "NUL": "\0",
    "line separator": "\u2028",
    "BOM": "\ufeff",
    "end of a script": "</script><script>alert(1)</script>",
    "empty": "",
    "leading space": "  a",
    "emoji": "🪙👩\u200d👧",
}
FIELDS = ("\n\n", "\nevent: foreign\ndata: x\n\n", "data: [DONE]\n\n", "\nretry: 1\n", ":", "[DONE]", "\\u0000")
TEXTS = 10_000
# The test catalogue's most tokens for one generation.
MOST_PIECES = 2500


def random_texts(seed: int) -> list[str]:
    """Texts of any characters and hostile parts, the same for the same seed."""
    numbers = random.Random(seed)
    return [_random_text(numbers) for _ in range(TEXTS)]


def scripts(texts: list[str]) -> list[str]:
    """Prompts of which the scripted engine makes these texts, one token each."""
    parts = [texts[at : at + MOST_PIECES] for at in range(0, len(texts), MOST_PIECES)]
    return [json.dumps({"pieces": part}, ensure_ascii=False) for part in parts]


def _random_text(numbers: random.Random) -> str:
    parts = []
    for _ in range(numbers.randint(0, 5)):
        kind = numbers.random()
        if kind < 0.4:
            parts.append(numbers.choice((*HOSTILE.values(), *FIELDS)))
        elif kind < 0.7:
            parts.append(chr(numbers.randint(0, 0x7F)))
        else:
            parts.append(chr(numbers.choice((numbers.randint(0x80, 0xD7FF), numbers.randint(0xE000, 0x10FFFF)))))
    return "".join(parts)
