"""What gunicorn and Flask may still say of a request: that it went wrong, and where."""

import logging

import pytest
from flask import Flask

from webapp.web.logs import leave_requests_out

SECRET = "what-a-client-sent"


@pytest.fixture
def logger() -> logging.Logger:
    made = logging.Logger("a library's")
    leave_requests_out(made)
    return made


def said(logger: logging.Logger, *arguments: object, exception: Exception | None = None) -> str:
    """What a handler would write of this line; empty where it is left out."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(handler.format(record))  # type: ignore[method-assign]
    logger.addHandler(handler)
    try:
        if exception:
            raise exception
        logger.warning(*arguments)
    except type(exception or RuntimeError):
        logger.exception(*arguments)
    logger.removeHandler(handler)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((f"Invalid request from ip=127.0.0.1: Invalid HTTP Header: '{SECRET}'",), "Invalid request from ip=127.0.0.1"),
        ((f"Invalid request from ip=2001:db8::1: a\n{SECRET}",), "Invalid request from ip=2001:db8::1"),
        (("Error handling request %s %s", "GET", f"/{SECRET}"), "Error handling request"),
        (("Ignored premature client disconnection. %s", SECRET), "Ignored premature client disconnection."),
        ((f"Exception on /{SECRET} [POST]",), "Exception"),
        (("%s %s", "GET", f"/{SECRET}"), ""),
        (("Worker exiting (pid: %s)", 17), "Worker exiting (pid: 17)"),
        (("Ignoring EPIPE",), "Ignoring EPIPE"),
    ],
)
def test_line_ends_where_the_clients_words_begin(
    logger: logging.Logger, arguments: tuple[object, ...], expected: str
) -> None:
    assert said(logger, *arguments) == expected


def test_exception_keeps_its_kind_and_place_and_loses_its_words(logger: logging.Logger) -> None:
    text = said(logger, "Error handling request %s", f"/{SECRET}", exception=ValueError(SECRET))

    assert text.startswith("Error handling request\n")
    assert "test_logs.py" in text and text.endswith("ValueError")
    assert SECRET not in text


def test_fault_of_a_view_is_logged_without_what_was_asked(app: Flask, caplog: pytest.LogCaptureFixture) -> None:
    faulty = Flask("faulty")
    leave_requests_out(faulty.logger)

    @faulty.get(f"/{SECRET}")
    def fail() -> str:
        raise ValueError(SECRET)

    assert faulty.test_client().get(f"/{SECRET}").status_code == 500
    assert "ValueError" in caplog.text
    assert f"/{SECRET}" not in caplog.text and f"ValueError: {SECRET}" not in caplog.text
