"""Confines a process tree with bubblewrap: its own view of files, no network, no sight of other processes.

The root is an empty file system that ends up read-only; what is not put there does not exist. The order of the mounts
carries meaning, for a later one covers an earlier: the system, the operator's toolchains, HOME, then the checkout at
the repository's own path (so that an environment of the operator which lies in there is not borrowed), then what the
confinement adds. Files of /etc are named one by one: to a harness that runs as root all of it would be readable.

HOME is at one and the same path in every confinement: what commands print then does not depend on the place of a job,
and no mount point of it has to be made in a checkout that contains our state directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property

from penstock.adapters.sandbox_bwrap import toolchains
from penstock.ports import CLEAN_ENV, TOOL_VARIABLES, Checkout, Command, Confinement, Isolation, Mount

HOME_INSIDE = "/home/agent"
NAMESPACES = (
    *("--unshare-all", "--unshare-user", "--uid", "1000", "--gid", "1000", "--cap-drop", "ALL"),
    *("--new-session", "--die-with-parent"),
)
SYSTEM_DIRECTORIES = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
SYSTEM_SETTINGS = (
    *("alternatives", "ca-certificates", "crypto-policies", "debian_version", "fonts", "gai.conf", "host.conf"),
    *("hosts", "java", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime", "magic", "mime.types"),
    *("nsswitch.conf", "os-release", "pki/ca-trust", "pki/tls/cert.pem", "pki/tls/certs", "protocols", "python3"),
    *("services", "ssl/cert.pem", "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone"),
)
ETC = os.path.join(os.path.dirname(__file__), "etc")
PROBE_S_MAX = 10


class BubblewrapSandbox:
    """Confinement by bubblewrap. `readable`: more places that commands may read, `environ`: the operator's own."""

    def __init__(self, readable: Sequence[str] = (), environ: Mapping[str, str] | None = None) -> None:
        self._readable = tuple(readable)
        self._environ = dict(os.environ if environ is None else environ)

    def isolation(self) -> Isolation:
        """What it gives here, found out by trying once."""
        answer = self._probed
        if isinstance(answer, Isolation):
            return answer
        return Isolation(name="bubblewrap", filesystem=False, network=False, processes=False, note=answer)

    def probe(self) -> Isolation | str:
        """What it gives here, or why it cannot be used and what would help."""
        return self._probed

    def wrap(self, argv: Sequence[str], confinement: Confinement, cwd: str | None = None) -> Command:
        """The command that runs `argv` confined; `cwd` as seen inside, the checkout's own by default.

        A mount that a link in the checkout would lead elsewhere is left out.
        """
        checkout = confinement.checkout
        words = [self._program or "bwrap", *self._system]
        if confinement.network == "host":
            words += ["--share-net", *_read_only("/etc/resolv.conf")]
        words += ["--bind", confinement.home, HOME_INSIDE, "--bind", checkout.path, checkout.at]
        for mount in filter(lambda mount: has_plain_place(checkout, mount), confinement.mounts):
            words += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
        words += ["--remount-ro", "/", "--chdir", cwd or checkout.at, "--", *argv]
        return Command(argv=tuple(words), cwd="/", env={**self._env, **confinement.env})

    @cached_property
    def _program(self) -> str | None:
        return shutil.which("bwrap", path=self._environ.get("PATH"))

    @cached_property
    def _env(self) -> dict[str, str]:
        tools = {name: self._environ[name] for name in TOOL_VARIABLES if name in self._environ}
        if os.path.isdir(rustup := toolchains.rustup_home(self._environ)):
            tools["RUSTUP_HOME"] = rustup
        path = os.pathsep.join(toolchains.search_path(self._environ))
        return {**CLEAN_ENV, **tools, "PATH": path, "HOME": HOME_INSIDE, "TMPDIR": "/tmp"}

    @cached_property
    def _system(self) -> tuple[str, ...]:
        """Switches that every confinement begins with."""
        words = [*NAMESPACES, "--ro-bind", "/usr", "/usr"]
        for directory in SYSTEM_DIRECTORIES:
            words += _like_the_host(directory)
        words += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp", "--tmpfs", "/var/tmp"]
        for name in SYSTEM_SETTINGS:
            words += _read_only(f"/etc/{name}")
        for name in ("passwd", "group"):
            words += ["--ro-bind", os.path.join(ETC, name), f"/etc/{name}"]
        for place in toolchains.without_nested(sorted({*toolchains.readable_places(self._environ), *self._readable})):
            words += _read_only(place)
        return tuple(words)

    @cached_property
    def _probed(self) -> Isolation | str:
        if self._program is None:
            return "bubblewrap is not installed: its package is `bubblewrap` (Debian, Ubuntu, Fedora, Arch)"
        try:
            tried = subprocess.run(
                [self._program, *self._system, "--remount-ro", "/", "--", "true"],
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=PROBE_S_MAX,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"bubblewrap cannot be run: {error}"
        if tried.returncode:
            return _explain(tried.stderr.decode("utf-8", "replace").strip())
        return Isolation(name="bubblewrap", filesystem=True, network=True, processes=True)


def has_plain_place(checkout: Checkout, mount: Mount) -> bool:
    """Whether no symbolic link of the checkout lies on the way to the mount's target.

    Bubblewrap makes missing mount points before it confines, and would follow such a link to make them on the host.
    """
    if not toolchains.is_within(mount.target, checkout.at):
        return True
    place = checkout.path
    for part in os.path.relpath(mount.target, checkout.at).split("/"):
        place = os.path.join(place, part)
        if part == ".." or os.path.islink(place):
            return False
    return True


def _like_the_host(directory: str) -> Iterator[str]:
    if os.path.islink(directory):
        yield from ("--symlink", os.readlink(directory), directory)
    elif os.path.isdir(directory):
        yield from ("--ro-bind", directory, directory)


def _read_only(place: str) -> Iterator[str]:
    if os.path.exists(place):
        yield from ("--ro-bind", place, place)


def _explain(said: str) -> str:
    if any(sign in said for sign in ("user namespace", "uid map", "not permitted", "No permissions")):
        cure = "`sysctl kernel.unprivileged_userns_clone=1`, on Ubuntu an AppArmor profile for bwrap"
        return f"bubblewrap may make no user namespace here ({said}); an administrator can allow it: {cure}"
    return f"bubblewrap does not work here: {said}"
