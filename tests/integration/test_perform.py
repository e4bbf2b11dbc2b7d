"""What performing a job does with the world: what is opened is closed, what was seen is told as it was asked."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock import ports
from penstock.adapters.agents.command import CommandAgent
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core import events as e
from penstock.core.evolve import evolve
from penstock.core.policy import EnvSpec, GateSpec
from penstock.core.verdicts import Evidence
from penstock.shell.job_directory import job_directory
from tests.fifo import written_to
from tests.integration.shell_world import Shell, small, told, until, wanted
from tests.model.world import World

TURN, GATE = "r1/turn/A/1/1", "r1/gate/tests@t.lands/1/1"
STATIC = GateSpec(name="tests", command="pytest", digest="g" * 64, env="py")
TWIN = GateSpec(name="twin", command="./twin", oracle="differential", digest="h" * 64)
SHOT = GateSpec(name="shot", command="./shot", oracle="snapshot", digest="i" * 64, golden="README")


def unheard(identity: ports.ProcessIdentity) -> None: ...


def begun(place: Path, world: World | None = None) -> Shell:
    """A shell whose run has begun and whose first turn is owed, of which nothing is performed."""
    shell = Shell(place, world or small())
    for event in shell.first():
        evolve(shell.state, e.Record(seq=shell.state.seq + 1, at_ms=1, event=event))
    return shell


def turn(shell: Shell, **fields: Any) -> e.TurnOrder:
    at = shell.state.trunk.commit
    return e.TurnOrder(ticket="A", attempt=1, role="build", start=at, trunk=at, **fields)


def gate(shell: Shell, name: str = "tests", **fields: Any) -> e.GateOrder:
    at = shell.state.trunk
    return e.GateOrder(gate=name, look="lands", commit=at.commit, tree=at.tree, **fields)


def left(shell: Shell) -> list[str]:
    """Working trees that are still there."""
    clones = shell.place / "clones"
    return sorted(path.name for path in clones.iterdir()) if clones.exists() else []


async def seen_of(shell: Shell, order: e.GateOrder) -> Evidence:
    ended = await shell.performer.perform(GATE, order, unheard)
    assert isinstance(ended, e.GateEnded)
    return ended.evidence


# --- turns ----------------------------------------------------------------------------------------------------------


@told
async def test_a_turn_is_told_with_its_work_its_words_and_what_it_was_asked(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    ended = await shell.performer.perform(TURN, turn(shell), unheard)
    assert isinstance(ended, e.TurnEnded)
    assert (ended.key, ended.outcome, ended.salvage) == (TURN, "ended", "refs/penstock/salvage/r1/A/1-1")
    assert {change.path for change in ended.changes} == {"src/a.py", "tests/test_a.py"}
    assert ended.prompt is not None
    assert "Do it." in shell.blobs.get(ended.prompt).decode()
    assert ended.output is not None
    assert shell.blobs.get(ended.output) == b"I am done.\n"


@told
async def test_what_a_turn_opened_is_closed_and_its_home_thrown_away(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    await shell.performer.perform(TURN, turn(shell), unheard)
    ((brief, confinement),) = shell.agent.seen
    assert left(shell) == []
    assert not Path(confinement.home).exists()
    assert (Path(brief.job_dir) / "stdout").exists()


@told
async def test_a_key_starts_at_most_once(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    await shell.performer.perform(TURN, turn(shell), unheard)
    with pytest.raises(FileExistsError):
        await shell.performer.perform(TURN, turn(shell), unheard)
    assert len(shell.agent.seen) == 1


@told
async def test_work_that_cannot_be_taken_over_is_no_success(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    shell.workspaces.refusal = "10 GB of new content"
    ended = await shell.performer.perform(TURN, turn(shell), unheard)
    assert isinstance(ended, e.TurnEnded)
    assert (ended.outcome, ended.head) == ("crashed", shell.state.trunk.commit)
    assert "10 GB" in ended.message
    assert left(shell) == []


@told
async def test_an_environment_that_cannot_be_set_up_blames_no_agent(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), envs=(EnvSpec(name="py", setup="pip"),)))
    shell.environments.broken = "no such version"
    ended = await shell.performer.perform(TURN, turn(shell), unheard)
    assert isinstance(ended, e.TurnEnded)
    assert (ended.outcome, ended.message) == ("infra", "environment py: no such version")
    assert shell.agent.seen == []
    assert left(shell) == []


@told
async def test_a_real_agent_that_is_cancelled_is_ended_and_its_work_kept(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    begun_to_work = tmp_path / "begun"
    os.mkfifo(begun_to_work)
    program = (
        "import pathlib, signal; pathlib.Path('half').write_text('half'); "
        f"open({str(begun_to_work)!r}, 'w').write('.'); signal.pause()"
    )
    shell.worlds.agent = CommandAgent((sys.executable, "-c", program), sandbox=NoSandbox(), processes=shell.processes)
    identities: list[ports.ProcessIdentity] = []
    running = asyncio.create_task(shell.performer.perform(TURN, turn(shell), identities.append))
    await until(written_to(begun_to_work), running)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert not Path(f"/proc/{identities[0].pid}").exists()
    assert shell.workspaces.kept == ["refs/penstock/salvage/r1/A/1-1"]
    assert left(shell) == []


# --- gates ----------------------------------------------------------------------------------------------------------


@told
async def test_evidence_is_of_what_was_asked_whatever_the_gate_says(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), gates=(STATIC,), envs=(EnvSpec(name="py", setup="pip"),)))

    class Liar:
        async def run(self, run: ports.GateRun, started: object = None) -> Evidence:
            return Evidence(gate="other", look="base", tree="another", commit="another", verdict="pass")

    shell.worlds.gates = Liar()
    order = gate(shell, env_digest="e" * 64, against_tree="t-base")
    seen = await seen_of(shell, order)
    assert (seen.gate, seen.look, seen.tree, seen.commit) == ("tests", "lands", order.tree, order.commit)
    assert (seen.gate_digest, seen.env_digest, seen.base_tree) == ("g" * 64, "e" * 64, "t-base")
    assert seen.isolation == "none"


@told
async def test_a_gate_gets_its_environment_and_gives_back_its_checkout(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), gates=(STATIC,), envs=(EnvSpec(name="py", setup="pip"),)))
    await seen_of(shell, gate(shell, env_digest="e" * 64))
    (run,) = shell.gates.seen
    assert [mount.source for mount in run.confinement.mounts] == ["/sealed/py/eeeeeeee"]
    assert left(shell) == []
    assert not Path(run.confinement.home).exists()


@told
async def test_a_gate_that_cannot_be_set_up_is_broken_and_no_pass(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), gates=(STATIC,), envs=(EnvSpec(name="py", setup="pip"),)))
    shell.environments.broken = "no such version"
    seen = await seen_of(shell, gate(shell, env_digest="e" * 64))
    assert (seen.verdict, seen.why) == ("broken", "environment py: no such version")
    assert shell.gates.seen == []
    assert left(shell) == []


@told
async def test_a_differential_gate_gets_base_beside_the_candidate(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), gates=(TWIN,)))
    other = shell.world.repository.commit({"README": "other"}, shell.state.trunk.commit)
    await seen_of(shell, gate(shell, "twin", base=other))
    (run,) = shell.gates.seen
    assert run.base is not None
    assert run.base.checkout.commit == other
    assert run.base.home != run.confinement.home
    assert left(shell) == []


@told
async def test_a_snapshot_gate_gets_the_golden_output_of_base(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), gates=(SHOT,)))
    other = shell.world.repository.commit({"README": "what base printed"}, "")
    without = shell.world.repository.commit({"src/a.py": "right"}, "")
    await seen_of(shell, gate(shell, "shot", base=other))
    await shell.performer.perform(f"{GATE}1", gate(shell, "shot", base=without), unheard)
    assert [run.golden for run in shell.gates.seen] == [b"what base printed", None]


@told
async def test_a_criterion_runs_its_own_command_among_all_environments(tmp_path: Path) -> None:
    envs = (EnvSpec(name="py", setup="pip"), EnvSpec(name="js", setup="npm"))
    shell = begun(tmp_path, small(wanted("A"), envs=envs))
    order = msgspec.structs.replace(gate(shell, "A#1", command="grep hello README"), look="criterion")
    assert (await seen_of(shell, order)).verdict == "pass"
    (run,) = shell.gates.seen
    assert run.spec.command == "grep hello README"
    assert [mount.target for mount in run.confinement.mounts] == ["/env/py", "/env/js"]


# --- the others -----------------------------------------------------------------------------------------------------


@told
async def test_an_environment_is_built_from_a_checkout_that_is_given_back(tmp_path: Path) -> None:
    shell = begun(tmp_path)
    order = e.EnvOrder(env="py", digest="e" * 64, commit=shell.state.trunk.commit)
    ended = await shell.performer.perform("r1/env/py/0/1", order, unheard)
    assert isinstance(ended, e.EnvEnded)
    assert (ended.key, ended.ok) == ("r1/env/py/0/1", True)
    assert ended.output is not None
    assert shell.blobs.get(ended.output) == b"built\n"
    assert left(shell) == []


@told
async def test_merges_and_landings_say_which_environments_their_trees_have(tmp_path: Path) -> None:
    shell = begun(tmp_path, small(wanted("A"), envs=(EnvSpec(name="py", setup="pip"),)))
    at = shell.state.trunk.commit
    head = shell.world.repository.commit({**shell.world.repository.files(at), "src/a.py": "right"}, at)
    merge = e.MergeOrder(ticket="A", revision="d", title="A", head=head, onto=at, evidence_key="k")
    formed = await shell.performer.perform("r1/merge/A/1/1", merge, unheard)
    assert isinstance(formed, e.CandidateFormed)
    assert (formed.key, set(formed.envs)) == ("r1/merge/A/1/1", {"py"})
    land = e.LandOrder(ticket="A", commit=formed.commit, tree=formed.tree, expected=at)
    landed = await shell.performer.perform("r1/land/A/1/1", land, unheard)
    assert isinstance(landed, e.LandEnded)
    assert landed.position is not None
    assert (landed.key, landed.outcome, set(landed.position.envs)) == ("r1/land/A/1/1", "landed", {"py"})
    assert not job_directory(shell.jobs, "r1/merge/A/1/1").exists()
