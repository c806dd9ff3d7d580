"""What a web process may log of a request: that it went wrong, and where in the code; never what the client sent.

gunicorn and Flask put paths, headers and bodies into their own lines, and an exception's words may quote them.
"""

import logging
import re
import traceback

# Where a line stops being gunicorn's or Flask's own words: a placeholder, what follows a colon, a path.
_CLIENTS_WORDS = re.compile(r"[ :]*(%|: | on ).*", re.DOTALL)


def leave_requests_out(*loggers: logging.Logger) -> None:
    """Have these loggers drop what clients sent. Idempotent."""
    for logger in loggers:
        logger.addFilter(_without_clients_words)


def _without_clients_words(record: logging.LogRecord) -> bool:
    has_numbers_only = record.args and all(isinstance(argument, int) for argument in record.args)
    if not has_numbers_only:
        record.msg = _CLIENTS_WORDS.sub("", str(record.msg))
        record.args = ()
    kind, _, trace = record.exc_info or (None, None, None)
    if kind:
        record.exc_text = "".join(traceback.format_tb(trace)) + kind.__name__
        record.exc_info = None
    # A line that was nothing but the request's own words is left out.
    return bool(record.msg)
