"""Whatever is wrong with what a user wrote or where it lies: exit 2, the file, the line, the field and the fix, and
nothing started."""

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e.product import PENSTOCK, commit, environment, git, new_repository, penstock, write

pytestmark = pytest.mark.slow

SETTINGS = """\
[agent]
command = "true"

[sandbox]
mode = "none"

[gates.tests]
command = "true"
"""
TICKET = "---\nid: A\ntitle: Something\nkind: chore\n---\nWanted.\n"
GOOD = {"penstock.toml": SETTINGS, "tickets/a.md": TICKET}


def ticket(name: str, front: str = "", body: str = "Wanted.") -> str:
    return f"---\nid: {name}\ntitle: Something\n{front}---\n{body}\n"


@dataclass(frozen=True)
class Wrong:
    """Files on top of the good ones (None: without it), and what must be said."""

    files: dict[str, str | None]
    said: tuple[str, ...]


CASES = {
    "unknown key": Wrong(
        {"penstock.toml": f"{SETTINGS}\n[limits]\nwindow_sart = 2\n"},
        ("penstock.toml:11", "[limits.window_sart]", "window_start"),
    ),
    "unknown section": Wrong(
        {"penstock.toml": f"{SETTINGS}\n[gate.tests]\ncommand = 'true'\n"}, ("penstock.toml:10", "[gate]", "gates")
    ),
    "wrong type": Wrong(
        {"penstock.toml": f"{SETTINGS}\n[limits]\nwindow_max = 'four'\n"}, ("penstock.toml:11", "[limits.window_max]")
    ),
    "absurd number": Wrong(
        {"penstock.toml": f"{SETTINGS}\n[limits]\nwindow_max = 1{'0' * 30}\n"},
        ("penstock.toml:11", "[limits.window_max]"),
    ),
    "no TOML": Wrong({"penstock.toml": f"{SETTINGS}\n[limits\n"}, ("penstock.toml:10",)),
    "absurd size of the settings": Wrong(
        {"penstock.toml": f"{SETTINGS}\n# {'x' * 300_000}\n"}, ("penstock.toml", "262,144")
    ),
    "no settings": Wrong({"penstock.toml": None}, ("penstock.toml: does not exist", "penstock init")),
    "no gates": Wrong(
        {"penstock.toml": SETTINGS.partition("[gates")[0]}, ("penstock.toml", "[gates] no gate", "[gates.tests]")
    ),
    "no agent": Wrong(
        {"penstock.toml": SETTINGS.replace('[agent]\ncommand = "true"', "")},
        ("penstock.toml", "[agent.command]", "nobody would do the work"),
    ),
    "a gate that does not exist": Wrong(
        {"tickets/b.md": ticket("B", "acceptance:\n  - gate: test\n")},
        ("tickets/b.md:5", "acceptance", 'no gate "test"', "tests"),
    ),
    "an environment that does not exist": Wrong(
        {"penstock.toml": f"{SETTINGS}env = 'python'\n"}, ("penstock.toml:9", "[gates.tests.env]", "[env.python]")
    ),
    "no tickets": Wrong({"tickets/a.md": None}, ("no tickets", "penstock tickets add")),
    "duplicate ids": Wrong({"tickets/b.md": TICKET}, ("tickets/b.md:2", "[id]", "tickets/a.md:2", "another id")),
    "unknown dependency": Wrong(
        {"tickets/a1.md": ticket("PARSE-1"), "tickets/b.md": ticket("B", "depends_on: [PARSE-2]\n")},
        ("tickets/b.md:4", "[depends_on[0]]", 'no ticket "PARSE-2"', "PARSE-1"),
    ),
    "cycle": Wrong(
        {
            "tickets/b.md": ticket("B", "depends_on: [C]\n"),
            "tickets/c.md": ticket("C", "depends_on: [D]\n"),
            "tickets/d.md": ticket("D", "depends_on: [B]\n"),
        },
        ("tickets/b.md:4", "is a cycle: B -> C -> D -> B", "remove one"),
    ),
    "unknown key of a ticket": Wrong(
        {"tickets/b.md": ticket("B", "dependson: [A]\n")}, ("tickets/b.md:4", "[dependson]", "depends_on")
    ),
    "wrong type in a ticket": Wrong(
        {"tickets/b.md": ticket("B", "priority: high\n")}, ("tickets/b.md:4", "[priority]")
    ),
    "no front matter that ends": Wrong({"tickets/b.md": "---\nid: B\n"}, ("tickets/b.md",)),
    "control character in a title": Wrong(
        {"tickets/b.md": '---\nid: B\ntitle: "one\\etwo"\n---\n'}, ("tickets/b.md:3", "[title]", "U+001B")
    ),
    "control character in a body": Wrong(
        {"tickets/b.md": ticket("B", body="fine\nnot\x07fine")}, ("tickets/b.md:6", "[body]", "U+0007", "remove it")
    ),
    "absurd size of a ticket": Wrong(
        {"tickets/b.md": ticket("B", body="x" * 70_000)}, ("tickets/b.md", "[body]", "65,536", "split the ticket")
    ),
}


@pytest.mark.parametrize("wrong", CASES.values(), ids=list(CASES))
def test_what_is_written_wrongly_is_named(tmp_path: Path, wrong: Wrong) -> None:
    place = new_repository(tmp_path / "repository")
    commit(place, {name: text for name, text in (GOOD | wrong.files).items() if text is not None})
    told = refused(place)
    assert [text for text in wrong.said if text not in told] == [], told


