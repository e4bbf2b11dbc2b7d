"""Which of the operator's settings for package managers a set-up sees: by name, and never with a password in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from penstock.core.policy import Network
from penstock.ports import Mount

PACKAGE_VARIABLES = (
    *("PIP_CERT", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_NO_INDEX", "PIP_TRUSTED_HOST"),
    *("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "npm_config_registry"),
    *("UV_DEFAULT_INDEX", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_STRATEGY", "UV_INDEX_URL"),
    *("UV_NATIVE_TLS", "UV_NO_INDEX", "UV_OFFLINE"),
)
NETWORK_VARIABLES = tuple(
    name for plain in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY") for name in (plain, plain.lower())
)
PIP_SETTINGS = "/etc/pip.conf"
CREDENTIALS = re.compile(r"//[^/\s]*@")


class OperatorSettings(NamedTuple):
    """Variables for a set-up, read-only mounts of what they name on this machine, and what was left out."""

    env: dict[str, str]
    mounts: tuple[Mount, ...]
    left_out: tuple[str, ...]
    """Names of variables and files whose value carries credentials."""


def choose_settings(environ: Mapping[str, str], network: Network) -> OperatorSettings:
    """Settings of the operator for a set-up; proxies and the system's pip.conf only where it has a network."""
    names = PACKAGE_VARIABLES + (NETWORK_VARIABLES if network == "host" else ())
    given = {name: environ[name] for name in names if environ.get(name)}
    secret = {name for name, value in given.items() if CREDENTIALS.search(value)}
    env = {name: value for name, value in given.items() if name not in secret}
    home = os.path.normpath(environ.get("HOME") or "/") + "/"
    places = {place for value in env.values() for place in _places(value) if not home.startswith(f"{place}/")}
    if network == "host" and os.path.isfile(PIP_SETTINGS):
        (secret if _has_credentials(PIP_SETTINGS) else places).add(PIP_SETTINGS)
    mounts = tuple(Mount(source=place, target=place) for place in sorted(places))
    return OperatorSettings(env, mounts, tuple(sorted(secret)))


def _places(value: str) -> Iterator[str]:
    """Files and directories of this machine that a value names."""
    for word in value.split():
        path = os.path.normpath(word.removeprefix("file://"))
        if path.startswith("/") and path != "/" and os.path.exists(path):
            yield path


def _has_credentials(path: str) -> bool:
    with open(path, encoding="utf-8", errors="replace") as file:
        return CREDENTIALS.search(file.read()) is not None
