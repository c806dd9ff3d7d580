"""Who may stand in the line: decided before anything is tokenised. Knows no sockets."""

from webapp.catalog import Catalog, ModelNotFound
from webapp.pool.generation_log import Generation
from webapp.pool.metrics_text import JournalState
from webapp.pool.residency import Residency
from webapp.pool.roster import Engine, Roster, load_failure
from webapp.pool.waiting_line import Refusal, WaitingLine


class Admission:
    """Lets generations into the line, or says why not."""

    def __init__(
        self, catalog: Catalog, roster: Roster, line: WaitingLine, *, residency: Residency, journal: JournalState
    ) -> None:
        self._catalog = catalog
        self._roster = roster
        self._line = line
        self._residency = residency
        self._journal = journal

    def admit(self, generation: Generation, now: float) -> list[Engine]:
        """Let it stand in line; the posts that may serve it. Raises Refusal."""
        model = generation.submit.request.model
        if self._journal.is_failing:
            raise Refusal("StorageFull", "The disk takes nothing more, and so no new generations.", 10)
        try:
            entry = self._catalog.find(model)
        except ModelNotFound:
            raise Refusal("ModelNotFound", f"No such model {model}") from None
        if obstacle := self._residency.obstacle(entry):
            raise Refusal("ModelUnavailable", obstacle)
        engines = self._roster.ensure(entry)
        if not engines:
            raise Refusal("ModelUnavailable", f"No engine of {model} has joined.", 30)
        if all(engine.is_hopeless(now) for engine in engines):
            raise Refusal("ModelUnavailable", load_failure(model), 30)
        self._line.admit(generation, is_room=_is_room(engines, now))
        return engines


def _is_room(engines: list[Engine], now: float) -> bool:
    """Whether an engine takes a newcomer at once; or none is loaded, and somebody has to wait for it to be."""
    is_loaded = any(engine.is_ready and not engine.is_stopping for engine in engines)
    return not is_loaded or any(engine.room_for(now) > 0 for engine in engines)
