"""The languages of the pages: which one a request wants, and sentences, numbers and dates in it. Knows no page.

`translations/<language>.po` holds the sentences; English ones stand in the code, and are their keys. What programs read
is always English: routes with JSON, events, logs.
"""

import gettext
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from babel.dates import format_date, format_datetime
from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_decimal
from flask import Flask, Response, current_app, g, request

from webapp.web.holes import FilledSentences

# By code, under the name that its own speakers read in the switch.
LANGUAGES = {"en": "English", "fr": "Français"}
DEFAULT_LANGUAGE = "en"
LANGUAGE_COOKIE = "jeton_language"

# Contexts of the .po file: what an error says, what is said of a code where its own words have no translation, and
# what a field is called.
ERROR_WORDS = "error"
ERROR_CODES = "code"
FIELDS = "field"

TRANSLATIONS_FOLDER = Path(__file__).parent / "translations"

_EXTENSION = "jeton_languages"


@dataclass(frozen=True)
class Words:
    """What one language says."""

    catalog: gettext.NullTranslations = field(default_factory=gettext.NullTranslations)
    errors: FilledSentences = field(default_factory=FilledSentences)

    def say_error(self, code: str, message: str) -> str:
        """What an error says: word for word with its figures, or else what its code means, or else as it is."""
        if said := self.errors.say(message):
            return said
        meaning = self.catalog.pgettext(ERROR_CODES, code)
        return meaning if meaning != code else message


def read_words(language: str) -> Words:
    """The translations of a language; none for that of the code."""
    if language == DEFAULT_LANGUAGE:
        return Words()
    with (TRANSLATIONS_FOLDER / f"{language}.po").open("rb") as file:
        catalog = read_po(file, locale=language, abort_invalid=True)
    return Words(_compiled(catalog), FilledSentences(_sentences_of(catalog, ERROR_WORDS)))


def speak(app: Flask) -> None:
    """Give the templates `_`, `ngettext`, `trans`, and filters for numbers and dates; give the pages their headers."""
    app.extensions[_EXTENSION] = {language: read_words(language) for language in LANGUAGES}
    app.jinja_env.add_extension("jinja2.ext.i18n")
    # Jinja's extension adds it to the environment.
    app.jinja_env.install_gettext_callables(  # pyright: ignore[reportAttributeAccessIssue]
        lambda sentence: words().catalog.gettext(sentence),
        lambda one, many, count: words().catalog.ngettext(one, many, count),
        newstyle=True,
    )
    # Jinja's own would let what it is given through unescaped, as if it always were a sentence of ours.
    app.jinja_env.globals["_"] = say
    app.jinja_env.globals.update(language=language, languages=LANGUAGES)
    app.jinja_env.filters.update(number=number, date=date, date_and_time=date_and_time, in_words=in_words)
    app.after_request(_name_language)


def language() -> str:
    """The language that this request wants: by its address, else by the switch, else by its browser."""
    if "language" not in g:
        g.language = _wanted_language()
    return g.language


def say(sentence: str, /, **values: object) -> str:
    """The sentence in the request's language, with the values at its %(names)s."""
    said = words().catalog.gettext(sentence)
    return said % values if values else said


def say_error(code: str, message: str) -> str:
    """What an error says, in the request's language."""
    return words().say_error(code, message)


def in_words(sentence: str) -> str:
    """A sentence that errors say too, where it is shown for itself: why a model cannot run."""
    return words().errors.say(sentence) or sentence


def say_fields(fields: Mapping[str, str]) -> str:
    """What is wrong with each of these fields, in the request's language."""
    if language() == DEFAULT_LANGUAGE:
        return "; ".join(f"{name}: {reason}" for name, reason in fields.items())
    catalog, errors = words().catalog, words().errors
    named = {catalog.pgettext(FIELDS, name): errors.say(reason) or reason for name, reason in fields.items()}
    return " ".join(say("%(field)s: %(reason)s.", field=name, reason=reason) for name, reason in named.items())


def number(value: float, digits: int = 0) -> str:
    """The number with its separators and so many digits after the point."""
    return format_decimal(value, "#,##0" + ("." + "0" * digits if digits else ""), language())


def date(value: datetime) -> str:
    """The day, in UTC."""
    return format_date(value, "long", language())


def date_and_time(value: datetime) -> str:
    """The day and the minute, in UTC."""
    return f"{format_datetime(value, 'd MMM y, HH:mm', locale=language())} UTC"


def words() -> Words:
    """All of the request's language, for what is said after the request."""
    return current_app.extensions[_EXTENSION][language()]


def _wanted_language() -> str:
    # A region makes no difference: werkzeug's best_match would put French before British English.
    accepted = [accepted.partition("-")[0].lower() for accepted, quality in request.accept_languages if quality > 0]
    for wanted in (request.args.get("lang"), request.cookies.get(LANGUAGE_COOKIE), *accepted):
        if wanted in LANGUAGES:
            return wanted
    return DEFAULT_LANGUAGE


def _name_language(response: Response) -> Response:
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Language", language())
        response.vary.update(("Accept-Language", "Cookie"))
    return response


def _compiled(catalog: Catalog) -> gettext.GNUTranslations:
    compiled = io.BytesIO()
    write_mo(compiled, catalog)
    compiled.seek(0)
    return gettext.GNUTranslations(compiled)


def _sentences_of(catalog: Catalog, context: str) -> Iterable[tuple[str, str]]:
    for message in catalog:
        if message.context == context and isinstance(message.id, str) and isinstance(message.string, str):
            yield message.id, message.string
