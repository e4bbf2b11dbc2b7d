"""Adds a machine to the fleet: a hive is started there over SSH, and the queen lists it, or nothing is left behind.

here                          there
ssh ── token on stdin ──►     penstock hive --detach ...      its session ends, the hive goes on
     ◄── hive NAME at URL     registers with the queen, which saves it then
until the queen lists it      else it is ended again
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from penstock.adapters.ssh_openssh import OpenSsh
from penstock.core.fleet.names import is_hive
from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.choices import Choices, address
from penstock.fleet.client import QueenClient
from penstock.fleet.schema import Drained, Health
from penstock.ports import BadInput, Problem, RemoteEnded, RemoteFailed, RemotePlace, RemoteShell
from penstock.wire.fleet_chain import until_listed

LISTED_S_MAX = 10.0
DRAIN_S_MAX = 45.0
LOOK_S = 0.1
NOT_FOUND, NOT_EXECUTABLE = 127, 126
REFUSED, UNAVAILABLE = 6, 7
PLACE = re.compile(
    r"(?:(?P<user>[A-Za-z0-9_][A-Za-z0-9._-]{0,63})@)?(?P<host>[A-Za-z0-9][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?",
    re.ASCII,
)
SAID = re.compile(r"hive (?P<name>\S+) at (?P<url>http://\S+)\nprocess (?P<pid>[0-9]+)\n", re.ASCII)
FIXES: dict[str, str] = {
    "timeout": "is the machine on, and its SSH port open? raise --timeout-s where the way is long",
    "authentication": "try it: ssh {place}; name a key with --key, or add yours to its ~/.ssh/authorized_keys",
    "unknown_host_key": "try it: ssh {place}, and compare the key; or --accept-new-host-key",
    "changed_host_key": "another machine may answer in its place; if you know why: ssh-keygen -R {host}",
    "no_such_host": "see the spelling of {host}, or give its address",
    "unreachable": "try it: ssh {place}",
    "no_program": "install openssh-client",
}


@dataclass(frozen=True)
class Wanted:
    """A hive to be. `command`: what is Penstock there. `queen_url`: the queen as that machine reaches it.

    `address`: that machine as the queen reaches it; empty: as ssh does.
    """

    name: str
    place: RemotePlace
    command: tuple[str, ...] = ("penstock",)
    queen_url: str = ""
    address: str = ""
    home: str = ""
    port: int = 9200
    ports: str = "8001-8099"


class NotAdded(Exception):
    """Nothing was saved, and nothing is left running there. `exit_code`: 6 refused, 7 unavailable."""

    def __init__(self, message: str, exit_code: int, fix: str = "") -> None:
        super().__init__(message)
        self.exit_code, self.fix = exit_code, fix


def read_place(written: str, key_file: str, takes_new_host_key: bool) -> RemotePlace:
    """Of `[user@]host[:port]`. Raises `BadInput`, for a key that is not here too."""
    found = PLACE.fullmatch(written)
    if found is None or int(found["port"] or 0) > 65_535:
        raise _bad("--ssh", "is no place to log in to", "write it as user@host, or user@host:port")
    if key_file and not Path(key_file).expanduser().is_file():
        raise _bad("--key", f"{key_file} is no file here", "name the private key, as in ~/.ssh/id_ed25519")
    return RemotePlace(
        host=found["host"].strip("[]"),
        user=found["user"] or "",
        port=int(found["port"] or 0),
        key_file=str(Path(key_file).expanduser()) if key_file else "",
        takes_new_host_key=takes_new_host_key,
    )


def open_shell(config: str, timeout_s: int) -> RemoteShell:
    """The system's OpenSSH. `config`: a file in place of ~/.ssh/config."""
    return OpenSsh(options=("-F", config) if config else (), connect_s_max=timeout_s)


def add_hive(chosen: Choices, wanted: Wanted, shell: RemoteShell, tell: Callable[[str], None]) -> str:
    """Its URL. Raises `NotAdded`, `BadInput`; `FleetError` and `Unreachable` of the queen."""
    token = chosen.token(os.environ)
    words = command_of(wanted, chosen, has_token=bool(token))
    asyncio.run(_refuse_known(chosen, token, wanted.name))
    tell(f"starting a hive on {wanted.place.host}")
    said = _started(shell, wanted, words, token)
    tell("it runs; waiting until the queen lists it")
    if not asyncio.run(_listed(chosen, token, wanted.name)):
        _end(shell, wanted, said["pid"])
        fix = f"can {wanted.place.host} reach {_queen_url(wanted, chosen)}? say how with --queen-url"
        raise NotAdded(f"the hive ran, but did not reach the queen within {LISTED_S_MAX:g} s", UNAVAILABLE, fix)
    return said["url"]


