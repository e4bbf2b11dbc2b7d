"""The door for hooked agents, over a real socket: what is announced is judged before, what was written after."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from penstock.core.redgreen.policy import Mode
from penstock.kernel.daemon import Daemon
from penstock.private_sockets import listen
from tests.integration.gate_world import MONEY, PROJECT, TEST_MONEY, Gate, open_gate, run
from tests.integration.plain_runner import PlainRunner

THIRD = f"{TEST_MONEY}\n\ndef test_third():\n    assert money.third(9) == 3\n"
WITH_THIRD = f"{MONEY}\n\ndef third(amount):\n    return amount / 3\n"


class Visitor:
    """A hook: one connection a question, as real ones do."""

    def __init__(self, gate: Gate, socket: Path) -> None:
        self.gate, self._socket = gate, socket

    async def raw(self, line: bytes) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        writer.write(line + b"\n")
        answer = await reader.readline()
        writer.close()
        decoded: dict[str, Any] = msgspec.json.decode(answer)
        return decoded

    async def ask(self, op: str, tool: str = "other", *paths: str, **more: Any) -> dict[str, Any]:
        edits = [{"path": path, "kind": "write", "content": ""} for path in paths]
        fields = {"v": 1, "op": op, "agent": "claude", "tool": tool, "name": tool, "cwd": str(self.gate.top)}
        return await self.raw(msgspec.json.encode({**fields, "edits": edits, **more}))


@contextlib.asynccontextmanager
async def door(directory: Path, mode: Mode = "strict", files: Mapping[str, str] = PROJECT) -> AsyncIterator[Visitor]:
    gate = await open_gate(directory, files, mode, runner=PlainRunner(directory / "tree"))
    socket = directory / "gate.sock"
    async with Daemon(gate.dispatcher).answering(listen(socket)):
        yield Visitor(gate, socket)
    await gate.close()


def test_an_edit_that_nothing_asks_for_is_denied_before_it_is_made(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            answer = await visitor.ask("before", "edit", "app/money.py")
            assert (answer["allow"], answer["code"]) == (False, "no_red")
            whole = await visitor.ask("before", "edit", str(visitor.gate.top / "app/money.py"))
            assert whole["allow"] is False
            assert len(answer["reason"]) <= 400

    run(story())


def test_tests_that_were_written_are_run_when_an_edit_asks_for_a_red(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            (top / "tests/test_money.py").write_text(THIRD)
            assert (await visitor.ask("after", "write", "tests/test_money.py"))["allow"]
            assert (await visitor.ask("before", "edit", "app/money.py"))["allow"]
            (top / "app/money.py").write_text(WITH_THIRD)
            assert (await visitor.ask("after", "edit", "app/money.py"))["allow"]
            assert (await visitor.ask("stop"))["allow"]
            assert visitor.gate.session.ledger.counts.pairs == 1
            assert visitor.gate.text("app/money.py") == WITH_THIRD

    run(story())


def test_what_a_shell_wrote_is_taken_back_and_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            assert (await visitor.ask("before", "shell", command="sed -i s/2/3/ app/money.py"))["allow"]
            (visitor.gate.top / "app/money.py").write_text("x = 1\n")
            answer = await visitor.ask("after", "shell")
            assert (answer["allow"], answer["code"]) == (False, "unclaimed_write")
            assert visitor.gate.text("app/money.py") == MONEY

    run(story())


@pytest.mark.parametrize("op", ["before", "stop", "batch"])
def test_what_was_written_behind_its_back_is_seen_at_the_next_question(tmp_path: Path, op: str) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            (visitor.gate.top / "app/late.py").write_text("x = 1\n")
            assert (await visitor.ask(op, "shell"))["allow"] is False
            assert not (visitor.gate.top / "app/late.py").exists()

    run(story())


def test_a_turn_that_breaks_a_test_may_not_stop(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            (top / "tests/test_money.py").write_text(THIRD)
            await visitor.ask("before", "edit", "app/money.py")
            (top / "app/money.py").write_text(WITH_THIRD.replace("amount * 2", "amount * 3"))
            await visitor.ask("after", "edit", "app/money.py")
            answer = await visitor.ask("stop")
            assert (answer["allow"], answer["code"]) == (False, "turn")
            assert "test_double" in answer["reason"]
            assert visitor.gate.text("app/money.py") == MONEY
            assert (await visitor.ask("stop"))["allow"]

    run(story())


def test_warn_mode_says_it_and_lets_it_through(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path, "warn") as visitor:
            answer = await visitor.ask("before", "edit", "app/money.py")
            assert answer["allow"] and "refused (no_red)" in answer["reason"]
            (visitor.gate.top / "app/money.py").write_text("x = 1\n")
            assert (await visitor.ask("after", "edit", "app/money.py"))["allow"]
            assert visitor.gate.text("app/money.py") == "x = 1\n"
            assert visitor.gate.session.seal().violations == 1

    run(story())


def test_files_outside_are_none_of_the_gates(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            assert (await visitor.ask("before", "write", str(tmp_path / "elsewhere.py"), "/etc/passwd"))["allow"]

    run(story())


def test_a_link_to_a_directory_of_the_tree_does_not_hide_a_file(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            (tmp_path / "way").symlink_to(visitor.gate.top / "app")
            assert (await visitor.ask("before", "edit", str(tmp_path / "way/money.py")))["allow"] is False

    run(story())


def test_a_tool_whose_tools_no_hook_sees_is_denied(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            answer = await visitor.ask("before", "other", agent="openhands", name="delegate")
            assert answer["allow"] is False
            assert (await visitor.ask("before", "other", agent="openhands", name="think"))["allow"]

    run(story())


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"{", "bad_request"),
        (b"[]", "bad_request"),
        (b'{"v":2,"op":"stop"}', "version"),
        (b'{"op":"stop"}', "version"),
        (b'{"v":1,"op":"nothing"}', "bad_request"),
        (b'{"v":1,"op":"before","edits":7}', "bad_request"),
        (b"\xff\xfe", "bad_request"),
    ],
)
def test_what_is_no_question_is_denied_and_the_gate_goes_on(tmp_path: Path, line: bytes, code: str) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            answer = await visitor.raw(line)
            assert (answer["allow"], answer["code"]) == (False, code)
            assert (await visitor.ask("session"))["allow"]

    run(story())


def test_programs_call_tools_at_the_same_door(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            arguments = {"path": "app/money.py", "content": "x = 1\n"}
            call = {"v": 1, "op": "call", "tool": "write_file", "arguments": arguments}
            answer = await visitor.raw(msgspec.json.encode(call))
            assert answer["is_error"] and "no_test_in_scope" in answer["text"]
            said = await visitor.raw(b'{"v":1,"op":"status"}')
            assert (said["mode"], said["turn"], said["counts"]["refusals"]) == ("strict", 1, 1)

    run(story())


def test_who_hangs_up_does_not_keep_the_others_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            gone = tmp_path / "gone"
            os.mkfifo(gone)
            call = {"v": 1, "op": "call", "tool": "shell", "arguments": {"command": f"echo > {gone}; cat {gone}"}}
            _, writer = await asyncio.open_unix_connection(str(tmp_path / "gate.sock"))
            writer.write(msgspec.json.encode(call) + b"\n")
            with await asyncio.to_thread(open, gone):  # the command runs, and waits for us
                writer.close()
                answer = await asyncio.wait_for(visitor.ask("session"), 20)
            assert answer["allow"]

    run(story())


def test_of_several_red_tests_the_newest_is_meant(tmp_path: Path) -> None:
    """A hooked agent has no way to claim."""

    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            two = f"{THIRD}\n\ndef test_fourth():\n    assert money.fourth(8) == 2\n"
            (top / "tests/test_money.py").write_text(two)
            assert (await visitor.ask("before", "edit", "app/money.py"))["allow"]
            both = f"{WITH_THIRD}\n\ndef fourth(amount):\n    return amount / 4\n"
            (top / "app/money.py").write_text(both)
            assert (await visitor.ask("after", "edit", "app/money.py"))["allow"]
            assert (await visitor.ask("stop"))["allow"]
            assert visitor.gate.text("app/money.py") == both

    run(story())


def test_a_red_test_that_was_deleted_stands_in_nobodys_way(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            (top / "tests/test_gone.py").write_text(
                "from app import money\n\n\ndef test_gone():\n    assert money.gone\n"
            )
            await visitor.ask("before", "edit", "app/money.py")
            (top / "tests/test_gone.py").unlink()
            answer = await visitor.ask("before", "edit", "app/money.py")
            assert answer["code"] == "no_red"

    run(story())


def test_a_test_that_was_red_before_the_session_counts(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path, files={**PROJECT, "tests/test_money.py": THIRD}) as visitor:
            assert (await visitor.ask("before", "edit", "app/money.py"))["allow"]
            assert (await visitor.ask("before", "edit", "README2.txt"))["allow"] is False

    run(story())


def test_after_a_revert_the_next_try_is_let_through(tmp_path: Path) -> None:
    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            (top / "tests/test_money.py").write_text(THIRD)
            await visitor.ask("before", "edit", "app/money.py")
            (top / "app/money.py").write_text(WITH_THIRD.replace("amount * 2", "amount * 3"))
            await visitor.ask("after", "edit", "app/money.py")
            assert (await visitor.ask("stop"))["reason"].startswith(
                "turn 1 ended\n- reverted app/money.py (regression)"
            )
            assert (await visitor.ask("before", "edit", "app/money.py"))["allow"]

    run(story())


def test_what_does_not_load_at_the_end_is_reverted(tmp_path: Path) -> None:
    """Nothing was ever run before: the run of everything finds nothing at all."""

    async def story() -> None:
        async with door(tmp_path) as visitor:
            top = visitor.gate.top
            (top / "tests/test_money.py").write_text(THIRD)
            await visitor.ask("before", "edit", "app/money.py")
            (top / "app/money.py").write_text("def third(amount)\n    return 3\n")
            await visitor.ask("after", "edit", "app/money.py")
            assert (await visitor.ask("stop"))["allow"] is False
            assert visitor.gate.text("app/money.py") == MONEY

    run(story())


@pytest.mark.parametrize("mode", ["off", "warn", "strict"])
def test_a_session_is_told_what_holds(tmp_path: Path, mode: Mode) -> None:
    async def story() -> None:
        async with door(tmp_path, mode) as visitor:
            reason = (await visitor.ask("session"))["reason"]
            assert ("reverted" in reason, bool(reason)) == (mode == "strict", mode != "off")

    run(story())
