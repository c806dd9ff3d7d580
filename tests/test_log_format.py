"""What a log line looks like, as text and as JSON."""

import json
import logging
import sys
from pathlib import Path

import pytest

from webapp.log_format import JsonFormatter, TextFormatter, logging_config
from webapp.settings import SettingInvalid, read_settings


def record(message: str, *values: object, **extra: object) -> logging.LogRecord:
    return logging.getLogger("webapp.test").makeRecord(
        "webapp.test", logging.WARNING, __file__, 1, message, values, None, extra=extra
    )


def test_text_says_the_fields_after_the_message():
    line = TextFormatter().format(record("it %s", "ended", fields={"model": "@a/b", "queue_time": 0.25}))

    assert line.endswith("WARNING webapp.test: it ended model=@a/b queue_time=0.25")


def test_json_has_the_fields_as_members():
    line = json.loads(JsonFormatter().format(record("it %s", "ended", fields={"model": "@a/b", "queue_time": 0.25})))

    assert (line["message"], line["level"], line["logger"]) == ("it ended", "warning", "webapp.test")
    assert (line["model"], line["queue_time"]) == ("@a/b", 0.25)
    assert line["time"].endswith("+00:00")


@pytest.mark.parametrize("text", ["two\nlines", 'a "quote"', "half a character \ud83d", "\x00\x1b[31m", "é 🪙"])
def test_json_is_one_line_whatever_is_said(text: str):
    line = JsonFormatter().format(record("%s", text))

    assert "\n" not in line
    assert line.isascii()
    assert json.loads(line)["message"] == text


def test_json_has_an_exception_as_its_lines():
    try:
        raise ValueError("no")
    except ValueError:
        failed = record("it failed")
        failed.exc_info = sys.exc_info()

    line = json.loads(JsonFormatter().format(failed))

    assert line["message"] == "it failed"
    assert line["exception"].endswith("ValueError: no")


def test_json_says_of_an_exception_what_a_filter_has_left_of_it():
    failed = record("it failed")
    failed.exc_text = "the place, without the words"

    assert json.loads(JsonFormatter().format(failed))["exception"] == "the place, without the words"


@pytest.mark.parametrize(("text", "formatter"), [("text", TextFormatter), ("JSON", JsonFormatter), ("", TextFormatter)])
def test_setting_chooses_the_format(text: str, formatter: type, tmp_path: Path):
    settings = read_settings({"JETON_DATA_DIR": str(tmp_path), "JETON_LOG_FORMAT": text})

    assert logging_config(settings)["formatters"] == {"line": {"()": formatter}}


def test_setting_of_another_format_is_refused_by_name():
    with pytest.raises(SettingInvalid, match="JETON_LOG_FORMAT"):
        read_settings({"JETON_LOG_FORMAT": "xml"})
