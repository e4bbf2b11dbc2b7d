"""Reads body and query of a request: every field that is wrong at once, by name, and never what it held."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Annotated, Any, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

import msgspec

from penstock.fleet.errors import FleetError
from penstock.fleet.grammars import unlike, unlike_field
from penstock.fleet.schema import FieldProblem

Body = TypeVar("Body", bound=msgspec.Struct)

WORDS = {"true": True, "false": False}
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,17})", re.ASCII)
QUERY_FIELDS_MAX = 16
ITEMS_TOLD_MAX = 32
"""Of one list, that are wrong."""
AT_PATH = re.compile(r" - at `\$(?P<path>[^`]*)`$")
DEPTH_FIX = "is not valid JSON"


def read_body(data: bytes, kind: type[Body], beside: Sequence[FieldProblem] = ()) -> Body:
    """The request. `beside`: what is wrong with it elsewhere. Raises `FleetError`: INVALID_JSON, or INVALID_REQUEST
    with all that is wrong.
    """
    try:
        try:
            read = msgspec.json.decode(data or b"{}", type=kind)
        except msgspec.ValidationError:  # it was read up to there: the rest may be no JSON at all
            raise _invalid([*_problems(data or b"{}", kind), *beside]) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise FleetError("INVALID_JSON", "the body is not a JSON document") from None
    refuse([*unlike(read), *beside])
    return read


def read_query(raw: bytes, kind: type[Body]) -> Body:
    """The query, each field once, numbers and `true` and `false` as such. Raises `FleetError`: INVALID_REQUEST."""
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, max_num_fields=QUERY_FIELDS_MAX, errors="strict")
    except ValueError:
        raise _invalid([FieldProblem(field="(query)", message="cannot be read")]) from None
    told = {name: _literal(value) for name, value in pairs}
    twice = [FieldProblem(field="(query)", message="says a field twice")] * (len(told) < len(pairs))
    refuse(twice + _problems_of(told, kind))
    return msgspec.convert(told, kind)


def _literal(written: str) -> int | bool | str:
    return WORDS[written] if written in WORDS else int(written) if NUMBER.fullmatch(written) else written


def refuse(problems: list[FieldProblem]) -> None:
    """Raise for what a type cannot say, if there is anything."""
    if problems:
        raise _invalid(problems)


def _invalid(problems: list[FieldProblem]) -> FleetError:
    told = [{"field": problem.field, "message": problem.message} for problem in problems]
    names = ", ".join(dict.fromkeys(problem.field for problem in problems))
    return FleetError("INVALID_REQUEST", f"not valid: {names}", {"fields": told})


def _problems(data: bytes, kind: type[msgspec.Struct]) -> list[FieldProblem]:
    told = msgspec.json.decode(data)
    if not isinstance(told, dict):
        return [FieldProblem(field="(body)", message="is not an object")]
    return _problems_of(told, kind) or [FieldProblem(field="(body)", message="is not valid")]


def _problems_of(told: dict[str, Any], kind: type[msgspec.Struct], above: str = "") -> list[FieldProblem]:
    fields = msgspec.structs.fields(kind)
    names = {field.encode_name for field in fields}
    problems = []
    for field in fields:
        if field.encode_name in told:
            wrong = list(_wrong(told[field.encode_name], field.type, above + field.encode_name))
            problems += wrong or _unlike(told, field, kind)
        elif field.required:
            problems.append(FieldProblem(field=above + field.encode_name, message="is missing"))
    if kind.__struct_config__.forbid_unknown_fields:
        problems += [FieldProblem(field=f"{above}(unknown)", message="there is a field that is not known")] * any(
            name not in names for name in told
        )
    return problems


def _unlike(told: dict[str, Any], field: msgspec.structs.FieldInfo, kind: type[msgspec.Struct]) -> list[FieldProblem]:
    return unlike_field(kind, field.name, msgspec.convert(told[field.encode_name], field.type))


def _wrong(value: Any, kind: Any, name: str) -> Iterator[FieldProblem]:
    """All that is wrong in it, of a list in its items."""
    try:
        msgspec.convert(value, kind, strict=True)
    except msgspec.ValidationError as error:
        inside = list(islice(_inside(value, kind, name), ITEMS_TOLD_MAX))
        yield from inside or [_as_told(error, name)]


def _inside(value: Any, kind: Any, name: str) -> Iterator[FieldProblem]:
    plain = get_args(kind)[0] if get_origin(kind) is Annotated else kind
    if get_origin(plain) is tuple and isinstance(value, list):
        for number, item in enumerate(value):
            yield from _wrong(item, get_args(plain)[0], f"{name}[{number}]")
    elif isinstance(plain, type) and issubclass(plain, msgspec.Struct) and isinstance(value, dict):
        yield from _problems_of(value, plain, f"{name}.")


def _as_told(error: msgspec.ValidationError, name: str) -> FieldProblem:
    said = str(error)
    inner = AT_PATH.search(said)
    return FieldProblem(field=name + (inner["path"] if inner else ""), message=_lowered(AT_PATH.sub("", said)))


def _lowered(said: str) -> str:
    """What msgspec said, without any value of the payload: enumerations are the one case where it repeats one."""
    if said.startswith("Invalid enum value"):
        return "is none of the allowed values"
    if "unknown field" in said:
        return "has a field that is not known"
    return said[:1].lower() + said[1:]
