"""An agent program under the gate: its hooks and MCP clients find the gate's socket, and files tell about the rest."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from penstock.kernel.closing import end_turn
from penstock.kernel.daemon import Daemon
from penstock.kernel.hooks.gate_socket import VARIABLE
from penstock.kernel.tools.dispatcher import Dispatcher
from penstock.ports import Agent, AgentReport, Confinement, Mount, ProcessIdentity, TurnBrief
from penstock.private_sockets import listen

SOCKET_AT = "/penstock/gate"
"""Where the socket's directory appears inside a sandbox."""
SOCKET = "gate.sock"

OpenGate = Callable[[TurnBrief, Confinement], Awaitable[Dispatcher]]


class GatedAgent:
    """`ports.Agent`: `inner` works in a clone with a gate round it; what nothing asked for is taken back at the end."""

    def __init__(self, inner: Agent, open_gate: OpenGate) -> None:
        self._inner, self._open_gate = inner, open_gate

    async def turn(
        self,
        brief: TurnBrief,
        confinement: Confinement,
        started: Callable[[ProcessIdentity], None] | None = None,
    ) -> AgentReport:
        """One turn in the confinement's clone. Cancelling ends its whole process tree, and the gate."""
        dispatcher = await self._open_gate(brief, confinement)
        session = dispatcher.session
        place = Path(brief.job_dir, "gate")
        place.mkdir(mode=0o700, exist_ok=True)
        listener = listen(place / SOCKET)
        try:
            async with Daemon(dispatcher).answering(listener):
                is_mounted = session.world.launcher.is_confined
                report = await self._inner.turn(brief, _with_socket(confinement, place, is_mounted), started)
            async with dispatcher.lock:
                await end_turn(session, dispatcher.desk)
            return msgspec.structs.replace(report, ledger=session.seal())
        finally:
            await session.close()


def _with_socket(confinement: Confinement, place: Path, is_mounted: bool) -> Confinement:
    at = f"{SOCKET_AT}/{SOCKET}" if is_mounted else str(place / SOCKET)
    mounts = (Mount(source=str(place), target=SOCKET_AT),) if is_mounted else ()
    return msgspec.structs.replace(
        confinement, env={**confinement.env, VARIABLE: at}, mounts=(*confinement.mounts, *mounts)
    )
