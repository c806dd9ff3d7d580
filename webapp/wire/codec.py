"""Encoding of messages: msgpack through msgspec, one typed decoder for each direction."""

from collections.abc import Callable
from typing import TypeVar

import msgspec
from msgspec.msgpack import Decoder, Encoder

from webapp.wire.messages import EngineToPool, PoolToEngine, PoolToWeb, WebToPool

T = TypeVar("T")


def _checked(decoder: Decoder[T]) -> Callable[[bytes], T]:
    def decode(frame: bytes) -> T:
        try:
            return decoder.decode(frame)
        except (UnicodeDecodeError, RecursionError) as error:
            # msgspec lets these two through as they are.
            raise msgspec.DecodeError(str(error)) from error

    return decode


encode = Encoder().encode
# Whatever the frame holds, these raise msgspec.MsgspecError and nothing else.
decode_web_to_pool = _checked(Decoder(WebToPool))
# The pool sends a web process all that one step brought as one list.
decode_pool_to_web = _checked(Decoder(list[PoolToWeb]))
decode_pool_to_engine = _checked(Decoder(PoolToEngine))
decode_engine_to_pool = _checked(Decoder(EngineToPool))
