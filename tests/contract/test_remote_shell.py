"""What the port to other machines promises, held against the system's OpenSSH and a real sshd on loopback."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from penstock.adapters.ssh_openssh import OpenSsh
from penstock.ports import RemoteFailed, RemotePlace, RemoteShell
from tests.contract.ssh_world import HOST, Sshd, running_sshd

PRINT = ("printf", "%s|")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with running_sshd(tmp_path_factory.mktemp("sshd")) as world:
        yield world


def failing(shell: RemoteShell, place: RemotePlace) -> RemoteFailed:
    with pytest.raises(RemoteFailed) as failed:
        shell.run(place, ("true",))
    return failed.value


@pytest.mark.parametrize(
    "words",
    [
        ("plain",),
        ("two words", ""),
        ("$HOME", "`id`", "$(id)"),
        ("a;b", "&&", "|", ">x"),
        ("'", '"', "\\"),
        ("-e", "é\n*"),
    ],
)
def test_the_words_reach_the_program_as_they_are(sshd: Sshd, words: tuple[str, ...]) -> None:
    ended = sshd.shell().run(sshd.at(), (*PRINT, *words))
    assert (ended.exit_code, ended.out) == (0, "".join(f"{word}|" for word in words))


def test_what_is_given_comes_on_stdin_and_the_exit_code_comes_back(sshd: Sshd) -> None:
    ended = sshd.shell().run(sshd.at(), ("sh", "-c", "cat; echo no >&2; exit 6"), stdin=b"secret\n")
    assert (ended.exit_code, ended.out, ended.err) == (6, "secret\n", "no\n")


def test_a_program_that_is_not_there_is_told_by_its_exit_code(sshd: Sshd) -> None:
    assert sshd.shell().run(sshd.at(), ("no-such-program",)).exit_code == 127


def test_a_key_that_is_not_let_in(sshd: Sshd) -> None:
    assert failing(sshd.shell(), sshd.at("other_key")).kind == "authentication"


def test_a_host_that_was_never_met_is_believed_only_where_that_was_said(sshd: Sshd) -> None:
    sshd.known_hosts.unlink()
    try:
        assert failing(sshd.shell(), sshd.at()).kind == "unknown_host_key"
        assert not sshd.known_hosts.exists()
        assert sshd.shell().run(sshd.at(takes_new=True), ("true",)).exit_code == 0
        assert sshd.shell().run(sshd.at(), ("true",)).exit_code == 0
    finally:
        sshd.knows()


@pytest.mark.parametrize("takes_new", [False, True])
def test_a_host_whose_key_has_changed_is_never_believed(sshd: Sshd, takes_new: bool) -> None:
    sshd.knows("other_host_key")
    try:
        assert failing(sshd.shell(), sshd.at(takes_new=takes_new)).kind == "changed_host_key"
    finally:
        sshd.knows()


def test_a_host_that_has_no_address(sshd: Sshd) -> None:
    assert failing(sshd.shell(), replace(sshd.at(), host="nowhere.invalid")).kind == "no_such_host"


def test_a_port_where_nobody_listens(sshd: Sshd) -> None:
    with socket.socket() as bound:
        bound.bind((HOST, 0))
        assert failing(sshd.shell(), sshd.at(port=bound.getsockname()[1])).kind == "unreachable"


def test_who_accepts_and_says_nothing_is_tried_three_times(sshd: Sshd) -> None:
    with socket.create_server((HOST, 0)) as silent:
        shell = sshd.shell(connect_s_max=1)
        assert failing(shell, sshd.at(port=silent.getsockname()[1])).kind == "timeout"
        assert accepted(silent) == 3


def accepted(server: socket.socket) -> int:
    server.setblocking(False)
    count = 0
    while True:
        try:
            connection, _ = server.accept()
        except BlockingIOError:
            return count
        connection.close()
        count += 1


def test_a_command_that_does_not_end_is_given_up(sshd: Sshd) -> None:
    begun = time.monotonic()
    shell = OpenSsh(options=("-F", str(sshd.client)), run_s_max=0.5, tries_max=1)
    with pytest.raises(RemoteFailed) as failed:
        shell.run(sshd.at(), ("sleep", "30"))
    assert failed.value.kind == "timeout"
    assert time.monotonic() - begun < 10


def test_nothing_that_is_said_of_the_place_becomes_an_option(tmp_path: Path) -> None:
    words = OpenSsh().command(RemotePlace(host="-oProxyCommand=touch x"), ("true",))
    assert words[words.index("--") + 1 :] == ["-oProxyCommand=touch x", "true"]
