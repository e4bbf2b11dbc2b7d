"""A real sshd on loopback, for whoever runs the tests: its own keys, settings and known hosts, all in one directory."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.adapters.ssh_openssh import OpenSsh
from penstock.ports import RemotePlace

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
HOST = "127.0.0.1"
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {place}/host_key
AuthorizedKeysFile {place}/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
PermitUserEnvironment no
LogLevel VERBOSE
"""


@dataclass(frozen=True)
class Sshd:
    """`place`: its directory. `client`: what `ssh -F` reads: nothing of the user's own."""

    place: Path
    port: int

    @property
    def client(self) -> Path:
        return self.place / "client_config"

    @property
    def known_hosts(self) -> Path:
        return self.place / "known_hosts"

    def at(self, key: str = "key", *, takes_new: bool = False, port: int = 0) -> RemotePlace:
        """As whom a test logs in."""
        return RemotePlace(
            host=HOST,
            user=getpass.getuser(),
            port=port or self.port,
            key_file=str(self.place / key),
            takes_new_host_key=takes_new,
        )

    def shell(self, connect_s_max: int = 10, run_s_max: float = 60.0) -> OpenSsh:
        """The adapter, with this world's settings."""
        return OpenSsh(options=("-F", str(self.client)), connect_s_max=connect_s_max, run_s_max=run_s_max)

    def knows(self, key: str = "host_key") -> None:
        """The client has met this host, with that key."""
        public = (self.place / f"{key}.pub").read_text().split()
        self.known_hosts.write_text(f"[{HOST}]:{self.port} {public[0]} {public[1]}\n")


def require_sshd() -> None:
    """Skip by name where there is none."""
    if SSHD is None or shutil.which("ssh") is None:
        pytest.skip("no sshd here: install openssh-server and openssh-client")


@contextmanager
def running_sshd(place: Path) -> Iterator[Sshd]:
    """Serves until the block ends; the client knows its key."""
    require_sshd()
    for name in ("host_key", "other_host_key", "key", "other_key"):
        make_key(place / name)
    (place / "authorized_keys").write_text((place / "key.pub").read_text())
    world = Sshd(place, free_port())
    (place / "sshd_config").write_text(CONFIG.format(port=world.port, place=place))
    world.client.write_text(f"UserKnownHostsFile {world.known_hosts}\nGlobalKnownHostsFile /dev/null\n")
    world.knows()
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)  # where it shuts its unprivileged half in
    assert SSHD is not None
    words = [SSHD, "-D", "-e", "-f", str(place / "sshd_config")]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = ""
            while "Server listening on" not in said:
                said = server.stderr.readline()
                assert said, "sshd ended at once"
            yield world
        finally:
            server.kill()


def make_key(path: Path) -> None:
    """A new pair."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)


def free_port() -> int:
    """One that was free; sshd cannot be asked for any."""
    with socket.socket() as made:
        made.bind((HOST, 0))
        port: int = made.getsockname()[1]
        return port
