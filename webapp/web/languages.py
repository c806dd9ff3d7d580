"""The language of the pages. Knows no page."""

from flask import Flask


def speak(app: Flask) -> None:
    """Give the templates `_`, `ngettext` and `trans`."""
    app.jinja_env.add_extension("jinja2.ext.i18n")
    # Jinja's extension adds it to the environment.
    app.jinja_env.install_null_translations(newstyle=True)  # pyright: ignore[reportAttributeAccessIssue]
