"""The table of errors in the documents is the one in the code, and no error is there that nobody answers with."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.fleet.errors import COMMAND_FIXES, ERRORS, fix_of

REPOSITORY = Path(__file__).parents[2]
ROW = re.compile(r"^\| `([A-Z_]+)` \| (\d{3}) \| (.+) \|$", re.MULTILINE)
CODE = re.compile(r"[A-Z]+(_[A-Z]+)*")


def test_the_documents_have_every_error_as_it_is() -> None:
    told = ROW.findall((REPOSITORY / "docs" / "FLEET.md").read_text())
    assert told == [(code, str(kind.status), kind.advice) for code, kind in ERRORS.items()]


def test_every_error_is_answered_somewhere() -> None:
    files = [path for path in (REPOSITORY / "src").rglob("*.py") if path.name != "errors.py"]
    text = "\n".join(path.read_text() for path in files)
    assert [code for code in ERRORS if f'"{code}"' not in text] == []


def test_codes_and_statuses_are_those_of_errors() -> None:
    assert all(CODE.fullmatch(code) and 400 <= kind.status < 600 for code, kind in ERRORS.items())


def test_who_gave_a_command_is_not_told_what_is_for_http() -> None:
    assert set(COMMAND_FIXES) <= set(ERRORS)
    assert [code for code in ERRORS if "details.fields" in fix_of(code) or "Bearer" in fix_of(code)] == []
    assert fix_of("CANCELED") == "" and fix_of("QUEUE_FULL") == ERRORS["QUEUE_FULL"].advice
