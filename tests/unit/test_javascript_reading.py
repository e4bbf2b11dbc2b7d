"""What the records of a run amount to, without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.runner import TestOutcome
from penstock.kernel.runners.javascript import Reading, Tree, parse

NONCE = "0123456789abcdef"
FILE = "src/a.test.js"


def wrong(message: str = "no", **fields: Any) -> dict[str, Any]:
    return {"name": "Error", "message": message, "stack": "", "assertion": False, "phase": "call", **fields}


def told(state: str, *errors: dict[str, Any], file: str = FILE, title: str = "one", **fields: Any) -> dict[str, Any]:
    return {"t": "test", "file": file, "chain": ["s", title], "state": state, "errors": errors, **fields}


def suite(phase: str) -> dict[str, Any]:
    return {"t": "suite", "file": FILE, "chain": ["s"], "errors": [wrong(phase=phase)]}


def read(top: Path, *records: dict[str, Any], nonce: str = NONCE) -> Reading:
    reading = Reading("jest", Tree(top, str(top)))
    data = b"".join(nonce.encode() + b" " + msgspec.json.encode(record) + b"\n" for record in records)
    for record in parse(NONCE, data):
        reading.take(record)
    return reading


def outcome(top: Path, *records: dict[str, Any], otherwise: RunVerdict = "not_run") -> TestOutcome:
    (top / "src").mkdir(exist_ok=True)
    test = TestId(runner="jest", path=FILE, chain=("s", "one"))
    return read(top, *records).outcome(test, otherwise)


def test_lines_without_the_nonce_are_nobodys(tmp_path: Path) -> None:
    assert read(tmp_path, told("passed")).ids()
    assert not read(tmp_path, told("passed"), nonce="0000000000000000").ids()
    assert list(parse(NONCE, b'%s {"t":"test"}\n%s nonsense\n' % (NONCE.encode(), NONCE.encode()))) == []


def test_of_two_with_one_name_the_worse_counts(tmp_path: Path) -> None:
    failed = told("failed", wrong(assertion=True))
    assert outcome(tmp_path, told("passed"), failed).verdict == "red_assert"
    assert outcome(tmp_path, failed, told("passed")).verdict == "red_assert"
    assert outcome(tmp_path, told("skipped"), told("passed")).verdict == "skipped"
    assert "2 tests are called" in read(tmp_path, told("passed"), failed).broken()[FILE]


def test_a_last_word_takes_the_place_of_a_provisional_one(tmp_path: Path) -> None:
    early = told("passed", provisional=True)
    assert outcome(tmp_path, early).verdict == "green"
    assert outcome(tmp_path, early, told("passed", wrong(phase="teardown"))).verdict == "teardown_error"
    assert read(tmp_path, early, told("passed")).broken() == {}


def test_hooks_round_a_test_take_its_green_and_explain_its_silence(tmp_path: Path) -> None:
    assert outcome(tmp_path, told("passed"), suite("teardown")).verdict == "teardown_error"
    assert outcome(tmp_path, told("cancelled"), suite("setup")).verdict == "setup_error"
    assert outcome(tmp_path, told("skipped"), suite("teardown")).verdict == "skipped"


def test_a_red_in_a_hook_is_no_red(tmp_path: Path) -> None:
    assert outcome(tmp_path, told("failed", wrong(phase="setup", assertion=True))).verdict == "setup_error"
    assert outcome(tmp_path, told("failed", wrong(phase="teardown"))).verdict == "teardown_error"
    both = told("failed", wrong(assertion=True), wrong(phase="teardown"))
    assert outcome(tmp_path, both).verdict == "red_assert"


def test_a_stray_error_is_laid_to_the_test_that_was_running(tmp_path: Path) -> None:
    stray = {"t": "stray", "file": FILE, "chain": ["one"], "errors": [wrong()], "crashed": False}
    assert outcome(tmp_path, told("passed"), stray).verdict == "red_exception"
    assert outcome(tmp_path, told("passed"), {**stray, "chain": ["two"]}).verdict == "green"
    assert outcome(tmp_path, told("passed"), {**stray, "chain": []}).verdict == "teardown_error"


def test_neither_time_nor_an_exit_is_a_red(tmp_path: Path) -> None:
    for message in ("Test timed out in 50ms.", "Exceeded timeout of 5 ms for a test.", "test timed out after 9ms"):
        assert outcome(tmp_path, told("failed", wrong(message))).verdict == "timeout"
    exited = told("failed", wrong('process.exit unexpectedly called with "0"'))
    assert outcome(tmp_path, exited).verdict == "crash"
    assert outcome(tmp_path, told("passed", asserts=0)).message == "no assertion was made"
    assert outcome(tmp_path, told("flaky", wrong())).verdict == "flaky"


def test_what_is_said_of_a_killed_run_is_no_word_of_the_test(tmp_path: Path) -> None:
    crashed = {"t": "file", "file": FILE, "errors": [], "crashed": True}
    assert outcome(tmp_path, crashed).verdict == "crash"
    assert outcome(tmp_path, told("cancelled"), otherwise="timeout").verdict == "timeout"
    assert outcome(tmp_path, crashed, otherwise="timeout").verdict == "timeout"


def load_error(message: str, **fields: Any) -> dict[str, Any]:
    return {"t": "file", "file": FILE, "errors": [wrong(message, **fields)], "crashed": False}


def test_a_missing_file_of_the_tree_is_a_red_of_the_titles_that_are_there(tmp_path: Path) -> None:
    missing = load_error("Cannot find module './lib/tax' imported from 'src/a.test.js'")
    (tmp_path / "src").mkdir()
    (tmp_path / FILE).write_text("describe('s', () => test('two', f))")
    assert outcome(tmp_path, missing).verdict == "not_run"
    (tmp_path / FILE).write_text("describe('s', () => test('one', f))")
    found = outcome(tmp_path, missing)
    assert (found.verdict, found.phantoms) == ("red_missing_target", ("src/lib/tax.js",))
    (tmp_path / "src/lib").mkdir()
    (tmp_path / "src/lib/tax.js").write_text("")
    assert outcome(tmp_path, missing).verdict == "collect_error"


def test_what_is_missing_elsewhere_is_not_ours(tmp_path: Path) -> None:
    for name in ("react", "../../outside", "/elsewhere/x.js", "./node_modules/x"):
        assert outcome(tmp_path, load_error(f"Cannot find module '{name}' from 'src/a.test.js'")).phantoms == ()
    assert outcome(tmp_path, load_error("Unexpected token", name="SyntaxError")).verdict == "syntax_error"


def test_a_call_of_what_is_not_exported_is_a_missing_target(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src/lib.js").write_text("export const tax = 1")
    (tmp_path / FILE).write_text("import { refund, tax } from './lib.js'")

    def called(text: str) -> TestOutcome:
        return outcome(tmp_path, told("failed", wrong(f"{text} is not a function", name="TypeError")))

    for text in ("refund", "(0 , __vite_ssr_import_1__.refund)", "(0, _lib.refund)"):
        assert (called(text).verdict, called(text).phantoms) == ("red_missing_target", ("src/lib.js",)), text
    for text in ("tax", "order.refund", "other"):
        assert called(text).verdict == "red_exception", text


def test_the_deepest_frame_inside_the_tree_is_where(tmp_path: Path) -> None:
    stack = f"Error: x\n    at f (node:fs:1:2)\n    at g ({tmp_path}/node_modules/p/i.js:3:4)\n"
    stack += f"    at async file://{tmp_path}/src/l%20ib.js:5:6\n    at {tmp_path}/src/a.test.js:7:8"
    assert outcome(tmp_path, told("failed", wrong(stack=stack))).where == "src/l ib.js:5"


def test_files_outside_the_tree_have_no_tests(tmp_path: Path) -> None:
    assert read(tmp_path / "tree", told("passed", file=str(tmp_path / "x.test.js"))).ids() == []
