"""The folder that every contender loads: a shape's configuration, random weights and a tokenizer of its size.

Made once and kept, for 7 billion weights take some time to write.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.environments import FOLDER, PROJECT_FOLDER, cache_folder
from benchmarks.gpu.place import Place
from benchmarks.gpu.shape import Shape
from benchmarks.weights import find_weights

# It knows no special tokens, which a model of random weights would not heed.
_CHAT_TEMPLATE = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"
# In a process of its own, which gives the device back what it took.
_WEIGHTS_MODULE = "benchmarks.peers.random_weights"
_WEIGHTS_FILE = FOLDER / "peers" / "random_weights.py"
# Raise it when what is written changes.
_FORMAT = 1


class TokenizerUnfit(Exception):
    """The tokenizer cannot be used for a model of random weights; the message says why."""


def make_model_folder(
    shape: Shape, place: Place, *, dtype: str, tokenizer: Path | None, parent: Path | None, seconds: float
) -> Path:
    """The folder, made where it is not there yet. `tokenizer` is a folder with a tokenizer.json, else the starter's.

    It lies in `parent`, else in the cache. Raises TokenizerUnfit, FileNotFoundError where there is no tokenizer, and
    SubprocessError where the weights cannot be made, or not in so many seconds.
    """
    source = (tokenizer or find_weights().folder) / "tokenizer.json"
    target = (
        parent or cache_folder() / "gpu"
    ) / f"{shape.name}-{_identity(shape, source, dtype=dtype, device=place.device)}"
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=target.parent))
    try:
        _write_json(unfinished / "config.json", shape.config(dtype))
        _write_tokenizer(source, unfinished, vocabulary=shape.vocabulary)
        _write_weights(unfinished, place, seconds=seconds)
        unfinished.rename(target)
    except BaseException:
        shutil.rmtree(unfinished)
        raise
    return target


def cut_tokenizer(tokenizer: dict[str, Any], *, vocabulary: int) -> dict[str, Any]:
    """A tokenizer.json's content with its first tokens only. Raises TokenizerUnfit.

    Of byte pairs the later ones are made of earlier ones, so that what is left tokenises any text, in more tokens.
    """
    model = tokenizer["model"]
    if model["type"] != "BPE":
        raise TokenizerUnfit(f"its tokenizer is of the kind {model['type']}: byte pairs (BPE) are needed")
    kept = {token: at for token, at in model["vocab"].items() if at < vocabulary}
    added = [token for token in tokenizer["added_tokens"] if token["id"] < vocabulary]
    count = len({*kept.values(), *(token["id"] for token in added)})
    if count < vocabulary:
        raise TokenizerUnfit(f"its tokenizer has {count} tokens: {vocabulary} are needed")
    merges = [merge for merge in model["merges"] if all(token in kept for token in _merged(merge))]
    return tokenizer | {"added_tokens": added, "model": model | {"vocab": kept, "merges": merges}}


def _merged(merge: list[str] | str) -> tuple[str, str, str]:
    """What is merged, and into what."""
    left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
    return left, right, left + right


def _write_tokenizer(source: Path, target: Path, *, vocabulary: int) -> None:
    content = cut_tokenizer(json.loads(source.read_bytes()), vocabulary=vocabulary)
    _write_json(target / "tokenizer.json", content)
    # No end token anywhere: of random weights it would come at random. Without model_input_names the token types
    # would be among a model's inputs, which a Llama refuses.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_input_names": ["input_ids", "attention_mask"],
        "chat_template": _CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
    }
    _write_json(target / "tokenizer_config.json", settings)
    _write_json(target / "generation_config.json", {"do_sample": True, "pad_token_id": 0})


def _write_weights(folder: Path, place: Place, *, seconds: float) -> None:
    command = [sys.executable, "-m", _WEIGHTS_MODULE, str(folder), "--device", place.device]
    subprocess.run(command, cwd=PROJECT_FOLDER, env=os.environ | place.environ, check=True, timeout=seconds)


def _identity(shape: Shape, tokenizer: Path, *, dtype: str, device: str) -> str:
    """Changes with all that the folder is made of."""
    made_of = (_FORMAT, shape, dtype, device.partition(":")[0], _WEIGHTS_FILE.read_bytes())
    return hashlib.sha256(repr(made_of).encode() + tokenizer.read_bytes()).hexdigest()[:12]


def _write_json(path: Path, content: object) -> None:
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False), "utf-8")
