"""Encoding of messages: msgpack through msgspec, one typed decoder for each direction."""

import msgspec

from webapp.wire.messages import EngineToPool, PoolToEngine, PoolToWeb, WebToPool

_encoder = msgspec.msgpack.Encoder()

encode = _encoder.encode
decode_web_to_pool = msgspec.msgpack.Decoder(WebToPool).decode
# The pool sends a web process all that one step brought as one list.
decode_pool_to_web = msgspec.msgpack.Decoder(list[PoolToWeb]).decode
decode_pool_to_engine = msgspec.msgpack.Decoder(PoolToEngine).decode
decode_engine_to_pool = msgspec.msgpack.Decoder(EngineToPool).decode
