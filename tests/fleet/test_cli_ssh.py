"""`penstock hives add --ssh`, the real command, over the system's OpenSSH to a real sshd on loopback."""

from __future__ import annotations

import getpass
import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from penstock.fleet.choices import Choices
from penstock.ports import BadInput, RemoteEnded, RemotePlace
from penstock.wire.fleet_hives import NotAdded, Wanted, add_hive, command_of, read_place
from tests.contract.ssh_world import HOST, Sshd, running_sshd
from tests.fleet.command import Ended, Program, left_in, penstock, program, traceless
from tests.fleet.played_queen import played_queen, telling

TOKEN = "sesame-0123456789"
FAR = """\
#!/bin/sh
# What is Penstock on the other machine: a home of its own, and nothing of the environment that ssh brings.
cd {far} && exec env HOME={far} {python} -m penstock.cli "$@"
"""


@dataclass(frozen=True)
class Machines:
    """This one with a queen, and one behind ssh with a home of its own."""

    home: Path
    far: Path
    sshd: Sshd
    queen: Program

    def add(self, name: str, *words: str, command: str = "", key: str = "key") -> Ended:
        """The command, as a person would write it."""
        return penstock(
            self.home,
            *("hives", "add", name, "--ssh", f"{getpass.getuser()}@{HOST}:{self.sshd.port}"),
            *(
                "--key",
                str(self.sshd.place / key),
                "--ssh-config",
                str(self.sshd.client),
                "--port",
                "0",
                "--ports",
                "any",
            ),
            *("--command", command or str(self.far / "penstock"), "--queen", self.queen.url),
            *("--token-file", str(self.home / "token"), *words),
        )

    def ask(self, *words: str) -> Ended:
        """Another command."""
        return penstock(self.home, *words, "--queen", self.queen.url, "--token-file", str(self.home / "token"))

    def names(self) -> list[str]:
        """Of the hives that the queen knows."""
        return [hive["name"] for hive in self.ask("hives", "list", "--json").json()]


@pytest.fixture(scope="module")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machines]:
    home, far = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("far")
    (home / "token").write_text(f"{TOKEN}\n")
    (home / "token").chmod(0o600)
    (far / "penstock").write_text(FAR.format(far=far, python=sys.executable))
    (far / "penstock").chmod(0o755)
    with (
        running_sshd(tmp_path_factory.mktemp("sshd")) as sshd,
        program(home, "queen", "--port", "0", "--token-file", str(home / "token")) as queen,
    ):
        yield Machines(home, far, sshd, queen)
        traceless(far)
    traceless(home)


def test_a_hive_is_started_there_and_goes_on_without_the_session(machines: Machines) -> None:
    added = machines.add("far-away")
    assert added.exit_code == 0, added.err
    assert added.out.startswith("hive far-away at http://127.0.0.1:")
    (hive,) = machines.ask("hives", "list", "--json").json()
    assert (hive["name"], hive["state"], hive["started_by"]) == (
        "far-away",
        "ready",
        f"ssh://{getpass.getuser()}@{HOST}",
    )
    running = left_in(machines.far)
    assert running
    assert not any(TOKEN in words for words in running)
    again = machines.add("far-away")
    assert again.exit_code == 6
    assert "HIVE_NAME_TAKEN" in again.err
    assert machines.ask("hives", "remove", "far-away", "--drain").exit_code == 0
    assert machines.names() == []
    traceless(machines.far)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"command": "/nowhere/penstock"}, "pipx install penstock"),
        ({"key": "other_key"}, "ssh: authentication"),
    ],
)
def test_a_machine_that_does_not_do_it_is_not_saved(words: dict[str, str], said: str, machines: Machines) -> None:
    ended = machines.add("never", **words)
    assert (ended.exit_code, ended.out) == (7, "")
    assert said in ended.err and "fix:" in ended.err
    assert machines.names() == []


def test_a_machine_that_was_never_met_is_not_believed(machines: Machines) -> None:
    machines.sshd.knows("other_host_key")
    changed = machines.add("never")
    machines.sshd.known_hosts.unlink()
    unknown = machines.add("never")
    accepted = machines.add("met", "--accept-new-host-key")
    assert (changed.exit_code, unknown.exit_code, accepted.exit_code) == (7, 7, 0)
    assert "ssh-keygen -R" in changed.err and "--accept-new-host-key" in unknown.err
    assert machines.names() == ["met"]
    assert machines.ask("hives", "remove", "met", "--drain").exit_code == 0


