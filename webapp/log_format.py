"""What a log line looks like: text for people, or JSON for what collects logs. The same in every process.

A record may carry facts as `extra={"fields": {…}}`: text says them as key=value, JSON has them as members.
"""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime

from webapp.settings import Settings

_TEXT = "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"


class TextFormatter(logging.Formatter):
    """`time process level logger: message key=value …`."""

    def __init__(self) -> None:
        super().__init__(_TEXT)

    def formatMessage(self, record: logging.LogRecord) -> str:
        return " ".join(
            [super().formatMessage(record), *(f"{name}={value}" for name, value in _fields(record).items())]
        )


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, process, logger and message; then the fields, and an exception's lines."""

    def format(self, record: logging.LogRecord) -> str:
        trace = record.exc_text or (self.formatException(record.exc_info) if record.exc_info else None)
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": record.process,
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
            **({"exception": trace} if trace else {}),
        }
        # In ASCII, so that no character, whole or half, stops a line.
        return json.dumps(line, default=str)


def logging_config(settings: Settings) -> dict[str, object]:
    """For logging.config.dictConfig: everything to standard error, in the format that is set. gunicorn's lines too."""
    formatter = JsonFormatter if settings.log_format == "json" else TextFormatter
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"line": {"()": formatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
        "root": {"level": settings.log_level.upper(), "handlers": ["stderr"]},
        # Without a handler of its own, which would say each line twice.
        "loggers": {"gunicorn.error": {"propagate": True}},
    }


def _fields(record: logging.LogRecord) -> Mapping[str, object]:
    return getattr(record, "fields", {})
