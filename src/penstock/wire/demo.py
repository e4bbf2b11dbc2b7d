"""The bundled example, laid out for the sandbox that this machine can give, with a model where its agent asks one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from penstock.adapters.sandbox_bwrap import BubblewrapSandbox
from penstock.demo.build import MODEL, build, model_script
from penstock.ports import BadInput, Problem
from penstock.wire.look import open_run
from penstock.wire.runners import keeper_command

SERVER = "penstock.kernel.model_scripted"
FLEET = "fleet"
"""The scenario whose model is served by a fleet."""


def build_demo(place: Path, scenario: str, sandbox: str = "auto", base_url: str = "") -> str:
    """Lay the scenario out in `place`; says where it is and how its agents and gates are confined."""
    mode: Literal["bubblewrap", "none"] = "none" if sandbox == "none" else "bubblewrap"
    why = "asked for"
    if sandbox == "auto":
        answer = BubblewrapSandbox().probe()
        mode, why = ("none", answer) if isinstance(answer, str) else ("bubblewrap", "found to work here")
    top = build(place, scenario, mode, base_url)
    confined = "confined by bubblewrap" if mode == "bubblewrap" else "NOT confined"
    return f"demo {scenario} in {top}: agents and gates are {confined} ({why})"


@contextmanager
def serve_demo_model(scenario: str) -> Iterator[str]:
    """The base URL of the scenario's model while the block runs, empty where it has none. Raises `BadInput`.

    The server is kept: it ends with the block and with this process, however that ends. It has a session of its own, so
    that Ctrl-C is for the run alone, whose turns may still ask something while it drains.
    """
    script = model_script(scenario)
    if script is None:
        yield ""
        return
    if scenario == FLEET:
        from penstock.wire.fleet_demo import serve_demo_fleet

        with serve_demo_fleet(script) as url:
            yield url
        return
    words = [*keeper_command(), sys.executable, "-m", SERVER, str(script)]
    pipe = subprocess.PIPE
    with subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=pipe, text=True, start_new_session=True) as server:
        try:
            yield _address(server)
        finally:
            server.terminate()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    address = server.stdout.readline().strip()
    if not address:
        message = f"the model of the demo did not start: exit status {server.wait()}"
        raise BadInput([Problem(file=SERVER, line=0, field="", message=message, fix="see what it says above")])
    return address


def how_to_go_on(place: Path, scenario: str) -> str:
    """What to do with a scenario that was only laid out."""
    if model_script(scenario) is None:
        return f"run it: cd {place} && penstock run --seed 1"
    if scenario == FLEET:
        return (
            f"serve its model: cd {place} && penstock models add tally --path {MODEL} --slots 2, then penstock queen "
            "and penstock hive, each in a terminal of its own; then: penstock run --seed 1"
        )
    return (
        f"serve its model: cd {place} && {sys.executable} -m {SERVER} {MODEL}; write the address that it prints into "
        "base_url of penstock.toml, then: penstock run --seed 1"
    )


def what_to_look_at(place: Path, scenario: str) -> list[str]:
    """Commands that show what happened in the demo."""
    look = [f"look around: cd {place} && git log --oneline --graph --all"]
    if model_script(scenario) is None:
        return look
    run = open_run(place).name
    if scenario == FLEET:
        return [
            *look,
            f"  penstock events red-green --run {run}    the pairs of red and green, by a model of the fleet",
        ]
    return [
        *look,
        f"  penstock events red-green --run {run}    which red test asked for which edit, and what answered",
        "  penstock logs TALLY-32    refused without a test, taken back from the shell, then right",
        "  penstock logs TALLY-33    the edit that broke another test, and its second try",
    ]
