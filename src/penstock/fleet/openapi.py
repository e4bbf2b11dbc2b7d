"""The OpenAPI document of a program, made from its endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from penstock import __version__
from penstock.fleet.errors import ERRORS
from penstock.fleet.routes import Endpoint
from penstock.fleet.schema import ErrorBody

EVERYWHERE = ("INTERNAL",)
WITH_BODY = ("INVALID_JSON", "INVALID_REQUEST", "BODY_TOO_LARGE")
REF = "#/components/schemas/{name}"


def document(title: str, endpoints: Sequence[Endpoint], *, needs_token: bool) -> bytes:
    """OpenAPI 3.1, as JSON."""
    kinds = [kind for e in endpoints for kind in (e.body, e.answer) if kind is not None]
    unique = list(dict.fromkeys([*kinds, ErrorBody]))
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
    if endpoint.parameters:
        told["parameters"] = [
            {"name": name, "in": "path", "required": True, "description": text, "schema": {"type": "string"}}
            for name, text in endpoint.parameters.items()
        ]
    if endpoint.body is not None:
        told["requestBody"] = {"content": {"application/json": {"schema": refs[endpoint.body]}}, "required": True}
    if needs_token and not endpoint.is_open:
        told["security"] = [{"token": []}]
    return told


def _responses(endpoint: Endpoint, refs: dict[Any, Any], needs_token: bool) -> dict[str, Any]:
    codes = [*endpoint.errors, *EVERYWHERE, *(WITH_BODY if endpoint.body else ())]
    if needs_token and not endpoint.is_open:
        codes.append("INVALID_TOKEN")
    told: dict[str, Any] = {str(endpoint.status): _success(endpoint, refs)}
    for status in sorted({ERRORS[code].status for code in codes}):
        named = ", ".join(dict.fromkeys(code for code in codes if ERRORS[code].status == status))
        told[str(status)] = {"description": named, "content": {"application/json": {"schema": refs[ErrorBody]}}}
    return told


def _success(endpoint: Endpoint, refs: dict[Any, Any]) -> dict[str, Any]:
    if endpoint.status == 204:
        return {"description": "Done."}
    schema = refs[endpoint.answer] if endpoint.answer is not None else {"type": "string"}
    if endpoint.answer is None and endpoint.content_type == "application/json":
        schema = {"type": "object"}
    kinds = {endpoint.content_type: {"schema": schema}}
    return {"description": endpoint.summary, "content": kinds}
