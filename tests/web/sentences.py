"""What the pages say, found in the code that says it: in templates, in Python, in scripts, and in errors."""

import ast
import json
import re
from pathlib import Path

from babel.messages.extract import extract
from jinja2.ext import babel_extract

from tests.harness import PROJECT_FOLDER
from webapp.web.suggestions import EXAMPLES, PRESETS

TEMPLATES = sorted((PROJECT_FOLDER / "templates").glob("*.html"))
MODULES = sorted((PROJECT_FOLDER / "webapp").rglob("*.py"))
SCRIPTS = sorted((PROJECT_FOLDER / "static").glob("*.js"))

# A sentence, or two: for one, and for several.
Key = str | tuple[str, str]

# Not where it is defined, nor a method of that name.
_SAY = re.compile(r"(?<!const )(?<!function )(?<![#.\w])(say|sayCount)\((?!\w+\) \{)")
_LITERALS = re.compile(r'\s*("(?:[^"\\\n]|\\.)*")(?:\s*,\s*("(?:[^"\\\n]|\\.)*"))?\s*[,)]')
_HOLE = {"py": re.compile(r"%\((\w+)\)[sd]"), "js": re.compile(r"\{(\w+)\}")}


def of_pages() -> dict[Key, str]:
    """Each sentence of templates and of Python, with the file that says it."""
    return _of_templates() | _of_modules() | _of_suggestions()


def of_scripts() -> dict[Key, str]:
    """Each sentence of `say` and `sayCount`. Fails where one is no literal: nobody could find it."""
    found: dict[Key, str] = {}
    for path in SCRIPTS:
        text = path.read_text("utf-8")
        for call in _SAY.finditer(text):
            literals = _LITERALS.match(text, call.end())
            assert literals, f"{path.name} says no literal: {text[call.start() : call.end() + 60]!r}"
            texts = [json.loads(literal) for literal in literals.groups() if literal]
            found[texts[0] if call[1] == "say" else (texts[0], texts[1])] = path.name
    return found


def of_errors() -> set[str]:
    """Each text of a module that an error may be raised with, its values as holes. Many are of no error."""
    return {_template(node) for path in MODULES for node in ast.walk(_tree(path)) if _is_text(node)}


def of_raised(names: set[str]) -> dict[str, str]:
    """The text of each of these errors where it is raised, with the file."""
    return {
        _template(call.args[0]): path.name
        for path in MODULES
        for call in ast.walk(_tree(path))
        if isinstance(call, ast.Call) and _name(call.func) in names and call.args and _is_text(call.args[0])
    }


def french_of_scripts() -> dict[Key, str | list[str]]:
    """What static/words-fr.js holds. Its object is JSON, so that it can be read here."""
    text = (PROJECT_FOLDER / "static" / "words-fr.js").read_text("utf-8")
    return json.loads(text[text.index("{") : text.rindex("}") + 1])


def holes(sentence: str, kind: str) -> set[str]:
    """The names of the values in a sentence, of "py" or "js"."""
    return set(_HOLE[kind].findall(sentence))


def _of_templates() -> dict[Key, str]:
    options = {"encoding": "utf-8", "newstyle_gettext": "true", "silent": "false"}
    found: dict[Key, str] = {}
    for path in TEMPLATES:
        with path.open("rb") as file:
            for _, function, message, _ in babel_extract(file, ("_", "gettext", "ngettext"), [], options):
                # Of a variable there is nothing to find.
                key = tuple(message[:2]) if function == "ngettext" else message[0] if _is_tuple(message) else message
                if key:
                    found[key] = path.name
    return found


def _of_modules() -> dict[Key, str]:
    found: dict[Key, str] = {}
    for path in MODULES:
        with path.open("rb") as file:
            found |= {message: path.name for _, message, _, _ in extract("python", file, keywords={"say": None})}
    return found


def _of_suggestions() -> dict[Key, str]:
    examples = [text for example in EXAMPLES for text in (example.title, example.prompt)]
    presets = [text for preset in PRESETS for text in (preset.title, preset.description, preset.system)]
    return {text: "suggestions.py" for text in (*examples, *presets) if text}


def _is_tuple(message: object) -> bool:
    return isinstance(message, tuple)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and isinstance(node.value, str))


def _template(text: ast.AST) -> str:
    if isinstance(text, ast.Constant):
        return text.value
    names: list[str] = []
    parts: list[str] = []
    for part in text.values:
        if isinstance(part, ast.Constant):
            parts.append(part.value)
            continue
        name = _name(part.value).strip("_") or "value"
        names.append(name)
        # The second of a name is name2.
        parts.append(f"%({name}{names.count(name) if names.count(name) > 1 else ''})s")
    return "".join(parts)
