"""Serves the page at http://127.0.0.1:8080 and passes /worker-endpoint on to Jeton: to a browser they are one site.

`/published` is the page as Cloudflare published it. Every web server can do the same in a few lines of its own
configuration; this one is for trying it out.
"""

import http.client
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

JETON = urlsplit(os.environ.get("JETON_URL", "http://127.0.0.1:8000"))
PORT = int(os.environ.get("PORT", "8080"))
FOLDER = Path(__file__).resolve().parent
PAGES = {"/": FOLDER / "index.html", "/published": FOLDER.parent / "published" / "page.html"}
# What Jeton has to know of the browser: who it is, where it left off, and whether another site sent it.
PASSED_ON = ("Cookie", "Last-Event-ID", "Origin", "Sec-Fetch-Site", "Sec-Purpose")
PASSED_BACK = ("Content-Type", "Cache-Control", "Set-Cookie", "Retry-After", "x-jeton-served-by")


class Handler(BaseHTTPRequestHandler):
    """Pages, and the one route behind them."""

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in PAGES:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(PAGES[path].read_bytes())
        elif path == "/worker-endpoint":
            self._pass_on()
        else:
            self.send_error(404)

    def _pass_on(self) -> None:
        kind = http.client.HTTPSConnection if JETON.scheme == "https" else http.client.HTTPConnection
        connection = kind(JETON.netloc)
        try:
            headers = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
            connection.request("GET", self.path, headers=headers)
            answer = connection.getresponse()
            self.send_response(answer.status)
            for name in PASSED_BACK:
                if name in answer.headers:
                    self.send_header(name, answer.headers[name])
            self.end_headers()
            # As it comes: read1 does not wait for more.
            while block := answer.read1(65536):
                self.wfile.write(block)
        except BrokenPipeError:
            # The browser has gone. Jeton sees its own connection close, and waits a while for it to come back.
            pass
        finally:
            connection.close()

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing: addresses hold what people typed."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", PORT), Handler) as server:
        print(f"Open http://127.0.0.1:{server.server_port} or http://127.0.0.1:{server.server_port}/published")
        server.serve_forever()
