"""LoRA adapters of one model, each row of a batch with its own or with none. Knows layers and rows, no text.

peft reads the adapters and computes with them (its mixed-adapter batches); whoever runs the model says which row has
which before each pass. Takes seconds to import.
"""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import LoraConfig, PeftConfig, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from peft.utils import load_peft_weights
from torch import nn
from transformers import PreTrainedModel

from webapp.catalog import Adapter

_log = logging.getLogger(__name__)

# What peft calls a row that has no adapter.
_BASE = "__base__"
# What every name in an adapter's file begins with: peft's own wrapping of the model, which we do without.
_WRAPPING = "base_model.model."
_PLAIN_STARTS = (True, False, "gaussian")
# Fields of a LoraConfig that would change the model for the rows of others, or that a mixed batch cannot have.
_UNSUPPORTED = (
    "modules_to_save",
    "trainable_token_indices",
    "target_parameters",
    "layer_replication",
    "alora_invocation_tokens",
    "arrow_config",
    "use_bdlora",
    "use_dora",
    "use_qalora",
)


class Adapters:
    """The adapters inside a model's layers. Where no row has one, the layers are the model's own, at no cost."""

    def __init__(self, model: nn.Module, keys: dict[str, str]) -> None:
        """`keys` is what peft calls each adapter: its own names may hold no dot."""
        self.names = frozenset(keys)
        self._keys = keys
        # Each layer that an adapter changes, by its place in the model.
        names = [name for name, layer in model.named_modules() if isinstance(layer, LoraLayer)]
        self._layers = {name: model.get_submodule(name) for name in names}
        assert self._layers
        self._model = model
        self._rows: list[str] = []
        self._is_in_place = True
        for layer in self._layers.values():
            layer.register_forward_pre_hook(self._tell_rows, with_kwargs=True)

    def choose(self, rows: Sequence[str | None]) -> None:
        """The next pass has these rows, each with the adapter of this name or with none."""
        self._rows = [_BASE if name is None else self._keys[name] for name in rows]
        has_adapters = any(name is not None for name in rows)
        if has_adapters != self._is_in_place:
            self._is_in_place = has_adapters
            for name, layer in self._layers.items():
                self._model.set_submodule(name, layer if has_adapters else layer.get_submodule("base_layer"))

    def _tell_rows(
        self, layer: nn.Module, arguments: tuple[Any, ...], named: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        return arguments, named | {"adapter_names": self._rows}


def load_adapters(model: PreTrainedModel, adapters: Sequence[Adapter]) -> Adapters:
    """Put all adapters into the model's layers. Raises ValueError, which names the one that cannot be loaded."""
    # No key is part of another.
    keys = {adapter.name: f"adapter-{at}-" for at, adapter in enumerate(adapters)}
    for adapter in adapters:
        folder = Path(adapter.folder).expanduser()
        try:
            _load(model, folder, key=keys[adapter.name])
        except Exception as error:
            # Whatever peft raises. Where the adapter lies is for the log.
            _log.error("the adapter %s cannot be loaded from %s", adapter.name, folder)
            reason = str(error).replace(str(folder), "its folder")
            raise ValueError(f"its adapter {adapter.name} cannot be loaded: {reason}") from error
    return Adapters(model, keys)


def _load(model: PreTrainedModel, folder: Path, *, key: str) -> None:
    # peft would look for what is missing on the Hugging Face hub.
    if not (folder / "adapter_config.json").is_file():
        raise ValueError("its folder holds no adapter_config.json")
    if not (folder / "adapter_model.safetensors").is_file():
        raise ValueError("its folder holds no adapter_model.safetensors")
    config = PeftConfig.from_pretrained(str(folder))
    _check(config)
    config.inference_mode = True
    with warnings.catch_warnings():
        # Said of every adapter after the first: several are meant.
        warnings.filterwarnings("ignore", "Already found a `peft_config`")
        inject_adapter_in_model(config, model, adapter_name=key)
    weights = load_peft_weights(str(folder), device=str(model.device))
    unwrapped = {name.removeprefix(_WRAPPING): weight for name, weight in weights.items()}
    result = set_peft_model_state_dict(model, unwrapped, adapter_name=key)
    missing = [name for name in result.missing_keys if key in name]
    if missing or result.unexpected_keys:
        raise ValueError("its weights are not those of this model's layers")


def _check(config: PeftConfig) -> None:
    if not isinstance(config, LoraConfig):
        raise TypeError(f"it is {config.peft_type}, and not LoRA")
    found = [name for name in _UNSUPPORTED if getattr(config, name, None)]
    if config.bias != "none":
        found.append("bias")
    if config.init_lora_weights not in _PLAIN_STARTS:
        found.append("init_lora_weights")
    if found:
        raise ValueError(f"it uses what requests of one batch cannot share: {', '.join(found)}")
