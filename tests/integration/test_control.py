"""The control socket of a live run, by real connections."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import msgspec
import pytest

from penstock.core import events as e
from penstock.private_sockets import is_listening
from penstock.shell.control import REQUEST_BYTES_MAX, serve
from penstock.shell.control_client import Answer, send
from penstock.shell.driver import Driver, Stopped
from tests.integration.shell_world import Shell, told, until

PAUSE = b'{"type":"pause_asked","who":"ann"}\n'
RESUME = e.ResumeAsked(who="ann")
NOBODY = 65_534


class Live:
    """A run whose agent is at work, and its socket."""

    def __init__(self, shell: Shell, driver: Driver, running: asyncio.Task[object], socket: Path) -> None:
        self.shell, self.driver, self.running, self.socket = shell, driver, running, socket

    async def send(self, event: e.PauseAsked | e.ResumeAsked | e.CancelAsked) -> Answer | None:
        return await asyncio.to_thread(send, self.socket, event)

    async def say(self, data: bytes) -> Answer:
        """What is answered to these bytes, the line not ended by us."""

        def talk() -> bytes:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(str(self.socket))
                with contextlib.suppress(BrokenPipeError):
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                return connection.makefile("rb").readline()

        return msgspec.json.decode(await asyncio.to_thread(talk), type=Answer)


@contextlib.asynccontextmanager
async def live(place: Path, path: Path | None = None) -> AsyncIterator[Live]:
    shell = Shell(place)
    shell.agent.may_end.clear()
    driver = shell.driver()
    running: asyncio.Task[object] = asyncio.create_task(driver.run(shell.first()))
    await until(shell.agent.begun.wait(), running)
    path = path or place / "control.sock"
    server = await serve(driver, path)
    try:
        yield Live(shell, driver, running, path)
    finally:
        shell.log.release()
        server.close()
        driver.stop()
        await asyncio.gather(running, return_exceptions=True)


@told
async def test_a_command_is_durable_before_it_is_answered(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        run.shell.log.hold()
        answer = asyncio.create_task(run.send(e.PauseAsked(who="ann")))
        await until(run.shell.log.entered.wait(), run.running)
        assert run.shell.all(e.PauseAsked) == []
        assert not answer.done()
        run.shell.log.release()
        assert await answer == Answer(seq=run.shell.log.head()[0])
        assert run.shell.records()[-1].event == e.PauseAsked(who="ann")


@told
async def test_an_answer_that_waits_for_the_disk_is_not_given(tmp_path: Path) -> None:
    """The append fails: whoever asked is told that the run ends, never a seq."""
    async with live(tmp_path) as run:
        run.shell.log.fail_next()
        answer = await run.send(e.PauseAsked(who="ann"))
        assert answer == Answer(error="the run is ending")
        with pytest.raises(OSError, match="disk"):
            await run.running


@told
async def test_the_socket_is_for_its_owner_only(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        status = run.socket.stat()
        assert stat.S_ISSOCK(status.st_mode)
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert is_listening(run.socket)


GARBAGE = {
    "nothing": b"",
    "no JSON": b"pause!\n",
    "not UTF-8": b'{"type":"pause_asked","who":"\xff"}\n',
    "an input that is no operator's": b'{"type":"job_lost","key":"r1/turn/A/1/1","reason":"so"}\n',
    "a field too many": b'{"type":"pause_asked","who":"ann","root":true}\n',
    "a field too few": b'{"type":"cancel_asked","who":"ann"}\n',
    "nested too deep": b"[" * 50_000 + b"\n",
    "too long": PAUSE.replace(b"ann", b"a" * REQUEST_BYTES_MAX),
    "far too long": b"a" * 3_000_000,
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_what_is_no_command_is_answered_with_an_error(tmp_path: Path, data: bytes) -> None:
    async def history() -> None:
        async with live(tmp_path) as run:
            seq = run.shell.log.head()[0]
            answer = await run.say(data)
            assert answer.seq == 0
            assert answer.error.startswith("not a command")
            assert run.shell.log.head()[0] == seq
            assert (await run.say(PAUSE)).seq == seq + 1

    asyncio.run(history())


@told
async def test_a_client_that_is_gone_harms_nobody(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(run.socket))
            connection.sendall(PAUSE)
        assert (await run.send(RESUME)) is not None
        run.shell.agent.may_end.set()
        await run.running
        assert run.shell.states() == {"A": "done"}


@told
async def test_a_run_that_is_ending_takes_no_command(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        run.shell.agent.may_end.set()
        await run.running
        seq = run.shell.log.head()[0]
        assert await run.send(RESUME) == Answer(error="the run is ending")
        assert run.shell.log.head()[0] == seq


@told
async def test_who_asks_while_the_run_is_stopped_is_told(tmp_path: Path) -> None:
    async with live(tmp_path) as run:
        run.shell.log.hold()
        run.driver.tell(RESUME)
        await until(run.shell.log.entered.wait(), run.running)
        asked = asyncio.create_task(run.driver.ask(e.PauseAsked(who="ann")))
        await asyncio.sleep(0)  # it asks
        answer = asyncio.create_task(run.send(e.PauseAsked(who="bob")))
        run.driver.stop()
        run.shell.log.release()
        with pytest.raises(Stopped):
            await run.running
        assert await answer == Answer(error="the run is ending")
        with pytest.raises(Stopped):
            await asked


@told
async def test_a_path_longer_than_an_address_works(tmp_path: Path) -> None:
    deep = tmp_path / ("a" * 100) / ("b" * 100)
    deep.mkdir(parents=True)
    path = deep / "control.sock"
    with pytest.raises(OSError, match="too long"), socket.socket(socket.AF_UNIX) as plain:
        plain.bind(str(path))
    async with live(tmp_path, path) as run:
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert is_listening(path)
        assert await run.send(RESUME) == Answer(seq=run.shell.log.head()[0])


@told
async def test_a_socket_of_the_dead_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert not is_listening(path)
    assert send(path, RESUME) is None
    async with live(tmp_path, path) as run:
        assert await run.send(RESUME) == Answer(seq=run.shell.log.head()[0])


def test_where_nobody_listens_nobody_answers(tmp_path: Path) -> None:
    assert not is_listening(tmp_path / "none" / "control.sock")
    assert send(tmp_path / "control.sock", RESUME) is None


def test_who_never_answers_is_not_waited_for(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "control.sock"))
        mute.listen()
        answer = send(tmp_path / "control.sock", RESUME, timeout_s=0.1)
    assert answer is not None
    assert answer.error.startswith("the run did not answer")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can be somebody else")
@pytest.mark.parametrize(("uid", "is_heard"), [(0, True), (NOBODY, False)], ids=["root", "nobody"])
def test_only_the_user_is_heard_even_where_the_mode_lets_others_in(uid: int, is_heard: bool) -> None:
    async def history(place: Path) -> None:
        async with live(place) as run:
            with pytest.raises(PermissionError) if uid else contextlib.nullcontext(), connected(run.socket, uid):
                pass
            for opened in (place, run.socket):
                opened.chmod(0o777)
            with connected(run.socket, uid) as connection:
                connection.sendall(PAUSE)
                said = await asyncio.to_thread(connection.makefile("rb").readline)
            answer = msgspec.json.decode(said, type=Answer)
            assert (answer.seq > 0) is is_heard
            assert ("only the user" in answer.error) is not is_heard
            assert (run.shell.all(e.PauseAsked) == []) is not is_heard

    with tempfile.TemporaryDirectory() as place:
        asyncio.run(history(Path(place)))


@contextlib.contextmanager
def connected(path: Path, uid: int) -> Iterator[socket.socket]:
    """A connection made by that user: who the peer is, is settled when it connects."""
    with socket.socket(socket.AF_UNIX) as connection:
        os.seteuid(uid)
        try:
            connection.connect(str(path))
        finally:
            os.seteuid(0)
        yield connection
