"""`penstock init` and `penstock tickets`, as they are typed."""

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Typed:
    """What a command said: data on stdout, talk on stderr."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Place:
    """A directory to type commands in, with nobody's git settings."""

    path: Path

    def run(self, *argv: str, stdin: str = "") -> Typed:
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.path.parent),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "A",
            "GIT_AUTHOR_EMAIL": "a@example.org",
            "GIT_COMMITTER_NAME": "A",
            "GIT_COMMITTER_EMAIL": "a@example.org",
        }
        done = subprocess.run(argv, cwd=self.path, env=env, input=stdin, capture_output=True, text=True, check=False)
        return Typed(done.returncode, done.stdout, done.stderr)

    def penstock(self, *args: str, stdin: str = "") -> Typed:
        return self.run(sys.executable, "-m", "penstock.cli", *args, stdin=stdin)

    def git(self, *args: str) -> str:
        done = self.run("git", *args)
        assert done.code == 0, done.err
        return done.out

    def write(self, name: str, text: str) -> None:
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        (self.path / name).write_text(text)


@pytest.fixture
def repository(tmp_path: Path) -> Place:
    place = Place(tmp_path / "repository")
    place.path.mkdir()
    place.git("init", "--quiet", "--initial-branch=main")
    place.write("tests/test_a.py", "def test_a():\n    pass\n")
    place.git("add", ".")
    place.git("commit", "--quiet", "-m", "begin")
    return place


@pytest.fixture
def project(repository: Place) -> Place:
    assert repository.penstock("init").code == 0
    return repository


# --- init -----------------------------------------------------------------------------------------------------------


def test_init_writes_and_says_what_comes_next(repository: Place) -> None:
    done = repository.penstock("init")
    assert (done.code, done.out) == (0, "")
    assert "gate tests: .venv/bin/python -m pytest -q" in done.err
    assert 'add a ticket: penstock tickets add "What is wanted"' in done.err
    assert "git add penstock.toml && git commit" in done.err
    assert repository.git("status", "--porcelain") == "?? penstock.toml\n"


def test_init_warns_of_what_git_would_take_for_work(repository: Place) -> None:
    warning = "warning: git does not ignore .venv/: add it to .gitignore"
    assert warning in repository.penstock("init").err
    repository.write(".gitignore", ".venv/\n")
    (repository.path / "penstock.toml").unlink()
    assert warning not in repository.penstock("init").err


def test_init_commits_exactly_what_it_wrote(repository: Place) -> None:
    repository.write("mine.txt", "staged by the user")
    repository.git("add", "mine.txt")
    done = repository.penstock("init", "--example", "--commit")
    assert done.code == 0, done.err
    assert repository.git("show", "--name-only", "--format=%s") == (
        "Add the settings of Penstock\n\npenstock.toml\ntickets/example.md\n"
    )
    assert repository.git("status", "--porcelain") == "A  mine.txt\n"
    assert repository.penstock("tickets", "check").code == 0


def test_init_overwrites_nothing(project: Place) -> None:
    project.write("penstock.toml", "# mine\n")
    done = project.penstock("init")
    assert done.code == 2
    assert "penstock.toml: is already there and is not overwritten" in done.err
    assert (project.path / "penstock.toml").read_text() == "# mine\n"


def test_init_works_at_the_top_from_anywhere(repository: Place) -> None:
    assert repository.penstock("-C", "tests", "init").code == 0
    assert (repository.path / "penstock.toml").exists()


def test_init_needs_a_repository(tmp_path: Path) -> None:
    done = Place(tmp_path).penstock("init")
    assert done.code == 2
    assert "is not in a git repository\n    fix: make it one: git init" in done.err
    assert list(tmp_path.iterdir()) == []


def test_init_says_when_git_will_not_commit(repository: Place) -> None:
    repository.write(".git/hooks/pre-commit", "#!/bin/sh\necho not today\nexit 1\n")
    (repository.path / ".git/hooks/pre-commit").chmod(0o755)
    done = repository.penstock("init", "--commit")
    assert done.code == 2
    assert "was written, but git could not commit it: not today" in done.err


# --- tickets --------------------------------------------------------------------------------------------------------


