"""Who is calling: their address, and whether they are on this machine. Knows no token and no session."""

import ipaddress
from typing import TYPE_CHECKING

from flask import Request
from werkzeug.middleware.proxy_fix import ProxyFix

from webapp.web.hosts import is_local_name

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

# What a proxy adds. Whoever sends one has one before them, or wants us to think so.
_PROXY_HEADERS = ("Forwarded", "X-Forwarded-For", "X-Real-IP", "Via")
# One customer of a provider has at least this much of IPv6 to themselves, and can take any address in it.
_IPV6_NETWORK_BITS = 64


def behind_proxies(app: "WSGIApplication", count: int) -> "WSGIApplication":
    """The same WSGI application, told the address that the farthest of `count` declared proxies saw.

    The scheme is what the nearest one says: proxies set that header, where they append to the other. With 0,
    nothing that a client sends is believed.
    """
    return ProxyFix(app, x_for=count, x_proto=1) if count else app


def is_local(request: Request) -> bool:
    """The caller is on this machine, which makes them its owner: no proxy is declared, and none shows.

    Behind one, everybody's address is the proxy's. Who calls this machine by another name may be a page of that
    name, in a browser on this machine.
    """
    if "werkzeug.proxy_fix.orig" in request.environ or any(name in request.headers for name in _PROXY_HEADERS):
        return False
    address = _address(request)
    return address is not None and address.is_loopback and is_local_name(request.host)


def network(request: Request) -> str:
    """The address that limits count by: one for each IPv4 address, and one for each IPv6 network of a customer."""
    address = _address(request)
    if address is None:
        return "unknown"
    bits = _IPV6_NETWORK_BITS if address.version == 6 else address.max_prefixlen
    return str(ipaddress.ip_network((address, bits), strict=False))


def _address(request: Request) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(request.remote_addr or "")
    except ValueError:
        return None
    # As a socket that listens on :: sees a caller by IPv4.
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
