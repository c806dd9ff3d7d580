"""The catalogue as the model picker shows it: what is loaded, what could be, what cannot and why. Knows no HTML."""

from dataclasses import dataclass
from typing import Literal

from webapp.catalog import Catalog, CatalogEntry, ModelNotInstalled, ModelUnavailable
from webapp.wire.messages import EngineState, PoolState

_READINESS = ("lost", "cold", "draining", "starting", "loading", "busy", "idle")

ModelState = Literal["loaded", "loading", "cold", "unavailable", "not_installed"]


@dataclass(frozen=True)
class ModelChoice:
    """A model as the picker shows it."""

    name: str
    title: str
    description: str
    precision: str
    context_window: int
    sequence_length: int
    state: ModelState
    load_percent: int | None
    # Why it cannot run on this machine, where that is not for want of its weights; or that its last engine failed.
    obstacle: str | None
    # The command that installs its weights.
    install: str
    # The model that answers in its place, where its own weights are missing.
    stand_in_title: str | None
    # Where it is loaded.
    device: str | None
    is_selectable: bool


def model_choices(catalog: Catalog, state: PoolState | None) -> list[ModelChoice]:
    """All models that make text, with what the pool says of their engines; None where the pool is away."""
    # Of several engines of one model the one that serves comes last, and counts.
    by_readiness = sorted(state.engines if state else [], key=lambda engine: _READINESS.index(engine.state))
    engines: dict[str, list[EngineState]] = {}
    for engine in by_readiness:
        engines.setdefault(engine.model, []).append(engine)
    return [_choice(entry, catalog, engines.get(entry.name, [])) for entry in catalog.entries if _makes_text(entry)]


def default_model(catalog: Catalog) -> str:
    """The name of the model that a new page selects: the first that is loaded at the start."""
    candidates = [entry for entry in (*catalog.at_start, *catalog.entries) if _makes_text(entry)]
    # A catalogue may hold none.
    return (candidates or catalog.entries)[0].name


def _makes_text(entry: CatalogEntry) -> bool:
    return entry.task == "text-generation"


def _choice(entry: CatalogEntry, catalog: Catalog, engines: list[EngineState]) -> ModelChoice:
    serving, obstacle = None, None
    try:
        serving = catalog.serving(entry)
    except ModelUnavailable as error:
        obstacle = str(error)
    except ModelNotInstalled:
        pass
    engine = engines[-1] if engines else None
    loaded = sorted({each.device for each in engines if each.state in ("idle", "busy") and each.device})
    is_loading = engine is not None and engine.state in ("starting", "loading")
    return ModelChoice(
        name=entry.name,
        title=entry.title,
        description=entry.description,
        precision=engine.precision if engine else entry.precision,
        context_window=entry.context_window,
        sequence_length=entry.sequence_length,
        state="unavailable" if obstacle else _state(entry, engine),
        load_percent=round(100 * engine.load_fraction) if engine and is_loading else None,
        obstacle=obstacle or _failure(engine),
        install=entry.install,
        stand_in_title=serving.title if serving and serving is not entry else None,
        device=", ".join(loaded) or None,
        is_selectable=serving is not None,
    )


def _state(entry: CatalogEntry, engine: EngineState | None) -> ModelState:
    if not entry.is_installed:
        return "not_installed"
    # One that drains is on its way out: whoever asks for it now waits until it is loaded again.
    if engine is None or engine.state in ("lost", "cold", "draining"):
        return "cold"
    return "loading" if engine.state in ("starting", "loading") else "loaded"


def _failure(engine: EngineState | None) -> str | None:
    # The error may name folders of this machine, and everybody sees the page.
    has_failed = engine is not None and engine.state == "lost" and engine.error is not None
    return "Its last engine failed: Jeton's log says why." if has_failed else None
