"""What is wrong with a model that somebody wants to add: every problem at once, each with its field and its fix. What
was written is never echoed where it is not sound: it may hold what a terminal obeys.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import get_args
from urllib.parse import urlsplit

from penstock.core.fleet.names import is_device_wanted, is_model
from penstock.fleet.orders import Model
from penstock.fleet.schema import Backend
from penstock.ports import Problem

SLOTS_MAX = 4_096
CONTEXT_MAX = 16_777_216
WORKERS_MAX = 1_024
URL_CHARS_MAX = 2_048
ARGV_MAX = 256
NAME_FIX = "letters, digits and ._:/@+-, at most 128, no `..`, as in team/tiny:1b"
PLACEHOLDERS = {"port", "path", "slots", "context"}
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}", re.ASCII)
SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)


def shown(name: str) -> str:
    """The model, as a problem names it."""
    return f"model {name}" if is_model(name) else "the model"


def place_of(model: Model) -> str:
    """The model with its file, as a problem of its file names it."""
    return shown(model.name) + (f" ({model.path})" if model.path and model.path.isprintable() else "")


def problems_of(model: Model) -> list[Problem]:
    """Of what it says, without a look at any file."""
    return [
        Problem(file=place_of(model), line=0, field=field, message=message, fix=fix)
        for field, message, fix in (*_problems_of_names(model), *_problems_of_sizes(model), *_problems_of_source(model))
    ]


Wrong = tuple[str, str, str]


def _problems_of_names(model: Model) -> Iterator[Wrong]:
    if not is_model(model.name):
        yield "name", "is no name of a model", NAME_FIX
    if model.backend not in get_args(Backend):
        yield "backend", "is unknown", f"one of {', '.join(get_args(Backend))}"
    if not is_device_wanted(model.device):
        yield "device", "is no device", "cpu, or a kind with its number, as in gpu0, or without it for any, as in gpu"
    if model.sha256 and not SHA256.fullmatch(model.sha256):
        yield "sha256", "is no SHA-256", "64 hexadecimal digits, as sha256sum prints them"
    if model.key_env and not VARIABLE.fullmatch(model.key_env):
        yield "key_env", "is no name of a variable", "the name of the variable with the key, not the key itself"


def _problems_of_sizes(model: Model) -> Iterator[Wrong]:
    for field, value, least, most in (
        ("slots", model.slots, 1, SLOTS_MAX),
        ("context", model.context, 1, CONTEXT_MAX),
        ("workers_max", model.workers_max, 1, WORKERS_MAX),
        ("memory_bytes", model.memory_bytes, 0, 2**60),
    ):
        if not least <= value <= most:
            yield field, f"is {value}", f"from {least:,} to {most:,}"


def _problems_of_source(model: Model) -> Iterator[Wrong]:
    if model.backend == "upstream":
        yield from _problems_of_upstream(model)
        return
    for field in ("url", "argv", "upstream_model", "key_env"):
        if getattr(model, field):
            yield field, f"is not for the backend {model.backend}", "leave it out, or use the backend upstream"
    if model.backend == "llama" and not model.path:
        yield "path", "is missing", "the GGUF file"
    yield from _problems_of_path(model.path)


def _problems_of_path(path: str) -> Iterator[Wrong]:
    if not path.isprintable():
        yield "path", "holds characters that cannot be printed", "give the file a plain name"


def _problems_of_upstream(model: Model) -> Iterator[Wrong]:
    if bool(model.url) == bool(model.argv):
        yield "url", "an upstream model has a url or a command, one of them", "--url http://... or --argv ..."
    if model.url:
        yield from _problems_of_url(model.url)
    if model.argv:
        yield from _problems_of_argv(model)
    yield from _problems_of_path(model.path)
    if not model.upstream_model.isprintable() or len(model.upstream_model) > 256:
        yield "upstream_model", "is no name of a model", "at most 256 characters that can be printed"


def _problems_of_url(url: str) -> Iterator[Wrong]:
    if (wrong := wrong_with_url(url)) is not None:
        yield ("url", *wrong)
    elif urlsplit(url).query or urlsplit(url).fragment:
        yield "url", "has a query", "the address up to the part before /v1"


def wrong_with_url(url: str) -> tuple[str, str] | None:
    """A message and its fix; None for an address of HTTP that can be asked."""
    as_in = "as in http://127.0.0.1:8000"
    if len(url) > URL_CHARS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return "is no address", as_in
    try:
        parts = urlsplit(url)
        told = (parts.scheme in ("http", "https"), bool(parts.hostname), parts.port != 0)
    except ValueError:
        return "is no address", as_in
    if not all(told):
        return "is no address of HTTP", as_in
    if parts.username is not None or parts.password is not None:
        return "holds a name or a password", "put the key into a variable, and name the variable"
    return None


def _problems_of_argv(model: Model) -> Iterator[Wrong]:
    if len(model.argv) > ARGV_MAX or not model.argv[0] or any("\0" in word for word in model.argv):
        yield "argv", "is no command", f"a program and at most {ARGV_MAX - 1} words"
        return
    named, sound = _placeholders(model.argv)
    if not sound or named - PLACEHOLDERS:
        known = ", ".join(f"{{{name}}}" for name in sorted(PLACEHOLDERS))
        yield "argv", "holds a placeholder that is unknown", f"{known} are known; a brace itself is written twice"
    elif "port" not in named:
        yield "argv", "does not say where {port} goes", "as in --port {port}"
    elif "path" in named and not model.path:
        yield "path", "is missing, and the command wants {path}", "give the file"


def _placeholders(argv: tuple[str, ...]) -> tuple[set[str], bool]:
    try:
        parsed = [field for word in argv for field in string.Formatter().parse(word)]
    except ValueError:
        return set(), False
    plain = all(not spec and not conversion for _, _, spec, conversion in parsed)
    return {name for _, name, _, _ in parsed if name is not None}, plain


def filled(argv: tuple[str, ...], **values: str) -> list[str]:
    """The command with its placeholders filled in."""
    return [word.format_map(values) for word in argv]
