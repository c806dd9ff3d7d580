"""The WSGI entry: `gunicorn wsgi:app` serves it against a running pool."""

from webapp.web.create_app import create_app

app = create_app()
