"""Where the fleet of this user is: what a flag says, else the environment, else the user's own file, else a default.

~/.config/penstock/fleet.toml        queen = "http://10.0.0.5:8080"
                                     token_file = "~/.config/penstock/fleet.token"
                                     home = "/srv/fleet"
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from penstock.core.policy import Frozen
from penstock.fleet.tokens import TOKEN_ENV, read_token
from penstock.ports import BadInput, Problem

QUEEN_ENV = "PENSTOCK_QUEEN"
HOME_ENV = "PENSTOCK_FLEET_HOME"
QUEEN_DEFAULT = "http://127.0.0.1:8080"
ADDRESS = re.compile(r"(?P<base>https?://(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?)(?:/v1)?/?", re.ASCII)
ADDRESS_CHARS_MAX = 256
LABEL_CHARS_MAX = 63
ADDRESS_FIX = "write it as http://HOST:PORT"


class Choices(Frozen):
    """`is_queen_asked`: somebody named this queen; it is not merely where one would be."""

    queen: str
    is_queen_asked: bool
    home: str
    token_file: str
    """Empty: no token."""

    def token(self, environ: Mapping[str, str]) -> str:
        """The token; empty where none is used. Raises `BadInput`."""
        return read_token(Path(self.token_file), environ) if self.token_file else ""


def choose(
    environ: Mapping[str, str], *, queen: str | None = None, home: str | None = None, token_file: str | None = None
) -> Choices:
    """What is in force. None: the flag was not given. Raises `BadInput`, with the place that is wrong."""
    own = _own_file(environ)
    asked, place = _first((queen, "--queen"), (environ.get(QUEEN_ENV), QUEEN_ENV), own.get("queen"))
    base, _ = _first((home, "--home"), (environ.get(HOME_ENV), HOME_ENV), own.get("home"))
    token, _ = _first((token_file, "--token-file"), (environ.get(TOKEN_ENV), TOKEN_ENV), own.get("token_file"))
    return Choices(
        queen=address(asked, place) if asked else QUEEN_DEFAULT,
        is_queen_asked=bool(asked),
        home=str(_expanded(base, environ)) if base else str(_data_home(environ)),
        token_file=str(_expanded(token, environ)) if token else "",
    )


def address(written: str, place: str) -> str:
    """A queen's or hive's address, without its end. Raises `BadInput`."""
    found = ADDRESS.fullmatch(written.strip())
    if found is None or not is_address(written.strip()):
        raise BadInput([Problem(file=place, line=0, field="", message="is no address", fix=ADDRESS_FIX)])
    return found["base"]


def is_address(written: str) -> bool:
    """Whether a program can be asked there, as far as can be seen from it."""
    found = ADDRESS.fullmatch(written)
    if found is None or len(written) > ADDRESS_CHARS_MAX:
        return False
    try:
        parts = urlsplit(found["base"])
        name, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    is_name = "[" in written or all(0 < len(label) <= LABEL_CHARS_MAX for label in name.split("."))
    return is_name and port != 0


def _first(*places: tuple[str | None, str] | None) -> tuple[str, str]:
    return next(((value, place) for value, place in filter(None, places) if value), ("", ""))


def _own_file(environ: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """What the user's file says, each with the line that says it."""
    config = environ.get("XDG_CONFIG_HOME") or str(_expanded("~/.config", environ))
    path = Path(config) / "penstock" / "fleet.toml"
    if not path.is_file():
        return {}
    from penstock.documents.document import TEXT_BYTES_MAX, Unreadable, decoded
    from penstock.documents.fields import root_of
    from penstock.documents.toml import read_toml

    try:
        root = root_of(read_toml(decoded(path.read_bytes()[: TEXT_BYTES_MAX + 1]), str(path)))
    except Unreadable as error:
        wrong = Problem(file=str(path), line=error.line, field="", message=error.message, fix=error.fix)
        raise BadInput([wrong]) from None
    told = {key: (root.text(key), root.place(key)) for key in ("queen", "home", "token_file")}
    root.refuse_unknown()
    if root.reading.problems:
        raise BadInput(root.reading.problems)
    return told


def _data_home(environ: Mapping[str, str]) -> Path:
    data = environ.get("XDG_DATA_HOME") or str(_expanded("~/.local/share", environ))
    return Path(data) / "penstock" / "fleet"


def _expanded(path: str, environ: Mapping[str, str]) -> Path:
    home = environ.get("HOME") or str(Path.home())
    return Path(home, path[2:]) if path.startswith("~/") else Path(path).absolute()
