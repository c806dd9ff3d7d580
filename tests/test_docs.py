"""What the documentation says is what the code does."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from tests.harness import PROJECT_FOLDER
from webapp import settings
from webapp.catalog import CatalogEntry, read_catalog
from webapp.engine import errors as engine_errors
from webapp.web import errors
from webapp.web.api import envelope
from webapp.web.create_app import create_app
from webapp.web.request_fields import GenerationFields

API = (PROJECT_FOLDER / "docs" / "api.md").read_text("utf-8")
SETTINGS = (PROJECT_FOLDER / "docs" / "settings.md").read_text("utf-8")


def setting_names() -> set[str]:
    tree = ast.parse(inspect.getsource(settings.read_settings))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in texts if re.fullmatch(r"[A-Z][A-Z_]+", text)} - {"XDG_CACHE_HOME"}


def request_errors() -> list[type[errors.RequestError]]:
    # The base, and what only the playground's own routes answer.
    left_out = (errors.RequestError, errors.GenerationNotFound)
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    return [
        value
        for value in classes
        if issubclass(value, errors.RequestError) and not issubclass(value, errors.PageError) and value not in left_out
    ]


def test_every_setting_is_documented_and_every_documented_one_exists():
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", SETTINGS, re.MULTILINE))

    assert documented == setting_names()


def test_every_catalogue_field_is_documented():
    documented = set(re.findall(r"`([a-z_]+)`", SETTINGS))

    assert set(CatalogEntry.__struct_fields__) <= documented


@pytest.mark.parametrize("error", request_errors())
def test_every_error_is_documented_with_its_status_and_code(error: type[errors.RequestError]):
    known = envelope.GATE_ERRORS | envelope.ERRORS
    status, code, _ = known.get(error, envelope.INTERNAL)

    assert f"| {status} | {code} | {error.__name__} |" in API


def test_every_failure_of_an_engine_is_documented():
    codes = {
        value.code
        for value in vars(engine_errors).values()
        if isinstance(value, type) and issubclass(value, engine_errors.EngineError)
    }

    assert not {code for code in codes if code not in API}


def test_every_field_of_a_request_is_documented():
    assert not {name for name in GenerationFields.__struct_fields__ if f"`{name}" not in API}


def test_every_route_is_documented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JETON_DATA_DIR", str(tmp_path))
    app = create_app()

    for rule in app.url_map.iter_rules():
        if rule.endpoint == "static":
            continue
        path = re.sub(r"<(?:\w+:)?generation_id>", "ID", rule.rule)
        path = re.sub(r"<path:(\w+)>", r"<\1>", path)
        for method in rule.methods - {"HEAD", "OPTIONS"}:
            assert f"`{method} {path}`" in API, f"{method} {path}"


def test_every_module_has_its_place_in_the_structure():
    structure = (PROJECT_FOLDER / "docs" / "structure.md").read_text("utf-8")
    named = set(re.findall(r"`(?:[\w./]+/)?(\w+)(?:\.py)?`", structure))
    folders = ("pool", "engine", "web", "web/api", "web/api/*", "web/openapi")
    modules = {path.stem for folder in folders for path in (PROJECT_FOLDER / "webapp").glob(f"{folder}/*.py")}

    assert not modules - named - {"__init__"}


def test_every_link_between_documents_leads_somewhere():
    for document in (*PROJECT_FOLDER.glob("*.md"), *(PROJECT_FOLDER / "docs").rglob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text("utf-8")):
            assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_every_promise_of_security_is_shown_by_tests_that_exist():
    named = re.findall(r"`(tests/[\w/]+\.py)`", (PROJECT_FOLDER / "SECURITY.md").read_text("utf-8"))

    assert len(named) > 10
    assert not [path for path in named if not (PROJECT_FOLDER / path).exists()]


def test_shipped_catalogue_has_the_published_limits():
    limits = {
        entry.name: (entry.context_window, entry.sequence_length)
        for entry in read_catalog(PROJECT_FOLDER / "models.toml").entries
    }

    assert limits["@cf/meta/llama-2-7b-chat-int8"] == (2048, 1800)
    assert limits["@cf/meta/llama-2-7b-chat-fp16"] == (3072, 2500)
