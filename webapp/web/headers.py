"""Headers that every answer has, whatever made it. Knows no route."""

from flask import Response, request

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
# Where the request came by https: a year, for this host only.
STRICT_TRANSPORT_SECURITY = "max-age=31536000"


# What a page in a sandboxed frame loads: its origin is nobody's, so that everything is of another one.
STATIC_HEADERS = {"Access-Control-Allow-Origin": "*", "Cross-Origin-Resource-Policy": "cross-origin"}


def add_headers(response: Response) -> Response:
    """The response with the security headers, and with what caches may do where nobody has said it."""
    if request.endpoint == "static" and response.status_code < 400:
        response.headers.update(STATIC_HEADERS)
    for name, value in SECURITY_HEADERS.items():
        response.headers.setdefault(name, value)
    if request.is_secure:
        response.headers["Strict-Transport-Security"] = STRICT_TRANSPORT_SECURITY
    # For its reader only. A page may be kept for the way back; with no-store it would have to be loaded again.
    response.headers.setdefault(
        "Cache-Control", "private, no-cache" if response.mimetype == "text/html" else "no-store"
    )
    return response
