"""Whether two programs of the fleet speak the same version of the API.

That is looked at before all else: what another version says may be wrong in every other field, and none of that is
what has to be corrected.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from penstock import __version__
from penstock.fleet.errors import ERRORS, FleetError
from penstock.fleet.schema import API_VERSION

RELEASE = re.compile(r"[0-9][0-9A-Za-z.+-]{0,63}", re.ASCII)
OURS = {"version": __version__, "api_version": API_VERSION}


class _Said(msgspec.Struct):
    api_version: int
    version: Any = ""


def compare(ours: str, theirs: str, api_version: int, version: Any) -> None:
    """Raise VERSION_MISMATCH where it is not the version that is spoken here."""
    if api_version != API_VERSION:
        raise mismatch(ours, theirs, api_version, version)


def refuse_other(data: bytes, ours: str, theirs: str) -> None:
    """Raise VERSION_MISMATCH where a program says that it speaks another version, whatever else it says."""
    try:
        said = msgspec.json.decode(data, type=_Said)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError, RecursionError):
        return  # who reads it strictly says what is wrong
    compare(ours, theirs, said.api_version, said.version)


def mismatch(ours: str, theirs: str, api_version: int, version: Any) -> FleetError:
    """With both, and what to do. `ours` and `theirs`: what the two programs are."""
    release = version if isinstance(version, str) and RELEASE.fullmatch(version) else "unknown"
    told = f"the {ours} speaks version {API_VERSION} of the API ({__version__}), the {theirs} {api_version} ({release})"
    details = {ours: OURS, theirs: {"version": release, "api_version": api_version}}
    return FleetError("VERSION_MISMATCH", told, details | {"fix": ERRORS["VERSION_MISMATCH"].advice})
