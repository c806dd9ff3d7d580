"""How a sentence model makes one vector of a text, as its own files say (sentence-transformers'). Loads no model."""

from typing import Literal

import msgspec
from msgspec import Struct

from webapp.catalog import CatalogEntry

Pooling = Literal["mean", "cls"]


class _Config(Struct):
    pooling_mode_mean_tokens: bool = False
    pooling_mode_cls_token: bool = False


def pooling_of(entry: CatalogEntry) -> Pooling | None:
    """The pooling, by the names that Workers AI has; None where the files name another, or are not here."""
    folder = entry.weights_path()
    if folder is None:
        return None
    try:
        config = msgspec.json.decode((folder / "1_Pooling" / "config.json").read_bytes(), type=_Config)
    except (OSError, msgspec.MsgspecError):
        return None
    match config.pooling_mode_mean_tokens, config.pooling_mode_cls_token:
        case True, False:
            return "mean"
        case False, True:
            return "cls"
        case _:
            return None
