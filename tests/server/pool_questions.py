"""Asks a real pool what a web process would ask it."""

import zmq

from tests.harness import Server
from webapp.pool.audit import read_generations
from webapp.settings import read_settings
from webapp.wire.codec import decode_pool_to_web, encode
from webapp.wire.messages import Answer, AskRecord, GenerationRecord, WebHello, WebToPool

PATIENCE_MILLISECONDS = 5000


def ask_pool(server: Server, question: WebToPool) -> Answer:
    """The first answer that comes."""
    context = zmq.Context()
    try:
        line = context.socket(zmq.DEALER)
        line.connect(read_settings(server.environ).web_address)
        # What an engine answers goes to known web processes only.
        line.send(encode(WebHello(1, 1)))
        line.send(encode(question))
        while line.poll(PATIENCE_MILLISECONDS):
            for message in decode_pool_to_web(line.recv()):
                if isinstance(message, Answer):
                    return message
        raise AssertionError("the pool does not answer")
    finally:
        context.destroy(linger=0)


def record_of(server: Server, generation_id: str) -> GenerationRecord:
    """The pool's record of a generation, asked for in the name of its owner."""
    owner = read_generations(server.data_dir / "journal")[generation_id].submit.owner
    record = ask_pool(server, AskRecord(ask=1, generation_id=generation_id, owner=owner))
    assert isinstance(record, GenerationRecord), record
    return record
