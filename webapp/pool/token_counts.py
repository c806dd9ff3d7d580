"""How many tokens a prompt has: asked by web processes, answered by an engine that has the model loaded.

Nothing is kept: a question whose engine is lost is never answered, and who asked waits no longer than it cares to.
Knows no sockets, starts no engine.
"""

from webapp.pool.generation_log import ReaderId
from webapp.pool.outbox import Outbox
from webapp.pool.readers import Readers
from webapp.pool.roster import Roster
from webapp.wire.messages import AskTokenCount, CountTokens, TokenCount, TokensCounted


class TokenCounts:
    """Passes the questions on, and the answers back."""

    def __init__(self, roster: Roster, readers: Readers, outbox: Outbox) -> None:
        self._roster = roster
        self._readers = readers
        self._outbox = outbox

    def ask(self, reader: ReaderId, question: AskTokenCount) -> None:
        """Have the least busy engine of the model count; without one that is loaded there is no count."""
        engines = [engine for engine in self._roster.of_model(question.request.model) if engine.is_ready]
        able = [engine for engine in engines if not engine.is_stopping]
        if not able:
            self._outbox.reply(reader, TokenCount(ask=question.ask))
            return
        engine = min(able, key=lambda engine: len(engine.leases))
        count = CountTokens(asker=reader, ask=question.ask, request=question.request)
        self._outbox.send(engine.engine_id, count)

    def answer(self, counted: TokensCounted) -> None:
        """An engine has counted. The web process that asked may be gone, or have asked an earlier pool."""
        if self._readers.is_known(counted.asker):
            count = TokenCount(
                ask=counted.ask, prompt_tokens=counted.prompt_tokens, code=counted.code, message=counted.message
            )
            self._outbox.reply(counted.asker, count)
