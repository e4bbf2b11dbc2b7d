"""Finds the engine of a backend. Only what is needed is imported: a worker starts in milliseconds."""

from __future__ import annotations

from importlib import import_module

from penstock.fleet.orders import WorkerOrder
from penstock.fleet.schema import Backend
from penstock.fleet.worker.engine import Engine

PLACES: dict[Backend, tuple[str, str]] = {
    "scripted": ("penstock.fleet.worker.scripted", "ScriptedEngine"),
    "llama": ("penstock.fleet.worker.llama", "LlamaEngine"),
    "upstream": ("penstock.fleet.worker.upstream", "UpstreamEngine"),
}


def engine_of(order: WorkerOrder) -> Engine:
    """Not loaded yet. Nothing happens before `load`."""
    module, name = PLACES[order.model.backend]
    engine: Engine = getattr(import_module(module), name)(order)
    return engine