def refused(place: Path) -> str:
    """What it is told, with a fix and exit 2; no run was begun."""
    end = penstock(place, "run")
    assert end.exit_code == 2, end.err
    assert "fix: " in end.err
    assert end.out == ""
    assert not list(place.glob("**/penstock/runs/*")), "a run was begun"
    return end.err


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a repository to somebody else")
def test_init_names_a_repository_of_somebody_else(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    for path in (place, place / ".git"):
        os.chown(path, 65_534, 65_534)
    end = penstock(place, "init")
    assert (end.exit_code, "belongs to another user" in end.err) == (2, True), end.err


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    commit(place, {"penstock.toml": f"{SETTINGS}\ntypo = 1\n", "tickets/b.md": ticket("B", "priority: 9\n")})
    end = penstock(place, "tickets", "check")
    assert end.exit_code == 2
    assert "typo" in end.err and "tickets/b.md:4" in end.err


def test_the_same_repository_without_anything_wrong_runs(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    commit(place, GOOD | {"penstock.toml": SETTINGS.replace('command = "true"', 'command = "echo x >x"', 1)})
    assert penstock(place, "run").exit_code == 0


# --- places that cannot be worked in --------------------------------------------------------------------------------


def no_repository(place: Path) -> Path:
    write(place, GOOD)
    return place


def no_commits(place: Path) -> Path:
    write(new_repository(place), GOOD)
    return place


def detached(place: Path) -> Path:
    commit(new_repository(place), GOOD)
    git(place, "checkout", "--quiet", "--detach")
    return place


def with_submodule(place: Path) -> Path:
    oid = commit(new_repository(place.with_name("other")), GOOD)
    commit(new_repository(place), GOOD)
    git(place, "update-index", "--add", "--cacheinfo", f"160000,{oid},vendor/other")
    git(place, "commit", "--quiet", "--message", "A submodule")
    return place


def with_lfs(place: Path) -> Path:
    commit(new_repository(place), GOOD | {".gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    return place


def shallow(place: Path) -> Path:
    origin = new_repository(place.with_name("origin"))
    commit(origin, GOOD)
    commit(origin, {"more": ""})
    git(origin, "clone", "--quiet", "--depth=1", f"file://{origin}", str(place))
    return place


def bare(place: Path) -> Path:
    origin = new_repository(place.with_name("origin"))
    commit(origin, GOOD)
    git(origin, "clone", "--quiet", "--bare", str(origin), str(place))
    return place


def sparse(place: Path) -> Path:
    commit(new_repository(place), GOOD | {"deep/file": ""})
    git(place, "sparse-checkout", "set", "tickets")
    return place


PLACES: dict[Callable[[Path], Path], tuple[str, ...]] = {
    no_repository: ("not a git repository", "git init"),
    no_commits: ("it has no commits", "git commit"),
    detached: ("[landing.target]", "HEAD is detached", "git switch"),
    with_submodule: ("submodules are not supported: vendor/other",),
    with_lfs: ("Git LFS is not supported: .gitattributes", "git lfs migrate export"),
    shallow: ("a shallow clone", "git fetch --unshallow"),
    bare: ("a bare repository", "git worktree add"),
    sparse: ("a sparse checkout", "git sparse-checkout disable"),
}


@pytest.mark.parametrize(("lay_out", "said"), PLACES.items(), ids=[lay_out.__name__ for lay_out in PLACES])
def test_a_repository_that_cannot_be_worked_in_is_named(
    tmp_path: Path, lay_out: Callable[[Path], Path], said: tuple[str, ...]
) -> None:
    told = refused(lay_out(tmp_path / "repository"))
    assert [text for text in said if text not in told] == [], told


# --- what is asked of the command -----------------------------------------------------------------------------------

ASKED = {
    ("rn",): "did you mean 'run'?",
    ("run", "NOPE"): "no such ticket",
    ("run", "--seed", "many"): "--seed",
    ("run", "--no-such-option"): "--no-such-option",
    ("-C", "no-such-directory", "run"): "no-such-directory",
    ("status", "no-such-run"): "no such run",
    ("logs", "A"): "no run yet",
    ("approve", "A"): "--reason",
    ("cancel", "A"): "no run yet",
    ("raise-budget",): "nothing to add",
    ("tickets", "show", "a"): "no ticket",
    ("tickets", "add", "Something", "--id", "A"): "is also the id of",
    ("report", "--json", "--markdown"): "choose one",
    ("completion", "tcsh"): "tcsh",
}


def test_what_cannot_be_done_is_told_with_exit_2(tmp_path: Path) -> None:
    place = new_repository(tmp_path / "repository")
    commit(place, GOOD)
    for words, said in ASKED.items():
        end = penstock(place, *words)
        assert (end.exit_code, said in end.err) == (2, True), (words, end)
    assert not (place / ".git/penstock").exists()
    assert git(place, "status", "--porcelain") == ""


def test_the_output_may_be_cut_off(tmp_path: Path) -> None:
    """`penstock ... | head -1` is no error of ours."""
    place = new_repository(tmp_path / "repository")
    commit(place, GOOD | {f"tickets/{n}.md": ticket(f"T-{n}") for n in range(2_000)})
    line = "penstock tickets list --json | head -1; exit ${PIPESTATUS[0]}"
    path = f"{PENSTOCK.parent}:{environment()['PATH']}"
    end = subprocess.run(["bash", "-c", line], cwd=place, env=environment() | {"PATH": path}, capture_output=True)
    assert end.stdout == b"[\n"
    assert end.stderr == b""
