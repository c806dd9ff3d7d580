"""Questions for the number of a prompt's tokens, from the web process to an engine and back."""

from tests.pool.driving import COLD, MODEL, WEB, Pool, entry, serving
from webapp.wire.generation import GenerationRequest
from webapp.wire.messages import AskTokenCount, CountTokens, TokenCount, TokensCounted

REQUEST = GenerationRequest(model=MODEL, context_window=100, max_tokens=50, seed=1, prompt="Hi")


def ask(pool: Pool, *, model: str = MODEL, number: int = 7) -> None:
    request = GenerationRequest(model=model, context_window=100, max_tokens=50, seed=1, prompt="Hi")
    pool.from_web(AskTokenCount(ask=number, request=request))


def questions(pool: Pool, engine: str) -> list[CountTokens]:
    return [message for message in pool.told[engine] if isinstance(message, CountTokens)]


def counts(pool: Pool, reader: bytes = WEB) -> list[TokenCount]:
    return [message for message in pool.heard[reader] if isinstance(message, TokenCount)]


def test_an_engine_is_asked_and_its_answer_goes_to_who_asked() -> None:
    pool, (engine,) = serving()
    pool.hello()

    ask(pool)
    (question,) = questions(pool, engine)
    assert (question.asker, question.request) == (WEB, REQUEST)
    assert counts(pool) == []
    pool.from_engine(engine, TokensCounted(asker=question.asker, ask=question.ask, prompt_tokens=3))
    pool.from_engine(engine, TokensCounted(asker=WEB, ask=8, code="InvalidPrompt", message="why"))

    assert counts(pool) == [TokenCount(ask=7, prompt_tokens=3), TokenCount(ask=8, code="InvalidPrompt", message="why")]


def test_the_least_busy_engine_is_asked() -> None:
    pool, (busy, free) = serving(engines=2)
    pool.submit("g")
    assert list(pool.running(busy)) == ["g"]

    ask(pool)

    assert (len(questions(pool, busy)), len(questions(pool, free))) == (0, 1)


def test_no_engine_is_loaded_to_count() -> None:
    pool = Pool(entry(), entry(COLD, is_loaded_at_start=False))
    pool.start_engine(is_ready=False)

    ask(pool, number=7)
    ask(pool, model=COLD, number=8)
    ask(pool, model="@test/unknown", number=9)

    assert counts(pool) == [TokenCount(ask=7), TokenCount(ask=8), TokenCount(ask=9)]
    assert [engine.entry.name for engine in pool.dispatcher.engines_to_start(pool.now)] == []
    assert not any(isinstance(message, CountTokens) for told in pool.told.values() for message in told)


def test_answer_for_a_web_process_that_is_gone_goes_nowhere() -> None:
    pool, (engine,) = serving()

    # It had asked an earlier pool, to which it was known by another name.
    pool.from_engine(engine, TokensCounted(asker=b"unknown", ask=7, prompt_tokens=3))

    assert pool.heard[b"unknown"] == []
