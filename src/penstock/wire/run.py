"""The main job, wired: settings and adapters in, a driven log and a sealed report out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from penstock import __version__, ports
from penstock.adapters.agents.command import CommandAgent
from penstock.adapters.agents.scripted import ScriptedAgent
from penstock.adapters.blobs_files import FileBlobs
from penstock.adapters.clock_system import SystemClock
from penstock.adapters.environments_built import BuiltEnvironments
from penstock.adapters.gates.command import CommandGates
from penstock.adapters.git.candidates import GitCandidates
from penstock.adapters.git.store import Store
from penstock.adapters.git.trunk import GitTrunk
from penstock.adapters.git.workspaces import GitWorkspaces
from penstock.adapters.ledger_file import LedgerFile
from penstock.adapters.log_sqlite import SqliteLog
from penstock.adapters.notify_command import NotifyCommand
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.adapters.sandbox_none import NoSandbox
from penstock.adapters.state_directory import RunDirectory
from penstock.core import events as e
from penstock.core.done import what_moves
from penstock.core.policy import FileClasses, Policy
from penstock.core.state import State
from penstock.core.tables import TERMINAL
from penstock.kernel.gated_agent import GatedAgent
from penstock.ports import BadInput, Problem
from penstock.settings.reader import needs_agent
from penstock.settings.redgreen import mode_in_force
from penstock.shell.control import serve
from penstock.shell.driver import Driver, Stopped
from penstock.shell.perform import Performer, Worlds, tickets_of
from penstock.shell.recovery import lost_jobs
from penstock.wire import snapshots
from penstock.wire.agent_program import require_agent
from penstock.wire.builtin_agent import open_builtin_agent
from penstock.wire.ledger import ledger_input, ledger_of
from penstock.wire.project import Project, open_project
from penstock.wire.sealing import Sealer
from penstock.wire.turn_gate import TurnGates


class RunOptions(msgspec.Struct, kw_only=True):
    """What the command line says about a run."""

    tickets: tuple[str, ...] = ()
    seed: int | None = None
    new: bool = False


@dataclass(frozen=True)
class Ended:
    """How a run ended, for the command line."""

    exit_code: int
    summary: str
    report_json: str = ""


class Progress(Protocol):
    """What the run tells while it goes on."""

    def observe(self, record: e.Record, state: State) -> None:
        """A record is durable."""

    def say(self, text: str) -> None:
        """Something that is no record."""

    async def redraw(self) -> None:
        """Keep the picture current until cancelled."""


def run_tickets(directory: Path, options: RunOptions, progress: Progress) -> Ended:
    """Continue the unfinished run of the repository, or start one, and drive it to its end."""
    project = open_project(directory)
    problem = needs_agent(project.settings)
    if problem is not None:
        raise BadInput([problem])
    require_agent(project.settings, open_sandbox(project), project.facts.top)
    texts = choose(project.tickets().read(), options.tickets)
    epoch = project.state.acquire()
    try:
        return asyncio.run(_run(project, options, progress, texts, epoch))
    finally:
        project.state.release()


def choose(texts: Sequence[ports.TicketText], names: Sequence[str]) -> tuple[ports.TicketText, ...]:
    """The named tickets and what they depend on; all where none is named."""
    if not names:
        return tuple(texts)
    by_id = {t.ticket.id: t for t in texts}
    unknown = [n for n in names if n not in by_id]
    if unknown:
        fix = f"known: {', '.join(list(by_id)[:20])}"
        raise BadInput([Problem(file="tickets", line=0, field=n, message="no such ticket", fix=fix) for n in unknown])
    todo, wanted = list(names), set(names)
    while todo:
        for needed in by_id[todo.pop()].ticket.depends_on:
            if needed not in wanted:
                wanted.add(needed)
                todo.append(needed)
    return tuple(t for t in texts if t.ticket.id in wanted)


async def _run(
    project: Project, options: RunOptions, progress: Progress, texts: Sequence[ports.TicketText], epoch: int
) -> Ended:
    clock = SystemClock()
    place = None if options.new else project.state.newest_run(is_unfinished)
    place = place or project.state.make_run(clock.now_ms())
    blobs = FileBlobs(project.state.blobs)
    with contextlib.ExitStack() as open_things:
        log = SqliteLog.open_writer(place.log, epoch) if place.log.exists() else None
        if log is not None:
            open_things.callback(log.close)
        state = State() if log is None else snapshots.restore(log)
        wired = await wire_ports(project, place, blobs, state.landing_ref)
        await wired.trunk.take_fence(epoch)
        performer = Performer(wired, state)
        first = (
            await _begin(project, options, wired, performer, place.run, texts)
            if state.seq == 0
            else await _continue(project, wired, performer, state, epoch, texts, progress)
        )
        if log is None:  # only now: a start that is refused leaves no run behind
            log = SqliteLog.create(place.log, place.run, epoch)
            open_things.callback(log.close)
        sealer = Sealer(log, blobs, place.path)
        driver = Driver(
            state=state,
            log=log,
            clock=clock,
            performer=performer,
            seal=sealer.seal,
            observers=(progress.observe, Teller(project, place.run).observe),
            save=partial(snapshots.save, log),
        )
        try:
            await _drive(driver, first, place.control, progress)
        except Stopped:
            return Ended(130, f"stopped at once: `penstock run` continues {place.run}")
        LedgerFile(project.state.ledger).add(ledger_of(state))
        files = await sealer.publish(wired.candidates)
        follow = await wired.trunk.follow()
        return Ended(state.finished.exit_code if state.finished else 1, _summary(state, files, follow), sealer.json())


def is_unfinished(place: RunDirectory) -> bool:
    """Was the run begun and never sealed? A directory without a log was never begun."""
    if not place.log.exists():
        return False
    with contextlib.closing(SqliteLog.open_reader(place.log)) as log:
        last = log.last()
        return last is None or not isinstance(last.event, e.RunFinished)


async def _drive(driver: Driver, first: Sequence[e.Input], control: Path, progress: Progress) -> None:
    """Run the driver with its control socket, its signals and its picture."""
    loop = asyncio.get_running_loop()
    interrupts = 0

    def interrupted() -> None:
        nonlocal interrupts
        interrupts += 1
        if interrupts == 1:
            progress.say("draining: what runs may end, nothing new starts; Ctrl-C again stops at once")
            driver.tell(e.DrainAsked(who="the operator"))
        else:
            driver.stop()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupted)
    picture = asyncio.create_task(progress.redraw())
    server = await serve(driver, control)
    try:
        await driver.run(first)
    finally:
        server.close()
        control.unlink(missing_ok=True)
        picture.cancel()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


# --- beginning and going on -----------------------------------------------------------------------------------------


async def _begin(
    project: Project,
    options: RunOptions,
    wired: Worlds,
    performer: Performer,
    name: str,
    texts: Sequence[ports.TicketText],
) -> list[e.Input]:
    tickets = tickets_of(texts, wired.blobs)
    trunk = wired.trunk
    assert isinstance(trunk, GitTrunk)
    started = e.RunStarted(
        run=name,
        seed=options.seed if options.seed is not None else secrets.randbelow(2**31),
        version=__version__,
        policy=project.settings.policy,
        branch=project.facts.target,
        landing_ref=await trunk.landing_ref(),
        trunk=await performer.with_envs(await trunk.observe()),
        isolation=wired.sandbox.isolation().name,
        agent=project.settings.agent.kind,
    )
    done = await trunk.done_tickets()
    found = [e.TicketFoundDone(ticket=t.id, commit=done[(t.id, t.digest)]) for t in tickets if (t.id, t.digest) in done]
    ledger = ledger_input(LedgerFile(project.state.ledger).read(), tickets)
    return [started, ledger, *(e.TicketAdded(ticket=t) for t in tickets), *found]


async def _continue(
    project: Project,
    wired: Worlds,
    performer: Performer,
    state: State,
    epoch: int,
    texts: Sequence[ports.TicketText],
    progress: Progress,
) -> list[e.Input]:
    changed = None if project.settings.policy.digest == state.policy.digest else project.settings.policy
    here = await performer.with_envs(e.TrunkPosition(commit=state.trunk.commit, tree=state.trunk.tree))
    inputs: list[e.Input] = [e.RunResumed(version=__version__, epoch=epoch, policy=changed, envs=here.envs)]
    inputs += await lost_jobs(state, wired.jobs, wired.processes, performer)
    position = await performer.with_envs(await wired.trunk.observe())
    ours = {job.order.commit for job in state.jobs.values() if isinstance(job.order, e.LandOrder)}
    if position.commit != state.trunk.commit and position.commit not in ours:
        inputs.append(e.TrunkMoved(position=position))
    known = {run.ticket.digest for run in state.tickets.values()}
    for text in texts:
        if text.ticket.digest not in known and text.ticket.id in state.tickets:
            progress.say(f"{text.ticket.id} was changed: its new text is for the next run")
    fresh = [t for t in texts if t.ticket.id not in state.tickets]
    return [*inputs, *(e.TicketAdded(ticket=t) for t in tickets_of(fresh, wired.blobs))]


async def wire_ports(project: Project, place: RunDirectory, blobs: ports.Blobs, landing_ref: str) -> Worlds:
    """Concrete adapters for every port of a run; a resumed one goes on landing where it did."""
    settings, facts, state = project.settings, project.facts, project.state
    store = Store(facts)
    await store.sync()
    sandbox = open_sandbox(project)
    processes = LocalProcesses()
    files = with_gate_scripts(settings.policy, facts.top)
    workspaces = GitWorkspaces(
        store=store,
        sandbox=sandbox,
        processes=processes,
        files=files,
        clones=state.clones / place.run,
        at=facts.top,
        not_work=[path for env in settings.policy.envs for path in env.paths],
    )
    environments = BuiltEnvironments(
        settings.policy.envs,
        directory=state.envs,
        sandbox=sandbox,
        processes=processes,
        mounts_of=workspaces.mounts,
    )
    agent_env = {name: os.environ[name] for name in settings.agent.pass_env if name in os.environ}
    return Worlds(
        trunk=GitTrunk(facts, store, settings.policy.landing, files, landing_ref),
        candidates=GitCandidates(store, settings.policy.landing, files, place.run),
        workspaces=workspaces,
        environments=environments,
        agent=open_agent(project, sandbox, processes, files),
        gates=CommandGates(processes=processes, sandbox=sandbox, blobs=blobs, files=files),
        sandbox=sandbox,
        processes=processes,
        blobs=blobs,
        jobs=place.jobs,
        agent_network=settings.sandbox.agent_network,
        agent_env=agent_env,
        prompt_template=settings.agent.template or None,
    )


def open_sandbox(project: Project) -> ports.Sandbox:
    """The sandbox that the settings ask for. Raises `BadInput` where it cannot be had: going without is explicit."""
    settings = project.settings.sandbox
    if settings.mode == "none":
        return NoSandbox()
    readable = tuple(str(Path(p).expanduser()) for p in settings.readable)
    sandbox = BubblewrapSandbox(readable=readable)
    answer = sandbox.probe()
    if isinstance(answer, str):
        fix = 'install it, or write [sandbox] mode = "none" to run agents and gates unconfined'
        raise BadInput([Problem(file="penstock.toml", line=0, field="sandbox.mode", message=answer, fix=fix)])
    return sandbox


def open_agent(project: Project, sandbox: ports.Sandbox, processes: ports.Processes, files: FileClasses) -> ports.Agent:
    """The agent that the settings name; under a gate where red-green is asked for."""
    settings = project.settings
    gates = TurnGates(settings.redgreen, files, sandbox)
    if settings.agent.kind == "kernel":
        return open_builtin_agent(settings.agent.model, gates.open)
    inner = _program(project, sandbox, processes)
    mode, origin, _ = mode_in_force(settings.redgreen, os.environ)
    return GatedAgent(inner, gates.open) if origin != "default" and mode != "off" else inner


def _program(project: Project, sandbox: ports.Sandbox, processes: ports.Processes) -> ports.Agent:
    agent = project.settings.agent
    if agent.kind == "scripted":
        return ScriptedAgent.from_file(project.top / agent.script, sandbox=sandbox, processes=processes)
    return CommandAgent(agent.command, sandbox=sandbox, processes=processes)


def with_gate_scripts(policy: Policy, top: str) -> FileClasses:
    """File classes with the scripts that gates name among the control files: a gate's own script is base's."""
    named = {
        word
        for gate in policy.gates
        for word in gate.command.replace("'", " ").replace('"', " ").split()
        if "/" in word and (Path(top) / word).is_file()
    }
    extra = tuple(f"/{word.removeprefix('./')}" for word in sorted(named))
    return msgspec.structs.replace(policy.files, control_files=(*policy.files.control_files, *extra))


# --- telling --------------------------------------------------------------------------------------------------------


class Teller:
    """Runs the notify command once per held ticket, wedge, budget stop and end."""

    def __init__(self, project: Project, run: str) -> None:
        command = project.settings.notify.command
        self._notify = NotifyCommand(command) if command else None
        self._run = run
        self._tasks: set[asyncio.Task[None]] = set()

    def observe(self, record: e.Record, state: State) -> None:
        """Tell of the records that a person wants to hear of."""
        if self._notify is None:
            return
        event = record.event
        if isinstance(event, e.TicketMoved) and event.to == "held":
            self._tell("held", {"ticket": event.ticket, "reason": event.reason, "frees": event.frees})
        elif isinstance(event, e.RunConcluded):
            budget = event.outcome == "stopped" and event.reason.startswith("budget")
            occasion = "wedged" if event.outcome == "wedged" else "budget" if budget else "ended"
            self._tell(occasion, {"outcome": event.outcome, "reason": event.reason, "exit_code": event.exit_code})

    def _tell(self, occasion: str, payload: dict[str, object]) -> None:
        assert self._notify is not None
        task = asyncio.create_task(self._notify.tell(occasion, {"run": self._run, **payload}))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _summary(state: State, files: Sequence[Path], follow: str) -> str:
    counts: dict[str, int] = {}
    for run_of in state.tickets.values():
        counts[run_of.state] = counts.get(run_of.state, 0) + 1
    told = ", ".join(f"{n} {name}" for name, n in sorted(counts.items()))
    end = state.conclusion
    lines = [f"{end.outcome if end else 'unfinished'}: {told}" + (f" ({end.reason})" if end else "")]
    for name, run_of in state.tickets.items():
        if run_of.state not in TERMINAL or run_of.state == "failed":
            why = run_of.reason or what_moves(state, name)
            lines.append(f"  {name} {run_of.state}: {why}" + (f" -> {run_of.frees}" if run_of.frees else ""))
    if state.trunk.commit != state.first_trunk:
        lines.append(
            f"landed on {state.landing_ref.removeprefix('refs/heads/')}"
            + (f"; take it over: {follow}" if follow else "")
        )
    lines += [f"report: {path}" for path in files[:1]]
    return "\n".join(lines)
