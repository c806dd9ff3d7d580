"""Runs as a shared link keeps them, and links of them in a server's own database."""

from tests.harness import Server
from webapp.web.database import Database
from webapp.web.links.shared_run import SharedRun, TimedText
from webapp.web.links.store import SharedLinks
from webapp.wire.generation import GenerationRequest, Message, Timings, Usage

PROMPT = "Write a very short story about a coin that could talk."
# Two seconds and a half, with a pause in the middle.
TEXTS: tuple[TimedText, ...] = tuple(
    (400 + 100 * number + (700 if number > 6 else 0), text)
    for number, text in enumerate(
        (
            "Once",
            " upon",
            " a",
            " time",
            " there",
            " was",
            " a",
            " **coin**",
            " that",
            " could",
            " talk",
            ".",
            " It",
            "!",
        )
    )
)


def make_run(*, prompt: str = PROMPT, texts: tuple[TimedText, ...] = TEXTS, title: str = "Scripted") -> SharedRun:
    """A run that has ended, one token for each text."""
    last = texts[-1][0] / 1000 if texts else 0.5
    first = texts[0][0] / 1000 if texts else 0.5
    return SharedRun(
        model="@jeton/scripted",
        model_title=title,
        serving_title=title,
        revision="",
        device="cpu",
        precision="scripted",
        request=GenerationRequest(
            model="@jeton/scripted",
            context_window=4096,
            max_tokens=256,
            seed=7,
            messages=(Message("system", "Be brief."), Message("user", prompt)),
        ),
        texts=texts,
        finish_reason="stop",
        usage=Usage(12, len(texts)),
        timings=Timings(0.0, first, last - first),
    )


def links_of(server: Server) -> SharedLinks:
    """The shared links of a running server, from beside it."""
    return SharedLinks(Database(f"sqlite:///{server.data_dir / 'jeton.sqlite3'}"))


def share(server: Server, run: SharedRun | None = None, *, manage_key: str = "nobody's", is_open: bool = True) -> str:
    """The slug of a new link; `is_open` shows its prompt in the preview."""
    made = links_of(server).create(
        run or make_run(), manage_key=manage_key, lifetime_days=7, has_prompt_in_preview=is_open
    )
    return made.slug
