"""The script in the documents is one that a worker can play, and they have every field and fault that there is."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

from penstock.model_script import FaultKind, LoadFault, Script, ScriptedReply, read_worker_script

FLEET = (Path(__file__).parents[2] / "docs" / "FLEET.md").read_text()
TOLD = FLEET.partition("\n## Scripts\n")[2].partition("\n## ")[0]
ROW = re.compile(r"^\| (`[a-z_`, or]+) \|", re.MULTILINE)
WRITTEN = {"reasoning": "reasoning_content", "calls": "tool_calls"}
"""Fields that are called otherwise in a script."""
REPLY_FIELDS = {WRITTEN.get(field.name, field.name) for field in fields(ScriptedReply)}


def script() -> tuple[str, Script]:
    (written,) = re.findall(r"^```yaml script\n(.*?)^```$", TOLD, re.MULTILINE | re.DOTALL)
    return written, read_worker_script(written.encode(), "FLEET.md")


def named(rows: list[str]) -> set[str]:
    return {name for row in rows for name in re.findall(r"`([a-z_]+)`", row)}


def test_the_example_is_one_that_a_worker_can_play() -> None:
    _, read = script()
    assert [each.match for each in read.conversations] == ["TALLY-7", "SLOW", "CRASH", ""]
    assert (read.load.steps, read.load.ms, read.holds) == (4, 40, ("GO",))
    assert read.conversations[2].replies[0].fault is not None


def test_every_field_and_fault_of_a_reply_is_told_and_no_other() -> None:
    told = named(ROW.findall(TOLD))
    assert told == REPLY_FIELDS | set(get_args(FaultKind))
    assert set(get_args(LoadFault)) <= named([TOLD])


def test_the_fields_are_those_that_the_reader_knows() -> None:
    written, _ = script()
    assert {name for name in REPLY_FIELDS if not re.search(rf"\b{name}:", written)} == set()
