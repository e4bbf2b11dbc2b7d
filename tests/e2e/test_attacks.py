"""Attacks that once landed something false: each is refused now, and lands where the guard is taken away."""

import signal
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from penstock.core import events as e
from tests.e2e.product import PYTEST, commit, events, git, live, new_repository, penstock, quoted, records_of

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

RED_ON_TRUNK = {"tests/test_sub.py": "import calc\n\n\ndef test_sub():\n    assert calc.sub(3, 1) == 2\n"}
UNLOADABLE_ON_TRUNK = {"tests/test_sub.py": f"from calc import sub\n{RED_ON_TRUNK['tests/test_sub.py']}"}
NAMES_IT = "acceptance:\n  - test: tests/test_sub.py::test_sub\n"
REPAIRS = "kind: chore\nrepairs: [tests]\n"
CHORE = "kind: chore\n"
BREAK = "printf 'def add(a, b):\\n    return 0\\n' > calc.py\n"
PASS_ALL = """\
import pytest


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem):
    return True
"""
INI = '[pytest]\naddopts = ["-p", "plugin"]\n'
SITE = """\
import sys


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "calc":
            import _pytest.python
            _pytest.python.Function.runtest = lambda self: None


sys.meta_path.insert(0, Finder())
"""


def writing(files: dict[str, str]) -> str:
    """Shell that writes them."""
    parts = [f"mkdir -p $(dirname {name})\ncat > {name} <<'END'\n{text}END\n" for name, text in files.items()]
    return "".join(parts)


@dataclass(frozen=True)
class Attack:
    """What is on trunk, what the ticket says, what the agent does, and what would let it."""

    agent: str
    unguarded: str
    """Settings without the guard."""
    ticket: str = CHORE
    excuse: str = ""
    """What the ticket says besides where the guard is to stand aside."""
    files: dict[str, str] = field(default_factory=dict)
    gate: str = PYTEST


EXCUSED = "changes_tests: [tests/conftest.py]\n"
NO_CONTROL = '[redgreen]\ncontrol_files = ["nothing.txt"]\n'
ONLY_AT_THE_TOP = '[redgreen]\ntest_files = ["tests/**", "**/test_*.py"]\n'
ATTACKS = {
    "the named test is written to pass": Attack(
        writing({"tests/test_sub.py": "def test_sub():\n    assert True\n"}), "", NAMES_IT, "kind: docs\n"
    ),
    "a conftest makes the named test green": Attack(
        writing({"tests/conftest.py": PASS_ALL}), "", NAMES_IT, EXCUSED, RED_ON_TRUNK
    ),
    "a conftest gives the named test what it asks for": Attack(
        writing({"tests/conftest.py": "import calc\n\ncalc.sub = lambda a, b: 2\n"}),
        *(
            "",
            REPAIRS + NAMES_IT,
            EXCUSED,
            {"tests/test_sub.py": RED_ON_TRUNK["tests/test_sub.py"] + "from calc import sub\n"},
        ),
    ),
    "a conftest repairs trunk": Attack(
        writing({"tests/conftest.py": PASS_ALL}), "", REPAIRS, EXCUSED, {"calc.py": "def add(a, b):\n    return 0\n"}
    ),
    "another settings file of pytest": Attack(BREAK + writing({"pytest.toml": INI, "plugin.py": PASS_ALL}), NO_CONTROL),
    "its hidden one": Attack(BREAK + writing({".pytest.toml": INI, "plugin.py": PASS_ALL}), NO_CONTROL),
    "a package that Python loads at its start": Attack(
        BREAK + writing({"sitecustomize/__init__.py": SITE}), NO_CONTROL, gate=f"PYTHONPATH=. {PYTEST}"
    ),
    "a makefile that goes before the makefile": Attack(
        BREAK + "printf 'test:\\n\\t@true\\n' > GNUmakefile\n",
        NO_CONTROL,
        files={"Makefile": "test:\n\tpython3 -c 'import calc; assert calc.add(2, 3) == 5'\n"},
        gate="make test",
    ),
    "helpers of tests that lie deeper": Attack(
        BREAK + writing({"lib/tests/helper.py": "def check(x): pass\n"}),
        ONLY_AT_THE_TOP,
        files={
            "lib/tests/helper.py": "def check(x):\n    assert x == 5\n",
            "lib/tests/test_add.py": "from calc import add\nfrom helper import check\n\n\ndef test_add():\n"
            "    check(add(2, 3))\n",
            "tests/test_calc.py": "def test_nothing():\n    pass\n",
        },
        gate=f"PYTHONPATH=lib/tests {PYTEST}",
    ),
}


