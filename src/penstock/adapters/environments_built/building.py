"""Builds environments once per digest, in a sandbox, and mounts them read-only; or sets each checkout up by itself.

In the sandbox every checkout appears at the repository's own path, so what a set-up writes down of its place (shebangs,
editable installs) means the tree under test. Without a sandbox it would mean the checkout that it was built in: so then
nothing is shared but what was downloaded.
"""

from __future__ import annotations

import asyncio
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from penstock.adapters.environments_built.operator_settings import choose_settings
from penstock.adapters.environments_built.sealing import NotMade, SealedEnvironment, tail
from penstock.core.digest import Digest, digest_of
from penstock.core.events import EnvEnded, EnvOrder
from penstock.core.paths import matches
from penstock.core.policy import EnvSpec
from penstock.ports import (
    Checkout,
    Confinement,
    Mount,
    ProcessEnd,
    Processes,
    ProcessIdentity,
    ProcessOrder,
    Sandbox,
)

ASK_TOOLS = 'for tool in python3 node; do command -v "$tool" && "$tool" --version; done 2>&1; true'
ASK_TOOLS_S_MAX = 60
MESSAGE_LINES_MAX = 20


class BuiltEnvironments:
    """Environments below `directory`. `mounts_of` gives what a checkout itself needs to be mounted."""

    def __init__(
        self,
        specs: Sequence[EnvSpec],
        directory: Path,
        sandbox: Sandbox,
        processes: Processes,
        mounts_of: Callable[[Checkout], Sequence[Mount]] = lambda _: (),
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._specs = {spec.name: spec for spec in specs}
        self._directory = directory
        self._sandbox = sandbox
        self._processes = processes
        self._mounts_of = mounts_of
        self._environ = dict(os.environ if environ is None else environ)

    def digests(self, files: Mapping[str, str]) -> dict[str, Digest]:
        """Digest of each declared environment for a tree given as object id by path."""
        return {spec.name: self._digest(spec, files) for spec in self._specs.values()}

    def _digest(self, spec: EnvSpec, files: Mapping[str, str]) -> Digest:
        inputs = sorted((path, oid) for path, oid in files.items() if matches(spec.inputs, path))
        machine = (sys.platform, platform.machine(), self._tools)
        return digest_of([spec.setup, spec.paths, spec.scratch, inputs, machine])

    async def build(
        self,
        order: EnvOrder,
        checkout: Checkout,
        job_dir: str,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> EnvEnded:
        """Run its set-up in `checkout`, sandboxed, and seal the result under its digest. `key` is left empty."""
        spec = self._specs[order.env]
        sealed = SealedEnvironment(self._directory, spec, order.digest)
        if not self._is_isolated:
            return _ended(message="without a sandbox each checkout sets itself up")
        if sealed.is_there():
            return _ended(message="built already")
        ended = await self._set_up(spec, checkout, Path(job_dir), started)
        if not ended.ok:
            return ended
        try:
            await asyncio.to_thread(sealed.take, Path(checkout.path))
        except (NotMade, OSError) as error:
            return _ended(False, f"environment {spec.name}: {error}", ended.duration_ms)
        return ended

    def mounts(self, env: str, digest: Digest, checkout: Checkout, job_dir: str) -> tuple[Mount, ...]:
        """Mounts that make the sealed environment appear in `checkout`; scratch paths as copies in `job_dir`."""
        if not self._is_isolated:
            return ()
        spec = self._specs[env]
        sealed = SealedEnvironment(self._directory, spec, digest)
        assert sealed.is_there(), f"environment {env} is mounted before it is built"
        found = [Mount(source=str(sealed.at(path)), target=f"{checkout.at}/{path}") for path in spec.paths]
        for path in spec.scratch:
            copy = Path(job_dir, "scratch", env, path)
            sealed.copy(path, copy)
            found.append(Mount(source=str(copy), target=f"{checkout.at}/{path}", writable=True))
        return tuple(found)

    async def prepare(self, env: str, checkout: Checkout, job_dir: str) -> EnvEnded | None:
        """Without a sandbox: set the environment up inside this very checkout. None where mounts do it."""
        if self._is_isolated:
            return None
        return await self._set_up(self._specs[env], checkout, Path(job_dir, f"env-{env}"), None)

    # --- the set-up -------------------------------------------------------------------------------------------------

    async def _set_up(
        self, spec: EnvSpec, checkout: Checkout, job_dir: Path, started: Callable[[ProcessIdentity], None] | None
    ) -> EnvEnded:
        settings = choose_settings(self._environ, spec.network)
        home = job_dir / "home"
        home.mkdir(parents=True, exist_ok=True)
        confinement = Confinement(
            checkout=checkout,
            home=str(home),
            mounts=(*settings.mounts, *self._mounts_of(checkout)),
            network=spec.network,
            env={**settings.env, **self._caches()},
        )
        command = self._sandbox.wrap(("sh", "-c", spec.setup), confinement)
        order = ProcessOrder(command=command, job_dir=str(job_dir), wall_ms=spec.timeout_ms)
        end = await self._processes.run(order, started)
        if end.outcome == "exited" and end.exit_status == 0:
            return _ended(duration_ms=end.duration_ms)
        return _ended(False, explain(spec, end, job_dir, settings.left_out), end.duration_ms)

    def _caches(self) -> dict[str, str]:
        """Where downloads are kept for the next checkout: only where there is no sandbox to poison them from."""
        if self._is_isolated:
            return {}
        names = {"PIP_CACHE_DIR": "pip", "npm_config_cache": "npm", "UV_CACHE_DIR": "uv"}
        return {variable: str(self._directory / "cache" / name) for variable, name in names.items()}

    @cached_property
    def _is_isolated(self) -> bool:
        return self._sandbox.isolation().filesystem

    @cached_property
    def _tools(self) -> str:
        """Where the interpreters are that a set-up starts from, and their versions, as seen in the sandbox."""
        with tempfile.TemporaryDirectory() as place:
            checkout, home = Path(place, "checkout"), Path(place, "home")
            for directory in (checkout, home):
                directory.mkdir()
            nowhere = Checkout(path=str(checkout), at=str(checkout), commit="", tree="")
            command = self._sandbox.wrap(("sh", "-c", ASK_TOOLS), Confinement(checkout=nowhere, home=str(home)))
            asked = subprocess.run(
                command.argv,
                cwd=command.cwd,
                env=command.env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=ASK_TOOLS_S_MAX,
            )
        return asked.stdout.decode("utf-8", "replace")


def explain(spec: EnvSpec, end: ProcessEnd, job_dir: Path, left_out: Sequence[str]) -> str:
    """Why a set-up failed, with the end of its output."""
    how = end.message or f"exited with {end.exit_status}"
    lines = [f"the set-up of environment {spec.name} failed: {how}"]
    if left_out:
        lines.append(f"it was not given {', '.join(left_out)}: there are credentials in it")
    for name in ("stdout", "stderr"):
        if (output := job_dir / name).exists():
            lines += tail(output, MESSAGE_LINES_MAX)
    return "\n".join(lines)


def _ended(ok: bool = True, message: str = "", duration_ms: int = 0) -> EnvEnded:
    return EnvEnded(key="", ok=ok, message=message, duration_ms=duration_ms)
