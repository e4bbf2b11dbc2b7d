"""Web pages that ask a fleet which has no token: the browser of its user carries their requests to loopback.

A page may send a POST anywhere, though it cannot read the answer; the browser says in `Origin` whose page it is. A page
whose own name was rebound to loopback may read as well; then `Host` is that name. Installed applications have origins
of other schemes than HTTP; programs that are no browsers have none.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

LOCAL_ENDS = (".localhost", ".local", ".internal", ".lan")
"""What no name on the public net ends with."""


def is_foreign(headers: Mapping[str, str]) -> bool:
    """Whether a page of another machine asks, as far as a browser tells."""
    host, origin = headers.get("host", ""), headers.get("origin", "")
    return bool(host and not _may_be_called(host)) or bool(origin and not _may_ask(origin))


def _may_be_called(host: str) -> bool:
    """An address, or a name that nobody else can have bought."""
    name = _name("//" + host)
    return _address(name) is not None or "." not in name or name.endswith(LOCAL_ENDS)


def _may_ask(origin: str) -> bool:
    if origin == "null":
        return False
    if not origin.startswith(("http:", "https:")):
        return True
    name = _name(origin)
    address = _address(name)
    return address.is_loopback if address is not None else name == "localhost" or name.endswith(".localhost")


def _name(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "no.name"


def _address(name: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(name)
    except ValueError:
        return None
