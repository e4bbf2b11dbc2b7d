"""Effects: each owed job is performed through the ports, and its end comes back as one input.

A failure of the world is part of the answer. Whatever else is raised here is our own bug or a lost fence, and is the
driver's to handle.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import assert_never

import msgspec

from penstock import ports
from penstock.core import events as e
from penstock.core.digest import digest_of
from penstock.core.policy import GateSpec, Policy
from penstock.core.state import State
from penstock.core.tickets import TestCriterion, Ticket
from penstock.core.verdicts import Evidence
from penstock.shell.job_directory import make_job_directory, remove_home
from penstock.shell.prompt import build_prompt

Started = Callable[[ports.ProcessIdentity], None]
OUTPUT_TAIL_BYTES = 12_000
AGENT_OUTPUT_BYTES_MAX = 1_000_000


class Worlds(msgspec.Struct, kw_only=True):
    """The ports that effects go through."""

    trunk: ports.Trunk
    candidates: ports.Candidates
    workspaces: ports.Workspaces
    environments: ports.Environments
    agent: ports.Agent
    gates: ports.Gates
    sandbox: ports.Sandbox
    processes: ports.Processes
    blobs: ports.Blobs
    jobs: Path
    agent_network: str = "none"
    agent_env: dict[str, str] = {}
    prompt_template: str | None = None


class Performer:
    """Performs owed jobs. Reads the state for what an order refers to; never changes it."""

    def __init__(self, worlds: Worlds, state: State) -> None:
        self._worlds = worlds
        self._state = state

    @property
    def _policy(self) -> Policy:
        return self._state.policy

    async def perform(self, key: str, order: e.Order, started: Started) -> e.Input:
        """Do the job once and say how it ended."""
        match order:
            case e.TurnOrder():
                return await self._turn(key, order, started)
            case e.MergeOrder():
                return await self._merge(key, order)
            case e.GateOrder():
                return await self._gate(key, order, started)
            case e.EnvOrder():
                return await self._env(key, order, started)
            case e.LandOrder():
                return await self._land(key, order)
            case _:
                assert_never(order)

    # --- turns ------------------------------------------------------------------------------------------------------

    async def _turn(self, key: str, order: e.TurnOrder, started: Started) -> e.TurnEnded:
        worlds, job = self._worlds, make_job_directory(self._worlds.jobs, key)
        clone = await worlds.workspaces.open_clone(_name(key), order.start)
        try:
            return await self._turn_in(clone, key, order, job, started)
        except asyncio.CancelledError:
            await asyncio.shield(self.salvage(clone, key, order))
            raise
        finally:
            await worlds.workspaces.discard(clone)
            remove_home(job)

    async def _turn_in(
        self, clone: ports.Checkout, key: str, order: e.TurnOrder, job: Path, started: Started
    ) -> e.TurnEnded:
        worlds = self._worlds
        prompt = await self._prompt(order)
        confinement = await self._confine(clone, job, self._policy_envs(self._state.trunk.envs), agent=True)
        if isinstance(confinement, str):
            return e.TurnEnded(key=key, outcome="infra", message=confinement, head=order.start)
        brief = ports.TurnBrief(
            order=order,
            prompt=prompt,
            job_dir=str(job),
            output_bytes_max=self._policy.limits.turn_output_bytes_max,
            named_tests=self._named_tests(order),
            red_tests=self._red_tests(order),
        )
        report = await worlds.agent.turn(brief, confinement, started)
        return await self._turn_end(key, order, clone, prompt, report, job)

    def _named_tests(self, order: e.TurnOrder) -> tuple[str, ...]:
        criteria = self._state.tickets[order.ticket].ticket.acceptance
        return tuple(criterion.test for criterion in criteria if isinstance(criterion, TestCriterion))

    def _red_tests(self, order: e.TurnOrder) -> tuple[str, ...]:
        """Of the evidence about the very tree that the turn starts from: other looks saw other trees."""
        seen = [evidence for seq in order.evidence if (evidence := self._state.evidence[seq]).look == "lands"]
        return tuple(dict.fromkeys(test.id for evidence in seen for test in evidence.failed if test.status == "red"))

    async def salvage(self, clone: ports.Checkout, key: str, order: e.TurnOrder) -> None:
        """Keep what a turn made that nobody waits for any more."""
        with contextlib.suppress(ports.ImportRefused):
            await self._worlds.workspaces.import_work(clone, self._import_order(key, order))

    async def clear_away(self, key: str, order: e.Order) -> None:
        """What a job of a dead writer left: a turn's work is kept, working trees are deleted."""
        start = order.start if isinstance(order, e.TurnOrder) else getattr(order, "commit", "")
        for name in (_name(key), f"{_name(key)}-base"):
            left = await self._worlds.workspaces.reopen(name, start)
            if left is None:
                continue
            if isinstance(order, e.TurnOrder):
                await self.salvage(left, key, order)
            await self._worlds.workspaces.discard(left)

    async def _turn_end(
        self,
        key: str,
        order: e.TurnOrder,
        clone: ports.Checkout,
        prompt: str,
        report: ports.AgentReport,
        job: Path,
    ) -> e.TurnEnded:
        put = self._worlds.blobs.put
        ended = e.TurnEnded(
            key=key,
            outcome=report.outcome,
            message=report.message,
            exit_status=report.exit_status,
            head=order.start,
            usage=report.usage,
            claims=report.claims,
            prompt=put(prompt.encode()),
            output=put(_tail_of_output(job, AGENT_OUTPUT_BYTES_MAX)),
            duration_ms=report.duration_ms,
            retry_after_ms=report.retry_after_ms,
            ledger=report.ledger,
        )
        try:
            work = await self._worlds.workspaces.import_work(clone, self._import_order(key, order))
        except ports.ImportRefused as refusal:
            outcome = "crashed" if report.outcome == "ended" else report.outcome
            message = f"its work was not taken over: {refusal}"
            return msgspec.structs.replace(ended, outcome=outcome, message=message)
        return msgspec.structs.replace(
            ended,
            head=work.head,
            tree=work.tree,
            changes=work.changes[:500],
            lines=work.lines,
            total_lines=work.total_lines,
            is_empty=work.is_empty,
            pending_markers=work.pending_markers,
            set_aside=work.set_aside,
            protected=work.protected,
            proposed=work.proposed,
            salvage=work.salvage,
        )

    def _import_order(self, key: str, order: e.TurnOrder) -> ports.ImportOrder:
        kept = f"refs/penstock/salvage/{self._state.run}/{order.ticket}/{order.attempt}-{key.rsplit('/', 1)[1]}"
        return ports.ImportOrder(
            ref=kept,
            start=order.start,
            trunk=order.trunk,
            message=f"{order.ticket}: {order.role} turn {order.turn} of attempt {order.attempt}",
            allowed=order.allowed,
        )

    async def _prompt(self, order: e.TurnOrder) -> str:
        worlds, ticket = self._worlds, self._state.tickets[order.ticket].ticket
        shown = []
        for seq in order.evidence:
            evidence = self._state.evidence[seq]
            tail = worlds.blobs.get(evidence.output)[-OUTPUT_TAIL_BYTES:] if evidence.output else b""
            shown.append((evidence, tail.decode(errors="replace")))
        return build_prompt(
            ticket=ticket,
            body=worlds.blobs.get(ticket.body).decode(),
            order=order,
            evidence=shown,
            policy=self._policy,
            agents_md=await self._agents_md(order.start),
            template=worlds.prompt_template,
        )

    async def _agents_md(self, commit: str) -> str | None:
        try:
            return (await self._worlds.candidates.read_file(commit, "AGENTS.md")).decode(errors="replace")
        except KeyError:
            return None

    # --- git --------------------------------------------------------------------------------------------------------

    async def _merge(self, key: str, order: e.MergeOrder) -> e.Input:
        formed = await self._worlds.candidates.form(order)
        if isinstance(formed, e.CandidateFormed):
            envs = self._worlds.environments.digests(await self._worlds.candidates.files(formed.commit))
            return msgspec.structs.replace(formed, key=key, envs=envs)
        return msgspec.structs.replace(formed, key=key)

    async def _land(self, key: str, order: e.LandOrder) -> e.LandEnded:
        ended = await self._worlds.trunk.land(order)
        position = None if ended.position is None else await self.with_envs(ended.position)
        return msgspec.structs.replace(ended, key=key, position=position)

    async def with_envs(self, position: e.TrunkPosition) -> e.TrunkPosition:
        """The position with the digests of its environments filled in."""
        envs = self._worlds.environments.digests(await self._worlds.candidates.files(position.commit))
        return msgspec.structs.replace(position, envs=envs)

    # --- gates and environments -------------------------------------------------------------------------------------

    async def _gate(self, key: str, order: e.GateOrder, started: Started) -> e.GateEnded:
        worlds, job = self._worlds, make_job_directory(self._worlds.jobs, key)
        spec = self._spec(order)
        opened: list[ports.Checkout] = []
        try:
            checkout = await worlds.workspaces.open_checkout(_name(key), order.commit)
            opened.append(checkout)
            envs = self._gate_envs(spec, order)
            confinement = await self._confine(checkout, job, envs, network=spec.network)
            base: ports.Confinement | str | None = None
            if spec.oracle == "differential" and order.base:
                twin = await worlds.workspaces.open_checkout(_name(key) + "-base", order.base)
                opened.append(twin)
                base = await self._confine(twin, make_job_directory(job, "base"), envs, network=spec.network)
            for made in (confinement, base):
                if isinstance(made, str):
                    return self._gate_end(key, order, spec, broken(order, spec, made))
            run = ports.GateRun(
                spec=spec,
                order=order,
                confinement=confinement,  # type: ignore[arg-type]
                job_dir=str(job),
                base=base,  # type: ignore[arg-type]
                golden=await self._golden(spec, order),
            )
            return self._gate_end(key, order, spec, await worlds.gates.run(run, started))
        finally:
            await asyncio.gather(*(worlds.workspaces.discard(c) for c in opened))
            remove_home(job)

    def _gate_end(self, key: str, order: e.GateOrder, spec: GateSpec, seen: Evidence) -> e.GateEnded:
        evidence = msgspec.structs.replace(
            seen,
            gate=order.gate,
            look=order.look,
            tree=order.tree,
            commit=order.commit,
            base_tree=order.against_tree,
            gate_digest=spec.digest,
            env_digest=order.env_digest,
            control_digest=self._control_digest(order),
            isolation=self._worlds.sandbox.isolation().name,
        )
        return e.GateEnded(key=key, evidence=evidence)

    def _control_digest(self, order: e.GateOrder) -> str:
        for run in self._state.tickets.values():
            if run.candidate is not None and run.candidate.tree == order.tree:
                return run.candidate.control_digest
        return self._state.trunk.control_digest

    def _spec(self, order: e.GateOrder) -> GateSpec:
        spec = self._policy.gate(order.gate)
        if spec is not None:
            return spec
        assert order.command is not None, f"no gate {order.gate}"
        adhoc = GateSpec(name=order.gate, command=order.command)
        return msgspec.structs.replace(adhoc, digest=digest_of(adhoc))

    def _gate_envs(self, spec: GateSpec, order: e.GateOrder) -> Sequence[tuple[str, str]]:
        digests = self._state.tree_envs.get(order.env_tree or order.tree, {})
        if self._policy.gate(order.gate) is None:
            return self._policy_envs(digests)
        return [(spec.env, order.env_digest)] if spec.env else []

    def _policy_envs(self, digests: dict[str, str]) -> list[tuple[str, str]]:
        return [(env.name, digests.get(env.name, "")) for env in self._policy.envs]

    async def _golden(self, spec: GateSpec, order: e.GateOrder) -> bytes | None:
        if spec.golden is None:
            return None
        try:
            return await self._worlds.candidates.read_file(order.base or order.commit, spec.golden)
        except KeyError:
            return None

    async def _env(self, key: str, order: e.EnvOrder, started: Started) -> e.EnvEnded:
        worlds, job = self._worlds, make_job_directory(self._worlds.jobs, key)
        checkout = await worlds.workspaces.open_checkout(_name(key), order.commit)
        try:
            ended = await worlds.environments.build(order, checkout, str(job), started)
            output = worlds.blobs.put(_tail_of_output(job, AGENT_OUTPUT_BYTES_MAX))
            return msgspec.structs.replace(ended, key=key, output=output)
        finally:
            await worlds.workspaces.discard(checkout)
            remove_home(job)

    async def _confine(
        self,
        checkout: ports.Checkout,
        job: Path,
        envs: Sequence[tuple[str, str]],
        *,
        network: str = "none",
        agent: bool = False,
    ) -> ports.Confinement | str:
        """The confinement of a working tree with its environments; a text where one cannot be set up."""
        worlds = self._worlds
        mounts = list(worlds.workspaces.mounts(checkout))
        for name, digest in envs:
            prepared = await worlds.environments.prepare(name, checkout, str(job))
            if prepared is not None and not prepared.ok:
                return f"environment {name}: {prepared.message}"
            mounts += worlds.environments.mounts(name, digest, checkout, str(job))
        home = job / "home"
        home.mkdir(exist_ok=True)
        return ports.Confinement(
            checkout=checkout,
            home=str(home),
            mounts=tuple(mounts),
            network=worlds.agent_network if agent else network,  # type: ignore[arg-type]
            env=dict(worlds.agent_env) if agent else {},
        )


def broken(order: e.GateOrder, spec: GateSpec, why: str) -> Evidence:
    """Evidence that a gate could not run: never a pass, and nobody's red until base was asked."""
    return Evidence(gate=spec.name, look=order.look, tree=order.tree, commit=order.commit, verdict="broken", why=why)


def _name(key: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "-", "-".join(key.split("/")[1:]))


def _tail_of_output(job: Path, most: int) -> bytes:
    parts = []
    for stream in ("stdout", "stderr"):
        path = job / stream
        if path.exists() and path.stat().st_size:
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - most // 2))
                parts.append(file.read(most // 2))
    return b"\n".join(parts)


def tickets_of(texts: Sequence[ports.TicketText], blobs: ports.Blobs) -> list[Ticket]:
    """The tickets, their bodies kept as blobs."""
    for text in texts:
        kept = blobs.put(text.body.encode())
        assert kept == text.ticket.body, f"{text.ticket.id}: the body's digest is not its own"
    return [text.ticket for text in texts]
