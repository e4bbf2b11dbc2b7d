"""What every agent gives: a turn in, a report out, by a real process in its clone; what it says is only a claim."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from penstock.adapters.agents.command import CommandAgent
from penstock.adapters.agents.report_file import (
    CLAIMS_MAX,
    COUNT_MAX,
    FILE_BYTES_MAX,
    LINE_BYTES_MAX,
    TEXT_CHARS_MAX,
    Said,
    parse_report,
)
from penstock.adapters.agents.script import read_script
from penstock.adapters.agents.scripted import ScriptedAgent
from penstock.adapters.processes import LocalProcesses
from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.adapters.sandbox_none import NoSandbox
from penstock.core.events import TurnOrder, Usage
from penstock.ports import Agent, AgentReport, BadInput, Checkout, Confinement, ProcessIdentity, Sandbox, TurnBrief
from tests.fifo import written_to


class Desk:
    """A clone to work in, and turns of any agent there."""

    def __init__(self, directory: Path, sandbox: Sandbox) -> None:
        self.sandbox = sandbox
        self.clone = directory / "clone"
        self.clone.mkdir()
        self.directory = directory
        self.number = 0
        at = "/srv/repository" if sandbox.isolation().filesystem else str(self.clone)
        self.checkout = Checkout(path=str(self.clone), at=at, commit="c" * 40, tree="d" * 40)

    def command(self, command: str | list[str]) -> CommandAgent:
        return CommandAgent(command, sandbox=self.sandbox, processes=LocalProcesses(grace_ms=200))

    def scripted(self, script: str) -> ScriptedAgent:
        parsed = read_script(script.encode(), "agent.yaml")
        return ScriptedAgent(parsed, sandbox=self.sandbox, processes=LocalProcesses(grace_ms=200))

    def steps(self, *steps: str) -> ScriptedAgent:
        return self.scripted("tickets: {T-1: [{steps: [%s]}]}" % ", ".join(steps))  # noqa: UP031

    def turn(self, agent: Agent, started: Callable[[ProcessIdentity], None] | None = None, **said: Any) -> AgentReport:
        return asyncio.run(self.begin(agent, started, **said))

    async def begin(
        self,
        agent: Agent,
        started: Callable[[ProcessIdentity], None] | None = None,
        *,
        prompt: str = "Do it.",
        env: dict[str, str] | None = None,
        output_bytes_max: int = 1_000_000,
        **order: Any,
    ) -> AgentReport:
        self.number += 1
        job = self.directory / f"job-{self.number}"
        (job / "home").mkdir(parents=True)
        defaults = {"ticket": "T-1", "attempt": 1, "role": "build", "start": "c" * 40, "trunk": "c" * 40}
        brief = TurnBrief(
            order=TurnOrder(**{**defaults, "wall_ms": 30_000, **order}),
            prompt=prompt,
            job_dir=str(job),
            output_bytes_max=output_bytes_max,
        )
        confinement = Confinement(checkout=self.checkout, home=str(job / "home"), env=env or {})
        return await agent.turn(brief, confinement, started)

    def read(self, name: str) -> str:
        return (self.clone / name).read_text()


def bubblewrap() -> Sandbox:
    sandbox = BubblewrapSandbox()
    answer = sandbox.probe()
    if isinstance(answer, str):
        pytest.skip(f"needs bubblewrap: {answer}")
    return sandbox


@pytest.fixture(params=[NoSandbox, bubblewrap], ids=["none", "bubblewrap"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Desk:
    return Desk(tmp_path, request.param())


# --- any program ----------------------------------------------------------------------------------------------------


def test_the_prompt_is_on_stdin_and_the_clone_is_where_it_works(desk: Desk) -> None:
    report = desk.turn(desk.command("cat > prompt; pwd > place"), prompt="Grüße,\nmake it so.")
    assert report.outcome == "ended"
    assert report.exit_status == 0
    assert desk.read("prompt") == "Grüße,\nmake it so."
    assert desk.read("place").strip() == desk.checkout.at


def test_a_list_is_an_argument_vector(desk: Desk) -> None:
    assert desk.turn(desk.command(["cp", "/dev/null", "a file; not two"])).outcome == "ended"
    assert desk.read("a file; not two") == ""


def test_it_gets_what_it_was_given_and_not_our_environment(desk: Desk) -> None:
    desk.turn(desk.command('echo "$GIVEN/$PYTEST_CURRENT_TEST" > env'), env={"GIVEN": "a key"})
    assert os.environ["PYTEST_CURRENT_TEST"]
    assert desk.read("env") == "a key/\n"


def test_its_start_is_told(desk: Desk) -> None:
    seen: list[ProcessIdentity] = []
    desk.turn(desk.command("true"), seen.append)
    assert [identity.pid > 0 for identity in seen] == [True]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (0, "ended"),
        (1, "crashed"),
        (2, "crashed"),
        (70, "crashed"),
        (75, "provider_transient"),
        (77, "provider_terminal"),
        (127, "infra"),
    ],
)
def test_the_exit_status_says_how_it_ended(desk: Desk, status: int, outcome: str) -> None:
    report = desk.turn(desk.command(f"exit {status}"))
    assert (report.outcome, report.exit_status) == (outcome, status)


def test_a_crash_shows_the_end_of_what_it_complained_of(desk: Desk) -> None:
    line = r"i=0; while [ $i -lt 3000 ]; do echo line $i >&2; i=$((i+1)); done; printf 'red \033[31mdead\n' >&2; exit 3"
    report = desk.turn(desk.command(line))
    assert report.message.startswith("exit status 3: ")
    assert report.message.endswith("line 2999\nred ?[31mdead")
    assert len(report.message) < 300


def test_a_signal_is_a_crash(desk: Desk) -> None:
    report = desk.turn(desk.command("echo oh >&2; kill -9 $$"))
    assert (report.outcome, report.exit_status) == ("crashed", 137)
    assert "signal 9" in report.message
    assert "oh" in report.message


@pytest.mark.parametrize(
    ("line", "limits", "outcome"),
    [
        ("sleep 60", {"wall_ms": 300}, "timeout"),
        ("sleep 60", {"stall_ms": 300}, "stalled"),
        ("yes", {"output_bytes_max": 10_000}, "flood"),
    ],
)
def test_a_limit_ends_it(desk: Desk, line: str, limits: dict[str, Any], outcome: str) -> None:
    report = desk.turn(desk.command(line), **limits)
    assert report.outcome == outcome
    assert report.message
    assert desk.turn(desk.command("sleep 0.5"), stall_ms=5_000).outcome == "ended"


def test_work_in_the_clone_is_progress(desk: Desk) -> None:
    busy = "i=0; while [ $i -lt 16 ]; do echo $i >> file; sleep 0.1; i=$((i+1)); done"
    assert desk.turn(desk.command(busy), stall_ms=1_000).outcome == "ended"


def test_what_cannot_be_started_blames_nobody(tmp_path: Path) -> None:
    desk = Desk(tmp_path, NoSandbox())
    report = desk.turn(desk.command(["/no/such/program"]))
    assert report.outcome == "infra"
    assert "/no/such/program" in report.message


def test_cancelling_ends_the_whole_tree(desk: Desk) -> None:
    mark = f"sleep 60.{os.getpid()}"

    async def cancel_once_it_works() -> None:
        os.mkfifo(desk.clone / "up")
        turn = asyncio.create_task(desk.begin(desk.command(f"{mark} & echo > up; {mark}")))
        await written_to(desk.clone / "up")
        assert mark in running_commands()
        turn.cancel()
        with pytest.raises(asyncio.CancelledError):
            await turn

    asyncio.run(cancel_once_it_works())
    assert mark not in running_commands()


def running_commands() -> str:
    return subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


# --- what it says of itself -----------------------------------------------------------------------------------------


def says(*lines: str) -> str:
    return "cat > \"$PENSTOCK_AGENT_REPORT\" <<'END'\n" + "\n".join(lines) + "\nEND\n"


def test_usage_adds_up_and_claims_are_kept(desk: Desk) -> None:
    report = desk.turn(
        desk.command(
            says(
                '{"type": "usage", "tokens": 1000, "edits": 1}',
                '{"type": "claim", "text": "all tests pass"}',
                '{"type": "usage", "tokens": 200, "micro_dollars": 5}',
                '{"type": "claim", "text": "really"}',
            )
        )
    )
    assert report.usage == Usage(tokens=1_200, micro_dollars=5, edits=1)
    assert report.claims == ("all tests pass", "really")
    assert (report.outcome, report.message) == ("ended", "")


def test_who_says_nothing_has_used_an_unknown_amount(desk: Desk) -> None:
    assert desk.turn(desk.command("true")).usage == Usage()


@pytest.mark.parametrize(
    ("kind", "outcome", "wait"),
    [
        ("provider_transient", "provider_transient", 7),
        ("provider_terminal", "provider_terminal", 0),
        ("agent_refused", "refused", 0),
    ],
)
@pytest.mark.parametrize("status", [0, 1, 75])
def test_a_failure_that_it_reports_outranks_its_exit_status(
    desk: Desk, kind: str, outcome: str, wait: int, status: int
) -> None:
    line = f'{{"type": "failure", "class": "{kind}", "message": "not now", "retry_after_ms": 7}}'
    report = desk.turn(desk.command(says(line) + f"exit {status}"))
    assert (report.outcome, report.message, report.retry_after_ms) == (outcome, "not now", wait)


def test_what_was_seen_outranks_what_is_said(desk: Desk) -> None:
    line = '{"type": "failure", "class": "provider_transient"}'
    assert desk.turn(desk.command(says(line) + "sleep 60"), wall_ms=300).outcome == "timeout"
    assert desk.turn(desk.command(says(line) + "kill -9 $$")).outcome == "crashed"


def test_refused_lines_are_told_of(desk: Desk) -> None:
    report = desk.turn(desk.command(says('{"type": "usage", "tokens": -5}', "nonsense")))
    assert (report.outcome, report.usage) == ("ended", Usage())
    assert "2 lines" in report.message


@pytest.mark.parametrize("trick", ["ln -s /etc/passwd", "mkdir", "mkfifo"])
def test_a_report_that_is_no_plain_file_says_nothing(desk: Desk, trick: str) -> None:
    report = desk.turn(desk.command(f'{trick} "$PENSTOCK_AGENT_REPORT"'))
    assert (report.outcome, report.usage, report.claims) == ("ended", Usage(), ())


CLAIM = b'{"type": "claim", "text": "x"}'


@pytest.mark.parametrize(
    "line",
    [
        b'{"type": "usage", "tokens": -1}',
        b'{"type": "usage", "tokens": true}',
        b'{"type": "usage", "tokens": 1.5}',
        b'{"type": "usage", "tokens": "1"}',
        b'{"type": "usage", "tokens": 1e400}',
        b'{"type": "usage", "tokens": %d}' % (COUNT_MAX + 1),
        b'{"type": "claim"}',
        b'{"type": "claim", "text": null}',
        b'{"type": "claim", "text": "\\ud800"}',
        b'{"type": "claim", "text": "\xff"}',
        b'{"type": "claim", "text": "%s"}' % (b"x" * LINE_BYTES_MAX),
        b'{"type": "failure", "class": "gate_red"}',
        b'{"type": "failure", "class": "provider_transient", "retry_after_ms": -1}',
        b'{"type": "verdict", "gate": "tests"}',
        b'["claim"]',
        b"null",
        b"[" * 10_000,
        b"\0",
    ],
    ids=lambda line: line[:60].decode(errors="replace"),
)
def test_a_hostile_line_counts_for_nothing_and_spoils_no_other(line: bytes) -> None:
    assert parse_report(CLAIM + b"\n" + line + b"\n" + CLAIM) == Said(claims=("x", "x"), refused=1)


def test_what_is_not_known_beside_what_is_known_is_left_out() -> None:
    assert parse_report(b'{"type": "usage", "tokens": 3, "model": "m"}') == Said(usage=Usage(tokens=3))


def test_everything_has_a_cap() -> None:
    long = b'{"type": "claim", "text": "%s"}\n' % (b"y" * (TEXT_CHARS_MAX + 1))
    said = parse_report(long * CLAIMS_MAX * 2)
    assert said.claims == ("y" * TEXT_CHARS_MAX,) * CLAIMS_MAX
    assert parse_report((CLAIM + b"\n") * (FILE_BYTES_MAX // len(CLAIM))).refused > 0
    most = b'{"type": "usage", "tokens": %d}\n' % COUNT_MAX
    assert parse_report(most * 3).usage == Usage(tokens=COUNT_MAX)


def test_a_claim_cannot_steer_a_terminal() -> None:
    assert parse_report(rb'{"type": "claim", "text": "\u001b[2J ok\u202e\n"}').claims == ("?[2J ok?\n",)


# --- a script -------------------------------------------------------------------------------------------------------


def test_edits_are_made(desk: Desk) -> None:
    for name in ("old", "more", "gone", "patched"):
        (desk.clone / name).write_text("one\ntwo\n")
    patch = "--- a/patched\\n+++ b/patched\\n@@ -1,2 +1,2 @@\\n one\\n-two\\n+three\\n"
    agent = desk.steps(
        'write: {path: new/deep, text: "a\\nb\\n"}',
        'replace: {path: old, old: two, new: ""}',
        'append: {path: more, text: "three\\n"}',
        "delete: gone",
        f'patch: "{patch}"',
    )
    assert desk.turn(agent).outcome == "ended"
    assert desk.read("new/deep") == "a\nb\n"
    assert desk.read("old") == "one\n\n"
    assert desk.read("more") == "one\ntwo\nthree\n"
    assert not (desk.clone / "gone").exists()
    assert desk.read("patched") == "one\nthree\n"


def test_its_words_are_output_claims_and_usage(desk: Desk) -> None:
    agent = desk.steps(
        "say: thinking",
        "run: cat || exit 1; echo ran > ran; false",
        "claim: all tests pass",
        "usage: {tokens: 12, edits: 1}",
        "wait_ms: 1",
    )
    report = desk.turn(agent)
    assert (report.outcome, report.claims, report.usage) == ("ended", ("all tests pass",), Usage(tokens=12, edits=1))
    assert desk.read("ran") == "ran\n"
    assert (desk.directory / "job-1" / "stdout").read_text() == "thinking\n[exit status 1]\n"


@pytest.mark.parametrize(
    ("step", "limits", "outcome"),
    [
        ("exit: 0", {}, "ended"),
        ("exit: 3", {}, "crashed"),
        ("exit: 75", {}, "provider_transient"),
        ("crash: SIGKILL", {}, "crashed"),
        ("crash: SIGSEGV", {}, "crashed"),
        ("hang: true", {"stall_ms": 300}, "stalled"),
        ("hang: true", {"wall_ms": 300}, "timeout"),
        ("flood: 1000000", {"output_bytes_max": 100_000}, "flood"),
        ("fail: {class: provider_terminal, message: no credit}", {}, "provider_terminal"),
        ("fail: {class: agent_refused}", {}, "refused"),
    ],
)
def test_it_can_misbehave(desk: Desk, step: str, limits: dict[str, Any], outcome: str) -> None:
    agent = desk.steps('write: {path: half, text: ""}', step, "delete: half")
    assert desk.turn(agent, **limits).outcome == outcome
    does_go_on = step.startswith("fail") or (step.startswith("flood") and not (desk.clone / "half").exists())
    assert (desk.clone / "half").exists() != does_go_on


def test_a_step_that_cannot_be_done_is_a_crash_that_says_which(desk: Desk) -> None:
    (desk.clone / "file").write_text("two two")
    report = desk.turn(desk.steps("say: hello", "replace: {path: file, old: two, new: one}"))
    assert report.outcome == "crashed"
    assert "step 2 (replace): file has the old text 2 times, not once" in report.message
    assert desk.read("file") == "two two"


TURNS = """
tickets:
  T-1:
    - steps: [say: a1 t1]
    - steps: [say: a1 t2]
    - attempt: 3
      steps: [say: a3 t1]
  T-2:
    - steps: []
