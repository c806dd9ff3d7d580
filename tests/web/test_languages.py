"""English and French: everything that is said has its French, and each page is in the language that is wanted."""

import re
import time
from http.cookies import SimpleCookie

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po
from flask.testing import FlaskClient
from werkzeug.exceptions import BadRequest, InternalServerError, MethodNotAllowed, NotFound, RequestEntityTooLarge

from tests.web import sentences
from tests.web.sentences import Key
from webapp.engine import errors as engine_errors
from webapp.web import errors
from webapp.web.holes import FilledSentences
from webapp.web.languages import ERROR_CODES, ERROR_WORDS, TRANSLATIONS_FOLDER, read_words

FRENCH = {"Accept-Language": "fr-CA,fr;q=0.9,en;q=0.5"}
PAGE_ERRORS = {"PageError", *(kind.__name__ for kind in errors.PageError.__subclasses__())}
# Of a request that no route takes.
HTTP_ERRORS = (BadRequest, InternalServerError, MethodNotAllowed, NotFound, RequestEntityTooLarge)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    with (TRANSLATIONS_FOLDER / "fr.po").open("rb") as file:
        return read_po(file, locale="fr", abort_invalid=True)


def french_of(catalog: Catalog, context: str | None = None) -> dict[Key, Key]:
    return {message.id: message.string for message in catalog if message.id and message.context == context}


def all_codes() -> set[str]:
    kinds = [*vars(errors).values(), *vars(engine_errors).values()]
    codes = {kind.__name__ for kind in kinds if isinstance(kind, type) and issubclass(kind, errors.RequestError)}
    codes |= {kind.code for kind in kinds if isinstance(kind, type) and issubclass(kind, engine_errors.EngineError)}
    codes |= {error().name.title().replace(" ", "") for error in HTTP_ERRORS}
    return codes - {"RequestError", "PageError"} | {"CsrfTokenInvalid", "EngineLost"}


# --- nothing is missing ---


def test_every_sentence_of_the_pages_has_its_french_and_no_french_is_left_over(catalog: Catalog):
    said, translated = sentences.of_pages(), french_of(catalog)

    assert {key: said[key] for key in said if key not in translated} == {}
    assert [key for key in translated if key not in said] == []


def test_every_sentence_of_the_scripts_has_its_french_and_no_french_is_left_over():
    said, translated = sentences.of_scripts(), sentences.french_of_scripts()
    by_key = {key if isinstance(key, str) else key[1]: file for key, file in said.items()}
    counted = {key[1] for key in said if isinstance(key, tuple)}

    assert {key: by_key[key] for key in by_key if key not in translated} == {}
    assert [key for key in translated if key not in by_key] == []
    assert {key for key, french in translated.items() if isinstance(french, list)} == counted


def test_every_translation_has_the_values_of_its_sentence(catalog: Catalog):
    def texts(key: Key) -> tuple[str, ...]:
        return (key,) if isinstance(key, str) else tuple(key)

    def is_whole(english: Key, french: Key, kind: str) -> bool:
        wanted = sentences.holes(texts(english)[-1], kind)
        *ones, many = texts(french)
        # For one of a thing its count may be left out.
        return sentences.holes(many, kind) == wanted and all(sentences.holes(one, kind) <= wanted for one in ones)

    pages = {message.id: message.string for message in catalog if message.id}
    scripts = {
        key: tuple(value) if isinstance(value, list) else value for key, value in sentences.french_of_scripts().items()
    }

    assert [key for key, french in pages.items() if not is_whole(key, french, "py")] == []
    assert [key for key, french in scripts.items() if not is_whole(key, french, "js")] == []


def test_every_code_of_an_error_has_its_french(catalog: Catalog):
    assert all_codes() - set(french_of(catalog, ERROR_CODES)) == set()


def test_what_only_pages_answer_is_said_in_french_word_for_word(catalog: Catalog):
    raised = sentences.of_raised(PAGE_ERRORS)

    assert {text: file for text, file in raised.items() if text not in french_of(catalog, ERROR_WORDS)} == {}


def test_no_french_of_an_error_is_left_over(catalog: Catalog):
    assert set(french_of(catalog, ERROR_WORDS)) - sentences.of_errors() == set()


def test_french_has_its_own_spaces_and_apostrophes(catalog: Catalog):
    texts = [
        text
        for message in catalog
        if message.id
        for text in ((message.string,) if isinstance(message.string, str) else message.string)
    ]
    texts += [
        text
        for french in sentences.french_of_scripts().values()
        for text in ((french,) if isinstance(french, str) else french)
    ]
    # Within tags and code English rules.
    shown = [re.sub(r"<[^>]*>", "", text) for text in texts]

    assert [text for text in shown if re.search(r"'|[^\u202f\u00a0][;!?»]|«[^\u00a0]| [:;!?»]", text)] == []


# --- errors keep their figures ---


def test_an_error_keeps_its_values():
    words = read_words("fr")
    english = "At most 30 generations a minute for your address; please try again later."
    unknown = "Something that nobody has translated."

    assert words.say_error("RateLimitReached", english) == (
        "Au plus 30 générations par minute pour votre adresse\u202f; réessayez plus tard."
    )
    assert words.say_error("PoolOverloaded", unknown).startswith("La file d’attente")
    assert words.say_error("NoSuchCode", unknown) == unknown


