"""The logits after each token of a text, by llama.cpp."""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.peers.lines import Lines
from benchmarks.peers.llama import Context, Entry, Model


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("token_ids", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--threads", type=int, required=True)
    arguments = parser.parse_args()
    lines = Lines()
    model = Model(arguments.model)
    token_ids = json.loads(arguments.token_ids.read_bytes())
    context = Context(model, sequences=1, tokens=len(token_ids), threads=arguments.threads)
    rows = []
    # One at a time, as an answer is said.
    for position, token_id in enumerate(token_ids):
        context.decode([Entry(token_id, position, 0, wants_logits=True)])
        rows.append(np.ctypeslib.as_array(context.logits(0), shape=(model.vocabulary_size,)).copy())
    np.save(arguments.target, np.stack(rows))
    lines.say({})


if __name__ == "__main__":
    main()