def test_a_hive_that_ends_at_once_says_why(machines: Machines) -> None:
    refused = machines.add("never", "--ports", "9-8")
    assert refused.exit_code == 7
    assert "write FIRST-LAST" in refused.err
    assert machines.names() == []


def test_a_hive_that_does_not_reach_the_queen_is_ended_and_not_saved(machines: Machines) -> None:
    with played_queen() as other:
        ended = machines.add("never", "--queen-url", other.url)
    assert ended.exit_code == 7
    assert "--queen-url" in ended.err
    assert machines.names() == []
    traceless(machines.far)


# --- what is asked of the other side --------------------------------------------------------------------------------


class Recorded:
    """A `RemoteShell` that does as it is told."""

    def __init__(self, ended: RemoteEnded) -> None:
        self.ended = ended
        self.ran: list[tuple[str, ...]] = []
        self.stdin = b""

    def run(self, place: RemotePlace, argv: Sequence[str], stdin: bytes = b"") -> RemoteEnded:
        self.ran.append(tuple(argv))
        self.stdin += stdin
        return self.ended


def chosen(queen: str, token_file: str = "") -> Choices:
    return Choices(queen=queen, is_queen_asked=True, home="/nowhere", token_file=token_file)


PLACE = RemotePlace(host="gpu1.example.org", user="ada")


def test_another_machine_is_told_where_it_is_and_gets_the_token_on_stdin() -> None:
    words = command_of(Wanted(name="gpu1", place=PLACE), chosen("http://10.0.0.5:8080"), has_token=True)
    line = shlex.join(words)
    assert "--host 0.0.0.0 --advertise gpu1.example.org" in line
    assert "--started-by ssh://ada@gpu1.example.org" in line
    assert "--queen http://10.0.0.5:8080" in line
    assert words[-1] == "--token-stdin"


@pytest.mark.parametrize("queen", ["http://127.0.0.1:8080", "http://localhost:8080", "http://[::1]:8080"])
def test_a_queen_that_only_this_machine_reaches_is_told_before_anything_is_started(queen: str) -> None:
    with pytest.raises(BadInput, match="does not reach it"):
        command_of(Wanted(name="gpu1", place=PLACE), chosen(queen), has_token=True)


def test_without_a_token_nothing_is_opened_to_other_machines() -> None:
    with pytest.raises(BadInput, match="needs the token"):
        command_of(Wanted(name="gpu1", place=PLACE), chosen("http://10.0.0.5:8080"), has_token=False)


@pytest.mark.parametrize(
    "written", ["", "-oProxyCommand=x", "a b", "ada@", "@h", "h:0", "h:99999", "a@h;x", "a@h\n", "$(x)"]
)
def test_what_is_no_place_is_refused(written: str) -> None:
    with pytest.raises(BadInput, match="is no place to log in to"):
        read_place(written, "", False)


def test_a_place_is_read() -> None:
    assert read_place("ada@gpu1:2222", "", True) == RemotePlace(
        host="gpu1", user="ada", port=2222, takes_new_host_key=True
    )
    assert read_place("[::1]:22", "", False) == RemotePlace(host="::1", port=22)


def test_a_key_that_is_not_here_is_told_at_once() -> None:
    with pytest.raises(BadInput, match=r"--key: .* is no file here"):
        read_place("gpu1", "/nowhere/id_ed25519", False)


def test_a_known_name_is_refused_before_anything_is_run() -> None:
    known = {"name": "gpu1", "url": "http://h:1", "state": "lost", "epoch": 1}
    shell = Recorded(RemoteEnded(exit_code=0, out="", err=""))
    with played_queen() as queen:
        queen.play("GET /v1/hives", telling({"hives": [known]}))
        with pytest.raises(NotAdded, match="HIVE_NAME_TAKEN") as refused:
            add_hive(chosen(queen.url), Wanted(name="gpu1", place=RemotePlace(host=HOST)), shell, lambda said: None)
    assert (refused.value.exit_code, shell.ran) == (6, [])


def test_what_the_other_side_says_with_an_exit_code_of_ours_keeps_it() -> None:
    shell = Recorded(RemoteEnded(exit_code=6, out="", err="error: HIVE_NAME_TAKEN: it is so\n"))
    with played_queen() as queen:
        queen.play("GET /v1/hives", telling({"hives": []}))
        with pytest.raises(NotAdded, match="HIVE_NAME_TAKEN") as refused:
            add_hive(chosen(queen.url), Wanted(name="gpu1", place=RemotePlace(host=HOST)), shell, lambda said: None)
    assert refused.value.exit_code == 6
