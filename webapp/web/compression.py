"""Answers that are sent compressed: pages, JSON and static files; event streams never. Knows no route.

A compressed page tells a listener more by its length (BREACH). What a page holds that is secret is its CSRF token,
which is signed anew each second, and a page of another site cannot make a browser send the session's cookie along.
"""

from flask import Flask, Request, Response, g, request
from flask_compress import Compress

# Brotli of this level takes 2 ms for the largest file; the next that is clearly smaller takes 20.
BROTLI_LEVEL = 5
GZIP_LEVEL = 6
# Smaller ones fit into a packet with their headers as they are.
LEAST_BYTES = 500
MIMETYPES = ("text/html", "text/css", "text/javascript", "text/plain", "application/json", "image/svg+xml")


class CompressedFiles:
    """Static files as they were compressed, kept for as long as the process; other answers are not kept."""

    def __init__(self) -> None:
        self._files: dict[str, bytes] = {}

    def get(self, key: str) -> bytes | None:
        """The file of this key."""
        return self._files.get(key)

    def set(self, key: str, value: bytes) -> None:
        """Keep it, where it is a file."""
        if not key.endswith(";"):
            self._files[key] = value


def compress(app: Flask) -> None:
    """Compress what the app answers, for those who accept it."""
    app.config.update(
        COMPRESS_ALGORITHM=["br", "gzip"],
        COMPRESS_BR_LEVEL=BROTLI_LEVEL,
        COMPRESS_LEVEL=GZIP_LEVEL,
        COMPRESS_MIN_SIZE=LEAST_BYTES,
        COMPRESS_MIMETYPES=list(MIMETYPES),
        # Nothing that is sent piece by piece: a compressor would hold tokens back, and cost memory for each reader.
        COMPRESS_STREAMS=False,
        COMPRESS_CACHE_BACKEND=CompressedFiles,
        COMPRESS_CACHE_KEY=_file_key,
    )
    Compress(app)
    # Runs before the compressor: the last that is registered is the first that runs.
    app.after_request(_read_whole_file)


def _file_key(_: Request) -> str:
    return g.get("static_file_etag", "")


def _read_whole_file(response: Response) -> Response:
    """Static files are sent as streams. As they are small, the compressor takes them whole."""
    is_whole_file = request.endpoint == "static" and response.status_code == 200
    if not is_whole_file or response.mimetype not in MIMETYPES:
        return response
    g.static_file_etag = response.get_etag()[0] or ""
    response.direct_passthrough = False
    response.get_data()
    return response
