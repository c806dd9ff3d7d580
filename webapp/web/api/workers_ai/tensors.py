"""Tensors, as @cloudflare/ai 1.0.x sends and reads them: named and typed lists, in JSON. Knows no route.

Source: the package's own code (tensor.ts, session.ts and tasks/ of 1.0.12 to 1.0.53).
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from webapp.web.errors import InvalidFields
from webapp.web.request_fields import GenerationFields

TensorType = Literal[
    "str",
    "bool",
    "float16",
    "float32",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
]


class Tensor(Struct, frozen=True, kw_only=True):
    """A list of values, which may be nested as its shape says."""

    type: TensorType
    shape: Annotated[list[Annotated[int, Meta(ge=0)]], Meta(max_length=8)]
    name: str | None = None
    value: Any


class TensorRequest(Struct, frozen=True):
    """The body of a run."""

    input: list[Tensor]
    stream: bool = False


def read_prompt(given: TensorRequest, *, most_tokens: int) -> GenerationFields:
    """The text generation that the tensors ask for, of at most so many tokens. Raises InvalidFields.

    The prompt is taken as it is: from 1.0.37 on, the package has put it into the model's chat template itself.
    """
    (prompt,) = _values(given.input, "INPUT_0", "str", count=1)
    if not prompt:
        raise InvalidFields({"INPUT_0": "must be a text of at least 1 character"})
    wanted = most_tokens
    if any(tensor.name == "INPUT_1" for tensor in given.input):
        (wanted,) = _values(given.input, "INPUT_1", "uint32", count=1)
        if wanted < 1:
            raise InvalidFields({"INPUT_1": "must be a whole number of at least 1"})
    # Cut down, not refused: where nobody has said a number the package puts its own, which is 1800 or 2500 for a
    # stream, whatever the model. It calls it the sequence length.
    return GenerationFields(prompt=prompt, raw=True, stream=given.stream, max_tokens=min(wanted, most_tokens))


def read_texts(given: TensorRequest) -> list[str]:
    """The texts to embed. Raises InvalidFields."""
    return _values(given.input, "input_text", "str")


def text_result(text: str) -> dict[str, object]:
    """A text, or a piece of one, as the package reads it."""
    return _result(Tensor(type="str", shape=[1], name="name", value=[text]))


def embeddings_result(vectors: list[list[float]]) -> dict[str, object]:
    """Vectors, as the package reads them."""
    shape = [len(vectors), len(vectors[0])]
    return _result(Tensor(type="float32", shape=shape, name="embeddings", value=vectors))


def _result(tensor: Tensor) -> dict[str, object]:
    return {"result": [tensor]}


def _values(tensors: Sequence[Tensor], name: str, kind: TensorType, *, count: int | None = None) -> list[Any]:
    """The values of the one tensor of this name, which is flat."""
    named = [tensor for tensor in tensors if tensor.name == name]
    if len(named) != 1:
        raise InvalidFields({name: "one tensor of this name is required"})
    (tensor,) = named
    values = tensor.value if isinstance(tensor.value, list) else [tensor.value]
    if tensor.type != kind:
        raise InvalidFields({name: f"must be of type {kind}"})
    if math.prod(tensor.shape) != len(values):
        raise InvalidFields({name: f"its shape {tensor.shape} is not that of {len(values)} values"})
    if count is not None and len(values) != count:
        raise InvalidFields({name: f"must hold {count} value"})
    wanted = str if kind == "str" else int
    # Python counts booleans among its whole numbers.
    if not all(isinstance(value, wanted) and not isinstance(value, bool) for value in values):
        raise InvalidFields({name: f"its values are not of type {kind}"})
    return values
