"""The plan of the agent in this working tree: read out of the gate's ledger, and handed in through the gate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from penstock.core.policy import Frozen
from penstock.core.redgreen.ledger import fold
from penstock.core.redgreen.pairs import PlanLine, plan_of
from penstock.core.redgreen.test_id import Wire
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.documents.document import Unreadable, decoded
from penstock.documents.fields import Fields, root_of
from penstock.documents.yaml import read_yaml
from penstock.kernel.tools.dispatcher import Answer
from penstock.ports import BadInput, Problem
from penstock.wire.gate_client import connect
from penstock.wire.gate_records import read_ledger

TEXT_CHARS_MAX = 2_000
INDEX = re.compile(r"^steps\[(\d+)\]")


class StepSeen(Frozen, omit_defaults=False):
    """One step for programs. `test` is the JSON list of the id."""

    number: int
    dot: str
    text: str
    test: Wire | None
    test_file_path: str
    verdict: RunVerdict | None


class PlanSeen(Frozen, omit_defaults=False):
    """The plan of the newest session here; no steps where there is none."""

    session: str
    mode: str
    steps: tuple[StepSeen, ...]


def plan_here(directory: Path) -> tuple[PlanSeen, tuple[PlanLine, ...]]:
    """The plan in force, for programs and for the card. Raises `BadInput`, `Corrupt`."""
    ledger = fold(read_ledger(directory))
    lines = plan_of(ledger)
    steps = tuple(
        StepSeen(
            number=line.number,
            dot=line.dot,
            text=line.text,
            test=line.test.wire if line.test else None,
            test_file_path=line.test_file_path,
            verdict=line.verdict,
        )
        for line in lines
    )
    return PlanSeen(session=ledger.session, mode=ledger.policy.mode if ledger.session else "", steps=steps), lines


async def submit_plan(directory: Path, steps: Sequence[Mapping[str, Any]]) -> Answer:
    """Hand the steps to the gate, which is started where none is there. Raises `BadInput` where it refuses them."""
    client = await connect(directory)
    try:
        answer = await client.call("plan", {"steps": list(steps)})
    finally:
        await client.close()
    if answer.is_error:
        told = answer.text.removeprefix("plan: ").splitlines()
        raise BadInput([Problem(file="plan", line=0, field="", message=line) for line in told])
    return answer


def read_steps(data: bytes, file: str) -> list[dict[str, Any]]:
    """Steps of a YAML or JSON text: a list, or one under `steps`. Raises `BadInput`, naming each step by number."""
    try:
        document = root_of(read_yaml(decoded(data), file, list_key="steps"))
    except Unreadable as wrong:
        raise BadInput([Problem(file=file, line=wrong.line, field="", message=wrong.message, fix=wrong.fix)]) from None
    steps = [_step(fields) for fields in document.listed("steps")]
    document.refuse_unknown()
    problems = [_by_number(problem) for problem in document.reading.problems]
    if not steps and not problems:
        fix = "write a list of steps: - text: what it does"
        problems.append(Problem(file=file, line=0, field="", message="has no step", fix=fix))
    if problems:
        raise BadInput(problems)
    return steps


def _step(fields: Fields) -> dict[str, Any]:
    step: dict[str, Any] = {
        "text": fields.text("text", needed="say what the step does", chars_max=TEXT_CHARS_MAX, lines=True),
        "test_file_path": fields.text("test_file_path"),
    }
    test = fields.raw("test_id")
    if test is not None:
        step["test_id"] = test
    fields.refuse_unknown()
    return step


def _by_number(problem: Problem) -> Problem:
    found = INDEX.match(problem.field)
    if found is None:
        return problem
    field = f"step {int(found[1]) + 1}{problem.field[found.end() :]}"
    return Problem(file=problem.file, line=problem.line, field=field, message=problem.message, fix=problem.fix)
