"""A model of the fleet for the built-in agent: `model = "fleet:NAME"`. The queen speaks chat completions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from penstock.core.policy import Frozen
from penstock.fleet.calling import Unreachable
from penstock.fleet.choices import choose
from penstock.fleet.client import QueenClient
from penstock.fleet.errors import ERRORS, FleetError
from penstock.fleet.schema import ModelInfo
from penstock.kernel.model_openai import OpenAiModel
from penstock.ports import BadInput, Problem
from penstock.settings.reader import FLEET
from penstock.settings.schema import ModelSettings, Settings

TOKEN = "PENSTOCK_FLEET_TOKEN"
"""What the token is called between us and the client; it is in no environment."""
SHOWN_MAX = 10


class FleetPlace(Frozen):
    """Where the queen is."""

    url: str
    token: str


def uses_fleet(settings: Settings) -> bool:
    """Whether the agent's model is one of the fleet."""
    return settings.agent.kind == "kernel" and settings.agent.model.model.startswith(FLEET)


def place_of(settings: ModelSettings, environ: Mapping[str, str] = os.environ) -> FleetPlace:
    """Of `fleet_url`, else where a client looks. Raises `BadInput`."""
    chosen = choose(environ, queen=settings.fleet_url or None)
    return FleetPlace(url=chosen.queen, token=chosen.token(environ))


def open_fleet_model(settings: ModelSettings) -> OpenAiModel:
    """Its client; it asks nobody yet. Raises `BadInput`."""
    place = place_of(settings)
    key = TOKEN if place.token else ""
    return OpenAiModel(f"{place.url}/v1", key, env={TOKEN: place.token})


def names_of(settings: Settings) -> tuple[str, ...]:
    """The models that the agent may ask for."""
    asked = (settings.agent.model.model, settings.agent.model.escalation_model)
    return tuple(name.removeprefix(FLEET) for name in asked if name)


def fleet_problem(settings: Settings, environ: Mapping[str, str] = os.environ) -> Problem | None:
    """What keeps the queen from serving the agent's models now; None where nothing does, or none is of the fleet."""
    if not uses_fleet(settings):
        return None
    try:
        place = place_of(settings.agent.model, environ)
    except BadInput as wrong:
        return wrong.problems[0]
    try:
        offered = {each.id for each in offered_at(place)}
    except Unreachable:
        fix = "start it with `penstock queen`, and `penstock hive`; or write [agent] fleet_url"
        return _problem(settings, "agent.fleet_url", f"no queen answers at {place.url}", fix)
    except FleetError as error:
        message = f"the queen at {place.url} refuses: {error.code}: {error.message}"
        return _problem(settings, "agent.fleet_url", message, ERRORS[error.code].advice)
    missing = [name for name in names_of(settings) if name not in offered]
    if not missing:
        return None
    known = ", ".join(sorted(offered)[:SHOWN_MAX]) or "none"
    fix = f"on the machine of a hive: penstock models add {missing[0]} --path FILE; or choose one that it offers"
    message = f"the queen at {place.url} does not offer {missing[0]}; what it offers: {known}"
    return _problem(settings, "agent.model", message, fix)


def offered_at(place: FleetPlace) -> tuple[ModelInfo, ...]:
    """What can be asked for there. Raises `FleetError`, `Unreachable`. May be called beside a running loop."""

    async def ask() -> tuple[ModelInfo, ...]:
        async with QueenClient(place.url, place.token) as client:
            await client.health()
            return (await client.models()).data

    with ThreadPoolExecutor(1) as beside:
        return beside.submit(lambda: asyncio.run(ask())).result()


def _problem(settings: Settings, field: str, message: str, fix: str) -> Problem:
    line = next((origin.line for origin in settings.origins if origin.key == field), 0)
    return Problem(file=settings.file, line=line, field=field, message=message, fix=fix)