def test_tickets_that_are_added_are_there(project: Place) -> None:
    first = project.penstock("tickets", "add", "Parse the file!", "--test", "tests/test_a.py::test_b")
    assert (first.code, first.out) == (0, "tickets/01-parse-the-file.md\n")
    second = project.penstock(
        *("tickets", "add", 'Say "no": #1', "--id", "no", "--depends-on", "01-parse-the-file"),
        *("--priority", "0", "--kind", "fix", "--command", "make 'it'", "--body", "-"),
        stdin="All of it.\n\n- really\n",
    )
    assert (second.code, second.out) == (0, "tickets/02-no.md\n")
    listed = project.penstock("tickets", "list")
    assert listed.out == (
        "01-parse-the-file  P2  feature   Parse the file!\n"
        'no                 P0  fix       Say "no": #1  <- 01-parse-the-file\n'
    )
    shown = json.loads(project.penstock("tickets", "show", "no", "--json").out)
    assert shown["acceptance"] == [{"type": "command", "command": "make 'it'"}]
    assert shown["text"] == "All of it.\n\n- really\n"
    assert [t["id"] for t in json.loads(project.penstock("tickets", "list", "--json").out)] == [
        "01-parse-the-file",
        "no",
    ]
    assert "title: Parse the file!" in project.penstock("tickets", "show", "01-parse-the-file").out


@pytest.mark.parametrize(
    ("args", "complaint"),
    [
        (["x", "--depends-on", "fist"], 'there is no ticket "fist"\n    fix: did you mean first?'),
        (["x", "--id", "first"], '"first" is also the id of'),
        (["x", "--id", "a b"], '"a b" is no id'),
        (["x", "--kind", "bug"], 'cannot be "bug"'),
        (["x\x1b[2J"], "contains the control character U+001B"),
        (["x" * 300], "has 300 characters; at most 200 are read"),
        (["x", "--body", "\x07"], "contains the control character U+0007"),
    ],
)
def test_a_ticket_that_would_not_pass_is_not_left_behind(args: list[str], complaint: str, project: Place) -> None:
    project.write("tickets/zz.md", "---\nid: first\ntitle: x\n---\n")
    done = project.penstock("tickets", "add", *args)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert [p.name for p in (project.path / "tickets").iterdir()] == ["zz.md"]


def test_check_tells_everything_of_settings_and_tickets(project: Place) -> None:
    project.write("penstock.toml", "[gates.tests]\ncomand = 'x'\n")
    project.write("tickets/1.md", "---\ntitle: x\ndepends_on: ['2']\n---\n")
    project.write("tickets/2.md", "---\ntitle: x\ndepends_on: ['1']\n---\n")
    done = project.penstock("tickets", "check")
    assert (done.code, done.out) == (2, "")
    assert "error: penstock.toml:2: [gates.tests.comand]" in done.err
    assert "error: tickets/1.md:3: [depends_on[0]] is a cycle: 1 -> 2 -> 1" in done.err
    as_data = project.penstock("tickets", "check", "--json")
    assert as_data.code == 2
    assert [p["file"] for p in json.loads(as_data.out)["problems"]] == [
        "penstock.toml",
        "penstock.toml",
        "tickets/1.md",
    ]


def test_no_tickets_says_how_to_begin(project: Place) -> None:
    done = project.penstock("tickets", "list")
    assert (done.code, done.out) == (2, "")
    assert 'fix: add one with `penstock tickets add "title"`' in done.err


def test_a_ticket_that_is_not_there_names_the_nearest(project: Place) -> None:
    project.penstock("tickets", "add", "Parse", "--id", "parse")
    done = project.penstock("tickets", "show", "prase")
    assert done.code == 2
    assert "no ticket 'prase'; did you mean parse?" in done.err


def test_graph_in_three_forms(project: Place) -> None:
    project.penstock("tickets", "add", "A", "--id", "a")
    project.penstock("tickets", "add", "B", "--id", "b", "--depends-on", "a")
    assert project.penstock("tickets", "graph").out == "  1  a  A\n  2  b  B  <- a\n"
    assert "t0 --> t1" in project.penstock("tickets", "graph", "--format", "mermaid").out
    done = project.penstock("tickets", "graph", "--format", "svg", "--output", "graph.svg")
    assert (done.code, done.out) == (0, "")
    assert ET.fromstring((project.path / "graph.svg").read_text()).get("role") == "img"
    unwritable = project.penstock("tickets", "graph", "--output", "nowhere/graph.txt")
    assert unwritable.code == 2
    assert "No such file or directory" in unwritable.err