def test_each_error_is_found_again_by_its_own_words(catalog: Catalog):
    pairs = french_of(catalog, ERROR_WORDS)
    filled = FilledSentences(pairs.items())

    for english, french in pairs.items():
        values = {name: f"<{name}>" for name in sentences.holes(english, "py")}
        assert filled.say(english % values) == french % values


def test_hostile_values_come_through_as_they_are():
    words = read_words("fr")

    assert words.say_error("ModelNotFound", "No such model %s %(name)s\n<b> or task") == (
        "Le modèle %s %(name)s\n<b> ou sa tâche n’existe pas"
    )


@pytest.mark.parametrize(
    "typed",
    ["No such model " * 5000 + " or task" * 5000, "a makes at most b " * 20_000, "No such model " * 70 + "x"],
    ids=["nested", "repeated", "short"],
)
def test_what_was_typed_does_not_hold_up_the_translation(typed: str):
    began_at = time.process_time()

    said = read_words("fr").say_error("ModelNotFound", f"No such model {typed} or task")

    assert said.startswith(("Ce modèle", "Le modèle"))
    # Before there was a limit: minutes, and a RecursionError.
    assert time.process_time() - began_at < 1.0


# --- pages ---


def test_the_browser_chooses_the_language(client: FlaskClient):
    english, french = client.get("/nothing"), client.get("/nothing", headers=FRENCH)

    assert '<html lang="en">' in english.text and "There is no page here" in english.text
    assert '<html lang="fr">' in french.text and "Il n’y a pas de page ici" in french.text
    assert (english.headers["Content-Language"], french.headers["Content-Language"]) == ("en", "fr")
    assert {"Accept-Language", "Cookie"} <= set(french.vary)


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "en"),
        ("de, fr;q=0.5", "fr"),
        ("fr;q=0.3, en-GB;q=0.8", "en"),
        ("fr-BE", "fr"),
        ("*", "en"),
        ("\x01;q=x,,", "en"),
    ],
)
def test_a_language_that_is_not_here_leaves_the_next_one(client: FlaskClient, header: str, language: str):
    assert client.get("/nothing", headers={"Accept-Language": header}).headers["Content-Language"] == language


def test_the_address_goes_before_the_switch_and_the_switch_before_the_browser(client: FlaskClient):
    client.set_cookie("jeton_language", "fr", domain="localhost")

    assert client.get("/nothing", headers={"Accept-Language": "en"}).headers["Content-Language"] == "fr"
    assert client.get("/nothing?lang=en", headers=FRENCH).headers["Content-Language"] == "en"
    assert client.get("/nothing?lang=xx").headers["Content-Language"] == "fr"


def test_the_pages_are_in_french(client: FlaskClient):
    playground, api = client.get("/", headers=FRENCH).text, client.get("/api", headers=FRENCH).text

    assert "Regardez un modèle répondre, jeton par jeton" in playground
    assert "Explique à un enfant de dix ans pourquoi le ciel est bleu." in playground
    assert "4\u202f096" in playground or "8\u202f192" in playground
    assert "words-fr.js" in playground
    assert "La référence ci-dessous est en anglais" in api


def test_an_error_of_a_page_is_in_french_and_one_of_the_api_is_not(client: FlaskClient):
    page = client.post("/generations", headers=FRENCH)
    api = client.post("/v1/chat/completions", headers=FRENCH, json={})

    assert page.status_code == 400 and "Cette page est trop ancienne" in page.text
    assert api.status_code == 401 and "Content-Language" not in api.headers and api.text.isascii()


# --- the switch ---


def csrf_token(client: FlaskClient) -> str:
    return re.search(r'name="csrf-token" content="([^"]+)"', client.get("/").text)[1]


def test_the_switch_keeps_the_choice_and_comes_back(client: FlaskClient):
    form = {"csrf_token": csrf_token(client), "language": "fr", "back": "/api?model=x&lang=en"}

    answer = client.post("/language", data=form)

    assert (answer.status_code, answer.location) == (303, "/api?model=x")
    cookie = SimpleCookie(answer.headers["Set-Cookie"])["jeton_language"]
    assert (cookie.value, cookie["samesite"], cookie["httponly"]) == ("fr", "Lax", True)
    assert '<html lang="fr">' in client.get("/").text


@pytest.mark.parametrize(
    "back",
    [
        "",
        "https://example.com/",
        "//example.com",
        "/\\example.com",
        "\\\\example.com",
        "/\t/example.com",
        "javascript:1",
        "x",
    ],
)
def test_the_switch_leads_to_no_other_site(client: FlaskClient, back: str):
    form = {"csrf_token": csrf_token(client), "language": "fr", "back": back}

    assert client.post("/language", data=form).location == "/"


def test_the_switch_refuses_other_languages_and_other_sites(client: FlaskClient):
    token = csrf_token(client)

    unknown = client.post("/language", data={"csrf_token": token, "language": "de"})
    foreign = client.post("/language", data={"language": "fr"})

    assert (unknown.status_code, foreign.status_code) == (400, 400)
    assert "Set-Cookie" not in foreign.headers or "jeton_language" not in foreign.headers["Set-Cookie"]
