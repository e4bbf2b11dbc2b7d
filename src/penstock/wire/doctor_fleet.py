"""What there is of the fleet, and what is missing of it. Nobody is made to have one: nothing here is worse than a
warning, and where none is used that is all that is said.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from penstock.evidence.words import counted, plain
from penstock.fleet.calling import Unreachable
from penstock.fleet.catalogue.catalogue import Catalogue
from penstock.fleet.catalogue.files import Unusable, bytes_of
from penstock.fleet.choices import Choices, choose
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import FleetError, fix_of
from penstock.fleet.orders import Model
from penstock.fleet.schema import Health, HiveInfo, HiveList, ModelList
from penstock.fleet.worker.programs import find_llama_server, unavailable
from penstock.ports import BadInput, Problem
from penstock.wire.finding import Finding

ASK_S_MAX = 3.0
NAMES_MAX = 10
START_FIX = "start one with `penstock queen`, or say where it is: `queen` in ~/.config/penstock/fleet.toml"


def examine_fleet(environ: Mapping[str, str]) -> list[Finding]:
    """Whether a queen answers, her hives, the models of this machine with their files and programs."""
    told: list[str] = []
    try:
        chosen = choose(environ)
        models = Catalogue(Path(chosen.home), told.append).models()
        token = chosen.token(environ)
    except BadInput as wrong:
        return [_warned(problem) for problem in wrong.problems]
    queen = list(_queen(chosen, token, is_used=bool(models) or chosen.is_queen_asked))
    return [
        *queen,
        *(Finding(level="warn", what=f"fleet: {plain(each)}", fix="") for each in told),
        *_models(models, environ),
    ]


def _queen(chosen: Choices, token: str, is_used: bool) -> Iterator[Finding]:
    try:
        health, hives, models = asyncio.run(_ask(chosen.queen, token))
    except (Unreachable, TimeoutError):
        if chosen.is_queen_asked:
            yield Finding(level="warn", what=f"fleet: no queen answers at {chosen.queen}", fix=START_FIX)
        else:
            what = f"no queen answers at {chosen.queen}" if is_used else "none is used here"
            yield Finding(level="ok", what=f"fleet: {what}")
        return
    except FleetError as error:
        what = f"fleet: the queen at {chosen.queen} refuses: {error.code}: {plain(error.message)}"
        yield Finding(level="warn", what=what, fix=fix_of(error.code))
        return
    offered = _listed([model.id for model in models.data])
    what = f"the queen at {chosen.queen} answers, version {plain(health.version)}, models: {offered}"
    yield Finding(level="ok", what=f"fleet: {what}")
    yield from map(_hive, hives.hives)
    if not hives.hives:
        yield Finding(level="warn", what="fleet: the queen has no hive", fix="start one with `penstock hive`")


async def _ask(queen: str, token: str) -> tuple[Health, HiveList, ModelList]:
    async with asyncio.timeout(ASK_S_MAX), QueenClient(queen, token) as client:
        return await client.health(), await client.hives(), await client.models()


def _hive(hive: HiveInfo) -> Finding:
    what = f"fleet: hive {plain(hive.name)} at {plain(hive.url)}: {hive.state}"
    if hive.state == "lost":
        fix = f"start it again, or: penstock hives remove {plain(hive.name)}"
        return Finding(level="warn", what=what, fix=fix)
    return Finding(level="ok", what=f"{what}, {counted(hive.workers, 'worker')}")


def _models(models: Sequence[Model], environ: Mapping[str, str]) -> Iterator[Finding]:
    if not models:
        return
    wrong = [finding for model in models for finding in _wrong(model, environ)]
    yield from wrong
    if any(model.backend == "llama" for model in models):
        yield _llama(environ)
    if not wrong:
        names = _listed([model.name for model in models])
        yield Finding(level="ok", what=f"fleet: all that this machine's models need is there: {names}")


def _wrong(model: Model, environ: Mapping[str, str]) -> Iterator[Finding]:
    again = f"put the file back, or: penstock models remove {model.name}"
    try:
        if model.path and (size := bytes_of(Path(model.path))) != model.bytes:
            what = f"{model.path} has {size:,} bytes, and had {model.bytes:,}"
            yield Finding(level="warn", what=f"fleet: model {model.name}: {what}", fix=again)
    except Unusable as error:
        yield Finding(level="warn", what=f"fleet: model {model.name}: {model.path} {error.message}", fix=again)
    if model.backend != "llama" and (missing := unavailable(model, environ)) is not None:
        yield Finding(level="warn", what=f"fleet: model {model.name}: {missing.message}", fix="")


def _llama(environ: Mapping[str, str]) -> Finding:
    try:
        return Finding(level="ok", what=f"fleet: llama-server at {find_llama_server(environ)}")
    except FleetError as error:
        fix = "docs/FLEET.md says where to get it"
        return Finding(level="warn", what=f"fleet: {error.message}", fix=str(error.details.get("fix", "")) or fix)


def _listed(names: Sequence[str]) -> str:
    more = f", and {len(names) - NAMES_MAX} more" if len(names) > NAMES_MAX else ""
    return (", ".join(plain(name) for name in names[:NAMES_MAX]) or "none") + more


def _warned(problem: Problem) -> Finding:
    place = f"{problem.file}:{problem.line}" if problem.line else problem.file
    return Finding(level="warn", what=f"fleet: {place}: {problem.message}", fix=problem.fix)