"""


@pytest.mark.parametrize(
    ("ticket", "attempt", "turn", "said"),
    [
        ("T-1", 1, 1, "a1 t1\n"),
        ("T-1", 1, 2, "a1 t2\n"),
        ("T-1", 1, 3, ""),
        ("T-1", 2, 2, "a1 t2\n"),
        ("T-1", 3, 1, "a3 t1\n"),
        ("T-1", 3, 2, ""),
        ("T-1", 4, 1, "a3 t1\n"),
        ("T-2", 1, 1, ""),
        ("T-9", 1, 1, ""),
    ],
)
def test_ticket_attempt_and_turn_say_what_is_done(
    tmp_path: Path, ticket: str, attempt: int, turn: int, said: str
) -> None:
    desk = Desk(tmp_path, NoSandbox())
    agent = desk.scripted(TURNS)
    for _ in range(2):  # a turn that was lost and is run again does the same again
        assert desk.turn(agent, ticket=ticket, attempt=attempt, turn=turn).outcome == "ended"
        assert (tmp_path / f"job-{desk.number}" / "stdout").read_text() == said


ONE_TURN = "tickets:\n  T-1:\n    - steps: [%s]\n"


@pytest.mark.parametrize(
    ("script", "place", "problem"),
    [
        (ONE_TURN % "wrote: x", "3: [tickets.T-1[0].steps[0].wrote]", 'there is no step "wrote"'),
        (ONE_TURN % "{say: x, run: y}", "3: [tickets.T-1[0].steps[0]]", "a step is one"),
        (ONE_TURN % "exit: 256", "3: [tickets.T-1[0].steps[0].exit]", "is 256, which is out of range"),
        (ONE_TURN % "exit: ", "3: [tickets.T-1[0].steps[0].exit]", "must be a whole number"),
        (ONE_TURN % "hang: false", "3: [tickets.T-1[0].steps[0].hang]", "can only be true"),
        (ONE_TURN % "crash: SIGNOT", "3: [tickets.T-1[0].steps[0].crash]", 'cannot be "SIGNOT"'),
        (ONE_TURN % "crash: ", "3: [tickets.T-1[0].steps[0].crash]", "is missing"),
        (ONE_TURN % "write: {path: a}", "3: [tickets.T-1[0].steps[0].write.text]", "must be text"),
        (ONE_TURN % "usage: {tokens: -1}", "3: [tickets.T-1[0].steps[0].usage.tokens]", "is -1"),
        (ONE_TURN % "fail: {message: x}", "3: [tickets.T-1[0].steps[0].fail.class]", "is missing"),
        ("tickets:\n  T-1:\n    - stops: []\n", "3: [tickets.T-1[0].stops]", 'unknown key "stops"'),
        ("tickets:\n  T-1:\n    - attempt: 2\n    - attempt: 1\n", "4: [tickets.T-1[1].attempt]", "is 1, which is out"),
        ("ticket: {}\n", "1: [ticket]", 'unknown key "ticket"'),
        ("tickets: [\n", "2:", "is not YAML"),
    ],
)
def test_what_is_wrong_with_a_script_is_said_with_its_place(script: str, place: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        read_script(script.encode(), "agent.yaml")
    assert f"agent.yaml:{place} {problem}" in str(caught.value)


def test_a_script_is_read_from_a_file(tmp_path: Path) -> None:
    desk = Desk(tmp_path, NoSandbox())
    (tmp_path / "agent.yaml").write_text(TURNS)
    agent = ScriptedAgent.from_file(tmp_path / "agent.yaml", sandbox=desk.sandbox, processes=LocalProcesses())
    assert desk.turn(agent).outcome == "ended"
    with pytest.raises(BadInput, match=r"none\.yaml: cannot be read"):
        ScriptedAgent.from_file(tmp_path / "none.yaml", sandbox=desk.sandbox, processes=LocalProcesses())


def test_the_program_needs_nothing_of_ours() -> None:
    from penstock.adapters.agents.scripted import PROGRAM

    end = subprocess.run([sys.executable, "-I", "-S", PROGRAM, os.devnull], input=b"", capture_output=True)
    assert b"JSONDecodeError" in end.stderr
