"""The OpenAPI document of a program, made from its endpoints.

OpenAPI 3.1 has no way to say what a stream of events holds. Where it is read at all, the schema is taken for that of
each event, with its fields `event` and `data`; so that is what it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from penstock import __version__
from penstock.fleet.errors import ERRORS
from penstock.fleet.routes import Endpoint
from penstock.fleet.schema import ErrorBody
from penstock.fleet.sse import CONTENT_TYPE, NAMES

EVERYWHERE = ("INTERNAL",)
WITH_BODY = ("INVALID_JSON", "INVALID_REQUEST", "BODY_TOO_LARGE", "DEADLINE_EXCEEDED")
REF = "#/components/schemas/{name}"


def document(title: str, endpoints: Sequence[Endpoint], *, needs_token: bool) -> bytes:
    """OpenAPI 3.1, as JSON."""
    kinds = [kind for e in endpoints for kind in (e.body, e.answer) if kind is not None]
    events = NAMES if any(e.content_type == CONTENT_TYPE for e in endpoints) else ()
    unique = list(dict.fromkeys([*kinds, *events, ErrorBody]))
    schemas, components = msgspec.json.schema_components(unique, ref_template=REF)
    refs = dict(zip(unique, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        path = endpoint.path.replace(":path}", "}")
        paths.setdefault(path, {})[endpoint.method.lower()] = _operation(endpoint, refs, needs_token)
    told: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": title, "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }
    if needs_token:
        told["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return msgspec.json.encode(told)


def _operation(endpoint: Endpoint, refs: dict[Any, Any], needs_token: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"summary": endpoint.summary, "responses": _responses(endpoint, refs, needs_token)}
    if parameters := [*_in_path(endpoint), *_in_query(endpoint)]:
        told["parameters"] = parameters
    if endpoint.body is not None:
        is_needed = any(field.required for field in msgspec.structs.fields(endpoint.body))
        told["requestBody"] = {"content": {"application/json": {"schema": refs[endpoint.body]}}, "required": is_needed}
    if needs_token and not endpoint.is_open:
        told["security"] = [{"token": []}]
    return told


def _in_path(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for name, text in endpoint.parameters.items():
        yield {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}


def _in_query(endpoint: Endpoint) -> Iterator[dict[str, Any]]:
    for field in msgspec.structs.fields(endpoint.query) if endpoint.query else ():
        schema = msgspec.json.schema(field.type) | {"default": field.default}
        yield {"name": field.encode_name, "in": "query", "required": field.required, "schema": schema}


def _responses(endpoint: Endpoint, refs: dict[Any, Any], needs_token: bool) -> dict[str, Any]:
    codes = [*endpoint.errors, *EVERYWHERE, *(WITH_BODY if endpoint.body else ())]
    codes += ["INVALID_REQUEST"] if endpoint.query else []
    if needs_token and not endpoint.is_open:
        codes.append("INVALID_TOKEN")
    if not needs_token:
        codes.append("FOREIGN_PAGE")
    told: dict[str, Any] = {str(endpoint.status): _success(endpoint, refs)}
    for status in sorted({ERRORS[code].status for code in codes}):
        named = ", ".join(dict.fromkeys(code for code in codes if ERRORS[code].status == status))
        told[str(status)] = {"description": named, "content": {"application/json": {"schema": refs[ErrorBody]}}}
    return told


def _success(endpoint: Endpoint, refs: dict[Any, Any]) -> dict[str, Any]:
    if endpoint.status == 204:
        return {"description": "Done."}
    kinds = {endpoint.content_type: {"schema": _schema(endpoint, refs)}}
    if endpoint.may_stream:
        kinds[CONTENT_TYPE] = {"schema": _event({"type": "string"})}
    return {"description": endpoint.summary, "content": kinds}


def _schema(endpoint: Endpoint, refs: dict[Any, Any]) -> dict[str, Any]:
    if endpoint.answer is not None:
        return dict(refs[endpoint.answer])
    if endpoint.content_type == CONTENT_TYPE:
        return {"anyOf": [*(_named(kind, name, refs) for kind, name in NAMES.items()), _event({"const": "[DONE]"})]}
    return {"type": "object" if endpoint.content_type == "application/json" else "string"}


def _named(kind: Any, name: str, refs: dict[Any, Any]) -> dict[str, Any]:
    data = {"type": "string", "contentMediaType": "application/json", "contentSchema": refs[kind]}
    told = _event(data)
    return {**told, "properties": {"event": {"const": name}, "data": data}, "required": ["event", "data"]}


def _event(data: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {"data": data}, "required": ["data"]}
