"""The scripts that a page asks for at once."""

from pathlib import Path

from webapp.web.script_modules import modules_of


def test_modules_are_all_that_are_imported_at_once(tmp_path: Path) -> None:
    (tmp_path / "page.js").write_text(
        '// import "./comment.js";\nimport "./near.js";\nimport {\n  a,\n  b,\n} from "./names.js";\n'
        'export { c } from "./near.js";\nconst later = () => import("./later.js");\n'
    )
    (tmp_path / "near.js").write_text('import * as far from "./far.js";\nimport "./page.js";\n')
    (tmp_path / "names.js").write_text("")
    (tmp_path / "far.js").write_text('const text = "import ./no.js";\n')

    assert modules_of(tmp_path, "page.js") == ["page.js", "near.js", "names.js", "far.js"]
