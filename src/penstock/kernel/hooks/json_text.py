"""JSON by the interpreter's own scanner alone: the module `json` and what it imports cost a hook 8 ms at each start."""

from __future__ import annotations

from _json import encode_basestring_ascii, make_scanner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

BLANK = " \t\r\n"


class _Rules:
    """What the scanner reads from its maker."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    parse_float = float
    parse_int = int

    @staticmethod
    def parse_constant(name: str) -> object:
        raise ValueError(f"{name} is no JSON")


def object_of(data: bytes) -> Mapping[str, object]:
    """The JSON object that `data` is. Raises `ValueError`."""
    text = data.decode().strip(BLANK)
    try:
        value, end = make_scanner(_Rules())(text, 0)  # type: ignore[arg-type]  # any object with these names does
    except StopIteration:
        raise ValueError("no JSON") from None
    if end != len(text) or not isinstance(value, dict):
        raise ValueError("no JSON object")
    return value


def line_of(value: object) -> bytes:
    """One line of JSON, with its end."""
    return (_written(value) + "\n").encode("ascii")


def _written(value: object) -> str:
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        pairs = (f"{encode_basestring_ascii(key)}:{_written(item)}" for key, item in value.items())
        return "{" + ",".join(pairs) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    raise ValueError(f"{type(value).__name__} is never sent")