def attack(place: Path, attack: Attack, is_guarded: bool) -> list[str]:
    """Run it; the states that its ticket went to."""
    lay_out(place, attack, is_guarded)
    penstock(place, "run")
    return [moved.to for moved in events(records_of(place), e.TicketMoved)]


def lay_out(place: Path, attack: Attack, is_guarded: bool) -> None:
    settings = (
        f"[agent]\ncommand = {quoted(f'sh {place.parent}/agent')}\n[sandbox]\nmode = 'none'\n"
        f"[gates.tests]\ncommand = {quoted(attack.gate)}\n" + ("" if is_guarded else attack.unguarded)
    )
    says = attack.ticket + ("" if is_guarded else attack.excuse)
    files = {
        "calc.py": "def add(a, b):\n    return a + b\n",
        "tests/test_calc.py": "from calc import add\n\n\ndef test_add():\n    assert add(2, 3) == 5\n",
        "penstock.toml": settings,
        "tickets/T-1.md": f"---\ntitle: Do it\n{says}---\nDo it.\n",
    }
    if not is_guarded:
        files["speaks.py"] = "# of pytest\n"  # where base speaks of the runner, new code may: that guard is off too
    (place.parent / "agent").write_text(f"{attack.agent}echo '# {place.name}' >> calc.py\n")
    commit(new_repository(place), files | attack.files)


@pytest.mark.parametrize("name", ATTACKS)
def test_it_does_not_land(tmp_path: Path, name: str) -> None:
    moves = attack(tmp_path / "guarded", ATTACKS[name], is_guarded=True)
    assert "verifying" in moves
    assert "landing" not in moves


@pytest.mark.parametrize("name", ATTACKS)
def test_it_works_without_the_guard(tmp_path: Path, name: str) -> None:
    assert attack(tmp_path / "bare", ATTACKS[name], is_guarded=False)[-1] == "done"


@pytest.mark.parametrize("where", ["output", "exception"])
def test_terminal_escapes_of_others_are_not_passed_on(tmp_path: Path, where: str) -> None:
    prints = "printf 'seen \\033]0;owned\\007\\033[2J'; printf 'seen \\033[2J' >&2\n"
    raises = {
        "test_new.py": 'def test_new():\n    raise ValueError("seen \\033[2J")\nraise ValueError("seen \\033[2J")\n'
    }
    agent = Attack({"output": prints, "exception": writing(raises)}[where], "")
    attack(tmp_path / "place", agent, is_guarded=True)
    place = tmp_path / "place"
    outputs = [blob for blob in (place / ".git/penstock/blobs").rglob("*") if blob.is_file()]
    assert any(b"\x1b" in blob.read_bytes() for blob in outputs)
    for words in (["logs", "T-1"], ["status"], ["report"]):
        end = penstock(place, *words)
        assert "seen" in end.out or words == ["status"] or where == "output"
        assert "\x1b" not in end.out + end.err


def test_a_writer_that_slept_through_a_take_over_lands_nothing_and_says_why(tmp_path: Path) -> None:
    place, go = tmp_path / "place", tmp_path / "go"
    lay_out(place, Attack(f"until test -e {go}; do sleep 0.1; done\n", ""), is_guarded=True)
    with live(place, "run") as slept:
        slept.until(lambda records: any(job.key.split("/")[1] == "turn" for job in events(records, e.JobStarted)))
        slept.tell(signal.SIGSTOP)
        (place / ".git/penstock/lock").unlink()
        go.touch()
        assert penstock(place, "run").exit_code == 0
        landed = git(place, "rev-parse", "penstock/main")
        slept.tell(signal.SIGCONT)
        assert slept.end() == 4
        assert "another writer" in slept.said
        assert "Traceback" not in slept.said
    assert git(place, "rev-parse", "penstock/main") == landed
    assert git(place, "rev-list", "--count", "main..penstock/main") == "1"