def command_of(wanted: Wanted, chosen: Choices, *, has_token: bool) -> tuple[str, ...]:
    """What is run there. Raises `BadInput` where it could not work."""
    if not is_hive(wanted.name):
        raise _bad("NAME", "is no name of a hive", "a-z, 0-9 and - inside, at most 63")
    queen, host = _queen_url(wanted, chosen), wanted.place.host
    is_here = is_loopback(host)
    if not is_here and is_loopback(urlsplit(queen).hostname or ""):
        fix = "bind the queen to an address that others reach (--host, --token-file), and name it with --queen-url"
        raise _bad("--queen-url", f"{queen} is this machine alone: {host} does not reach it", fix)
    if not is_here and not has_token:
        raise _bad(
            "--token-file", "a hive on another machine needs the token of this fleet", "give one to the queen too"
        )
    where = () if is_here else ("--host", "0.0.0.0", "--advertise", wanted.address or host)
    place = f"{wanted.place.user}@{host}" if wanted.place.user else host
    words = (*wanted.command, "hive", "--name", wanted.name, "--queen", queen, "--detach", *where)
    words += ("--port", str(wanted.port), "--ports", wanted.ports, "--started-by", f"ssh://{place}")
    words += ("--home", wanted.home) if wanted.home else ()
    return (*words, "--token-stdin") if has_token else words


def is_loopback(host: str) -> bool:
    """Whether that is the machine itself."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _queen_url(wanted: Wanted, chosen: Choices) -> str:
    return address(wanted.queen_url, "--queen-url") if wanted.queen_url else chosen.queen


async def _refuse_known(chosen: Choices, token: str, name: str) -> None:
    async with QueenClient(chosen.queen, token) as client:
        await client.health()
        known = {hive.name: hive for hive in (await client.hives()).hives}
    if name in known:
        fix = f"choose another name, or first: penstock hives remove {name}"
        raise NotAdded(f"HIVE_NAME_TAKEN: a hive called {name} is known ({known[name].state})", REFUSED, fix)


async def _listed(chosen: Choices, token: str, name: str) -> bool:
    async with QueenClient(chosen.queen, token) as client:
        return await until_listed(client, name, LISTED_S_MAX)


def _started(shell: RemoteShell, wanted: Wanted, words: Sequence[str], token: str) -> Mapping[str, str]:
    try:
        ended = shell.run(wanted.place, words, f"{token}\n".encode() if token else b"")
    except RemoteFailed as failed:
        host, user = wanted.place.host, wanted.place.user
        place = f"{user}@{host}" if user else host
        raise NotAdded(_words_of(failed), UNAVAILABLE, FIXES[failed.kind].format(place=place, host=host)) from None
    found = SAID.search(ended.out)
    if ended.exit_code or found is None:
        raise _not_started(wanted, ended)
    return found.groupdict()


def _words_of(failed: RemoteFailed) -> str:
    return f"ssh: {failed.kind.replace('_', ' ')}: {failed}"


def _not_started(wanted: Wanted, ended: RemoteEnded) -> NotAdded:
    host, command = wanted.place.host, shlex.join(wanted.command)
    if ended.exit_code in (NOT_FOUND, NOT_EXECUTABLE):
        fix = f"install Penstock on {host} (pipx install penstock), or say where it is: --command PATH"
        return NotAdded(f"{command} is no command on {host}", UNAVAILABLE, fix)
    said = "\n    ".join([line for line in ended.err.splitlines() if line.strip()][-5:])
    exit_code = ended.exit_code if ended.exit_code in (REFUSED, UNAVAILABLE) else UNAVAILABLE
    return NotAdded(f"the hive did not start on {host} (exit {ended.exit_code}):\n    {said}", exit_code)


def _end(shell: RemoteShell, wanted: Wanted, pid: str) -> None:
    try:
        shell.run(wanted.place, ("kill", "-TERM", pid))
    except RemoteFailed:
        return


async def drain_hive(chosen: Choices, url: str) -> None:
    """Tell the hive there to end all its workers and itself, and wait until it has. Raises as a client does."""
    async with Caller(url, chosen.token(os.environ)) as hive:
        await hive.post("/v1/drain", None, Drained)
        with suppress(Unreachable, TimeoutError):
            async with asyncio.timeout(DRAIN_S_MAX):
                while True:
                    await hive.get("/v1/health", Health)
                    await asyncio.sleep(LOOK_S)


def _bad(flag: str, message: str, fix: str) -> BadInput:
    return BadInput([Problem(file=flag, line=0, field="", message=message, fix=fix)])
