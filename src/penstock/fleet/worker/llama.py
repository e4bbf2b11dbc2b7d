"""The engine that is llama.cpp's own server, as a child, for one GGUF file.

It listens on a Unix socket in a folder that nobody else may enter: no port is chosen that somebody could take before it
is bound, and nobody else on the machine can ask it. A worker that is killed outright leaves the name of its socket
behind; the next one sweeps what nobody listens on.
"""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

import httpx2
import msgspec

from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.processes import identify
from penstock.fleet.worker.engine import LoadFailed
from penstock.fleet.worker.programs import find_llama_server
from penstock.fleet.worker.upstream import POLL_S_MAX, UpstreamEngine, is_shown_alone, seeing
from penstock.private_sockets import is_listening

ADDRESS_BYTES_MAX = 100
SWEPT_MAX = 1_000
CALM = {"LLAMA_ARG_CACHE_RAM": "0"}
"""Its prompts of before would take 8 GiB that nobody was asked for; each slot keeps its own last one all the same."""


class LlamaEngine(UpstreamEngine):
    """What the environment says in `LLAMA_ARG_...` holds, where nothing is said here."""

    def __init__(self, order: WorkerOrder, env: Mapping[str, str] | None = None) -> None:
        super().__init__(order, env)
        self._socket: Path | None = None

    async def _start(self, port: int) -> None:
        self._socket = _socket_folder() / f"{os.getpid()}-{secrets.token_hex(8)}.sock"
        argv = [find_llama_server(self._env), *arguments(self._model, self._socket)]
        await self._start_child(argv, CALM | dict(self._env) | seeing(self._model.device))
        self._client = self._connected("http://llama-server", uds=str(self._socket))

    def _health(self) -> tuple[str, ...]:
        return ("/health",)

    def _place(self) -> str:
        return "the socket of llama-server"

    async def _pulse(self) -> object:
        """What its slots have read and written; as before where it does not say."""
        if self._client is None:
            return None
        try:
            response = await self._client.get("/slots", timeout=POLL_S_MAX)
            return tuple(msgspec.json.decode(response.content, type=tuple[_Slot, ...]))
        except (httpx2.HTTPError, msgspec.DecodeError, msgspec.ValidationError):
            return None

    async def close(self) -> None:
        """End the server, and take its socket away."""
        await super().close()
        place, self._socket = self._socket, None
        if place is not None:
            place.unlink(missing_ok=True)


class _Made(msgspec.Struct, frozen=True):
    n_decoded: int = 0


class _Slot(msgspec.Struct, frozen=True):
    """What we look at of one."""

    id: int = 0
    id_task: int = -1
    n_prompt_tokens_processed: int = 0
    next_token: tuple[_Made, ...] = ()


def arguments(model: Model, socket: Path) -> list[str]:
    """For llama-server. Its context is that of all slots together."""
    words = ["-m", model.path, "--alias", model.name, "--host", str(socket), "--no-webui", "--slots"]
    words += ["-c", str(model.context * model.slots), "-np", str(model.slots)]
    kind = model.device.rstrip("0123456789")
    if kind == "cpu":
        return [*words, "-ngl", "0"]
    number = "" if is_shown_alone(model.device) else model.device.removeprefix(kind)
    return [*words, "-ngl", "999", "-sm", "none", "-mg", number or "0"]


def _socket_folder() -> Path:
    """Ours alone. Raises `LoadFailed` where it is somebody else's."""
    for place in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        folder = Path(place or "/tmp") / f"penstock-{os.getuid()}"
        if len(os.fsencode(folder)) + 32 < ADDRESS_BYTES_MAX and _is_ours(folder):
            _sweep(folder)
            return folder
    raise LoadFailed("there is no folder for the socket of llama-server: set TMPDIR to one with a short name")


def _is_ours(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077


def _sweep(folder: Path) -> None:
    """What a worker that is not there any more left, and nobody listens on."""
    for place in sorted(folder.glob("*-*.sock"))[:SWEPT_MAX]:
        pid = place.name.partition("-")[0]
        if pid.isdecimal() and identify(int(pid)) is None and not is_listening(place):
            place.unlink(missing_ok=True)
