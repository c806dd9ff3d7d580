"""The same weights in the form each contender reads: the starter's GGUF file, a folder, and Q4_0."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from benchmarks.environments import LLAMA_CPP, PROJECT_FOLDER, cache_folder
from webapp.catalog import read_catalog
from webapp.settings import read_settings

STARTER = "@hf/huggingfacetb/smollm2-135m-instruct"
_CONVERT = """
import sys
from webapp.catalog import read_catalog
from webapp.engine.weights import prepare_weights
from webapp.settings import read_settings
settings = read_settings()
entry = read_catalog(settings.models_file).find(sys.argv[1])
print(prepare_weights(entry, cache_dir=settings.cache_dir, on_progress=lambda done: None))
"""


@dataclass(frozen=True)
class StarterWeights:
    """`folder` holds what transformers loads: exactly what the blocks of `q4_1` stand for."""

    q4_1: Path
    folder: Path

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer.json"

    @property
    def q4_0(self) -> Path:
        """Requantised from Q4_1 by llama.cpp's library, once."""
        target = cache_folder() / LLAMA_CPP.name / f"{self.q4_1.stem}-to-Q4_0.gguf"
        if not target.is_file():
            LLAMA_CPP.ensure()
            unfinished = target.with_suffix(".unfinished")
            command = [LLAMA_CPP.python, "-m", "benchmarks.peers.llama_quantize", self.q4_1, unfinished]
            subprocess.run(command, cwd=PROJECT_FOLDER, check=True, capture_output=True)
            unfinished.rename(target)
        return target


def find_weights() -> StarterWeights:
    """The starter's weights; converts them where nobody has yet. Raises FileNotFoundError where they are missing."""
    q4_1 = read_catalog(read_settings().models_file).find(STARTER).weights_path()
    if q4_1 is None:
        raise FileNotFoundError("the starter model is not installed: make setup")
    command = [sys.executable, "-c", _CONVERT, STARTER]
    done = subprocess.run(command, cwd=PROJECT_FOLDER, env=os.environ, check=True, capture_output=True, text=True)
    return StarterWeights(q4_1, Path(done.stdout.splitlines()[-1]))
