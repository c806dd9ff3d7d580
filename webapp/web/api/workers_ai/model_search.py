"""Searches of the catalogue: models with filters and pages, their schemas, tasks, authors and finetunes.

Source: Cloudflare's API as its Python SDK calls it.
"""

from collections.abc import Mapping
from typing import Annotated, Literal

from flask import Blueprint, Response, request
from msgspec import Meta, Struct

from webapp.catalog import Catalog
from webapp.web import errors
from webapp.web.api.envelope import envelope, error_response, name_request
from webapp.web.api.model_rows import TASKS, ModelRow, author_of, author_row, finetune_of, row_of
from webapp.web.api.workers_ai.model_schemas import input_schema, output_schema
from webapp.web.fields import read_struct
from webapp.web.gate import Gate
from webapp.web.replies import json_reply
from webapp.web.request_fields import Text

# What wrangler asks for.
MODELS_A_PAGE = 50
MOST_A_PAGE = 1000
# Of a page or a row.
LARGEST_NUMBER = 10**9


class SearchFields(Struct, frozen=True):
    """The query of a search for models. No model of a catalogue is experimental or deprecated."""

    author: str | None = None
    # By name or id.
    task: str | None = None
    search: str | None = None
    source: float | None = None
    hide_experimental: bool | None = None
    include_deprecated: bool | None = None
    # A marketplace's format, which is documented nowhere: everybody gets the ordinary one.
    format: Literal["openrouter"] | None = None
    page: Annotated[int, Meta(ge=1, le=LARGEST_NUMBER)] = 1
    per_page: Annotated[int, Meta(ge=1, le=MOST_A_PAGE)] = MODELS_A_PAGE


class SchemaFields(Struct, frozen=True):
    model: Text


class PublicFields(Struct, frozen=True):
    """The query of a list of public finetunes; they come in the catalogue's order."""

    limit: Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)] | None = None
    offset: Annotated[int, Meta(ge=0, le=LARGEST_NUMBER)] = 0


class ModelSearch:
    """Answers searches of one catalogue."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._rows = [row_of(catalog, entry) for entry in catalog.entries]

    def search(self, query: Mapping[str, str]) -> Response:
        """One page of the models that the query names. Raises InvalidFields."""
        fields = read_struct(SearchFields, query, is_form=True)
        found = [row for row in self._rows if _is_wanted(row, fields)]
        start = (fields.page - 1) * fields.per_page
        page = found[start : start + fields.per_page]
        info = {"count": len(page), "page": fields.page, "per_page": fields.per_page, "total_count": len(found)}
        return json_reply(envelope(page, result_info=info))

    def schema(self, query: Mapping[str, str]) -> Response:
        """What a model takes and answers, as JSON schemas. Raises InvalidFields and ModelNotFound."""
        name = read_struct(SchemaFields, query).model
        entry = next((entry for entry in self._catalog.entries if entry.name == name), None)
        if entry is None:
            raise errors.ModelNotFound(f"No such model {name} or task")
        return json_reply(envelope({"input": input_schema(entry), "output": output_schema(entry)}))

    def tasks(self) -> Response:
        """The tasks that the catalogue has models for."""
        present = {entry.task for entry in self._catalog.entries}
        return json_reply(envelope([row for task, row in TASKS.items() if task in present]))

    def authors(self) -> Response:
        """Who has made the catalogue's models."""
        names = sorted({author_of(entry.name) for entry in self._catalog.entries})
        return json_reply(envelope([author_row(name) for name in names]))

    def finetunes(self) -> Response:
        """The catalogue's LoRA adapters, as Cloudflare shows an account's finetunes."""
        return json_reply(envelope(self._finetunes()))

    def public_finetunes(self, query: Mapping[str, str]) -> Response:
        """The same ones, as Cloudflare shows what all may use. Raises InvalidFields."""
        fields = read_struct(PublicFields, query, is_form=True)
        rows = [row | {"public": True} for row in self._finetunes()]
        end = None if fields.limit is None else fields.offset + fields.limit
        return json_reply(envelope(rows[fields.offset : end]))

    def _finetunes(self) -> list[dict[str, object]]:
        return [finetune_of(entry, adapter) for entry in self._catalog.entries for adapter in entry.adapters]


def blueprint(models: ModelSearch, gate: Gate) -> Blueprint:
    """The routes of the catalogue."""
    routes = Blueprint("model_search", __name__, url_prefix="/client/v4/accounts/<account>/ai")

    @routes.before_request
    def begin() -> None:
        gate.admit(request)

    @routes.get("/models/search")
    def search(account: str) -> Response:
        return models.search(request.args)

    @routes.get("/models/schema")
    def schema(account: str) -> Response:
        return models.schema(request.args)

    @routes.get("/tasks/search")
    def tasks(account: str) -> Response:
        return models.tasks()

    @routes.get("/authors/search")
    def authors(account: str) -> Response:
        return models.authors()

    @routes.get("/finetunes")
    def finetunes(account: str) -> Response:
        return models.finetunes()

    @routes.get("/finetunes/public")
    def public_finetunes(account: str) -> Response:
        return models.public_finetunes(request.args)

    routes.after_request(name_request)
    routes.register_error_handler(errors.RequestError, error_response)
    return routes


def _is_wanted(row: ModelRow, fields: SearchFields) -> bool:
    if fields.author and author_of(row.name).lower() != fields.author.lower():
        return False
    if fields.task and fields.task.lower() not in (row.task.name.lower(), row.task.id):
        return False
    if fields.source is not None and fields.source != row.source:
        return False
    return not fields.search or fields.search.lower() in f"{row.name} {row.description}".lower()
