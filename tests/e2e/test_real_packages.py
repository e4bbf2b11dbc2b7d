"""Two published packages, as they are on the index, judged by their own tests: what `penstock init` writes for them
works as it is, a defect is found and fixed, a small feature lands, and what landed works in a fresh checkout.

The agent makes prepared edits: a wrong one first, and the right one when it is asked to fix what is red.
"""

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from penstock.core import events as e
from penstock.core.events import Record
from tests.e2e.product import (
    Live,
    commit,
    environment,
    events,
    git,
    live,
    new_repository,
    penstock,
    quoted,
    records_of,
    require,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_input,
    pytest.mark.timeout(300),
]

RUN_S = 240
Edit = tuple[str, str, str]
"""Path, old text, new text; nothing old: the file is new, or the text goes to its end."""

AGENT = """\
import json, pathlib, re, sys

prompt = sys.stdin.read()
ticket = re.search(r"You work on ticket ([\\w-]+),", prompt)[1]
turn = "fix" if "Only a fix is wanted now" in prompt else "build"
for path, old, new in json.loads(pathlib.Path(".penstock/edits.json").read_text())[ticket][turn]:
    file = pathlib.Path(path)
    text = file.read_text() if file.exists() else ""
    assert not old or text.count(old) == 1, f"{path} has {old!r} {text.count(old)} times"
    file.write_text(text.replace(old, new) if old else text + new)
"""


@dataclass(frozen=True)
class Wanted:
    """A ticket, and what the agent makes of it: wrong at first, right when it is shown what is red."""

    front: str
    build: tuple[Edit, ...]
    fix: tuple[Edit, ...]
    refused: tuple[str, ...] = ("red",)
    turns: tuple[str, ...] = ("build", "fix")


@dataclass(frozen=True)
class Package:
    """A package on the index, a defect to plant, and what is wanted of it."""

    name: str
    version: str
    sha256: str
    defect: Edit
    tickets: dict[str, Wanted]


INFLECTION = "inflection/__init__.py"
ACRONYM = '''

def acronym(string: str) -> str:
    """
    The first letters of all words.

    Example::

        >>> acronym("man from the boondocks")
        'MFTB'

    """
    return "".join(word[0] for word in titleize(string).split())
'''
TOOLZ = "toolz/itertoolz.py"
ONLY = '''

def only(seq):
    """ The one element of a sequence that has no other

    >>> only('A')
    'A'
    """
    element, = seq
    return element
'''

PACKAGES = (
    Package(
        name="inflection",
        version="0.5.1",
        sha256="1a29730d366e996aaacffb2f1f1cb9593dc38e2ddd30c91250c6dde09ea9b417",
        defect=(INFLECTION, "normalize('NFKD'", "normalize('NFD'"),  # which none of its tests notices
        tickets={
            "LIGATURES": Wanted(
                front="title: Transliterate ligatures\nkind: fix\npriority: 1\nscope: [inflection/**]\n",
                build=(
                    (INFLECTION, "normalize('NFD'", "normalize('NFKC'"),  # now letters with accents are lost
                    (
                        "test_ligatures.py",
                        "",
                        "import inflection\n\n\ndef test_a_ligature_is_two_letters():\n"
                        "    assert inflection.transliterate('\\ufb01ne') == 'fine'\n",
                    ),
                ),
                fix=((INFLECTION, "normalize('NFKC'", "normalize('NFKD'"),),
            ),
            "ACRONYM": Wanted(
                front="title: Make acronyms\nacceptance:\n  - test: test_acronym.py::test_the_first_letters\n",
                build=(
                    (INFLECTION, "humanize(underscore(word)).title()", "humanize(word).title()"),
                    (INFLECTION, "\n\ndef transliterate", f"{ACRONYM}\n\ndef transliterate"),
                    (
                        "test_acronym.py",
                        "",
                        "import inflection\n\n\ndef test_the_first_letters():\n"
                        "    assert inflection.acronym('man_from the boondocks') == 'MFTB'\n",
                    ),
                ),
                fix=((INFLECTION, "humanize(word).title()", "humanize(underscore(word)).title()"),),
            ),
        },
    ),
    Package(
        name="toolz",
        version="1.0.0",
        sha256="2c86e3d9a04798ac556793bced838816296a2f085017664e4995cb40a1047a02",
        defect=(TOOLZ, "return seq[-n:]", "return seq[-n + 1:]"),  # which makes its own tests red
        tickets={
            "TAIL": Wanted(
                front="title: The tail is one too short\nkind: fix\nrepairs: [tests]\nacceptance:\n  - gate: tests\n",
                build=((TOOLZ, "return seq[-n + 1:]", "return seq[n:]"),),
                fix=((TOOLZ, "return seq[n:]", "return seq[-n:]"),),
            ),
            "ONLY": Wanted(
                front="title: The only element\ndepends_on: [TAIL]\n",
                build=(
                    (TOOLZ, "'join', 'tail', 'diff',", "'join', 'tail', 'only', 'diff',"),
                    (TOOLZ, "\n\ndef drop(n, seq):", f"{ONLY}\n\ndef drop(n, seq):"),
                    (
                        "toolz/tests/test_only.py",
                        "",
                        "import pytest\n\nfrom toolz import only\n\n\ndef test_only():\n"
                        "    assert only(iter('A')) == 'A'\n\n\ndef test_more_than_one():\n"
                        "    with pytest.raises(ValueError):\n        only('AB')\n",
                    ),
                ),
                # What the fix needs is a file that the work has not touched: it may have it at the second asking.
                fix=(("toolz/curried/__init__.py", "    merge_sorted,\n", "    merge_sorted,\n    only,\n"),),
                refused=("red", "expansion", "no_change"),
                turns=("build", "fix", "fix"),
            ),
        },
    ),
)


# --- getting them ---------------------------------------------------------------------------------------------------


def download(package: Package, place: Path) -> Path:
    """The source distribution, by its digest. Skips, naming the reason, where it cannot be had."""
    wanted = place / "wanted.txt"
    wanted.write_text(f"{package.name}=={package.version} --hash=sha256:{package.sha256}\n")
    words = ("download", "--quiet", "--no-deps", "--no-binary", ":all:", "--require-hashes", "-d", str(place))
    end = subprocess.run(
        [sys.executable, "-m", "pip", *words, "-r", str(wanted)],
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if end.returncode:
        pytest.skip(f"{package.name} {package.version} cannot be had: {end.stderr.strip().splitlines()[-1]}")
    return next(place.glob(f"{package.name}-{package.version}.tar.gz"))


def lay_out(package: Package, place: Path) -> Path:
    """A repository as its user has it: the package, a defect, what `penstock init` proposes, and tickets."""
    with tarfile.open(download(package, place)) as archive:
        archive.extractall(place, filter="data")
    top = new_repository(place / f"{package.name}-{package.version}")
    path, old, new = package.defect
    text = (top / path).read_text()
    assert text.count(old) == 1
    commit(top, {path: text.replace(old, new)}, "Everything")
    made = penstock(top, "init", "--commit")
    assert made.exit_code == 0, made.err
    settings = (top / "penstock.toml").read_text()
    command = f"command = {quoted('python3 .penstock/agent.py')}"
    edits = {name: {"build": wanted.build, "fix": wanted.fix} for name, wanted in package.tickets.items()}
    files = {
        "penstock.toml": settings.replace('command = ""', command),
        ".penstock/agent.py": AGENT,
        ".penstock/edits.json": json.dumps(edits),
        **{f"tickets/{name}.md": f"---\n{wanted.front}---\n" for name, wanted in package.tickets.items()},
    }
    commit(top, files, "What Penstock is to do")
    return top


@dataclass(frozen=True)
class Aftermath:
    """What is left when the run has ended."""

    package: Package
    place: Path
    exit_code: int
    said: str
    records: list[Record]
    report: Any


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Live]]:
    require("bubblewrap")  # without it, each checkout of each gate would download its environment anew
    with ExitStack() as stack:
        places = {package.name: lay_out(package, tmp_path_factory.mktemp(package.name)) for package in PACKAGES}
        yield {name: stack.enter_context(live(place, "run")) for name, place in places.items()}


@pytest.fixture(scope="module", params=PACKAGES, ids=lambda package: package.name)
def after(started: dict[str, Live], request: pytest.FixtureRequest) -> Aftermath:
    package: Package = request.param
    run = started[package.name]
    exit_code = run.end(RUN_S)
    report = penstock(run.place, "report", "--json").json()
    return Aftermath(package, run.place, exit_code, run.said, records_of(run.place), report)


# --- what came of it ------------------------------------------------------------------------------------------------


def test_all_is_done(after: Aftermath) -> None:
    assert after.exit_code == 0, after.said
    assert {ticket["id"]: ticket["state"] for ticket in after.report["tickets"]} == dict.fromkeys(
        after.package.tickets, "done"
    )
    assert after.report["proof"]["holds"]


def test_the_packages_own_tests_refused_what_was_wrong(after: Aftermath) -> None:
    for name, wanted in after.package.tickets.items():
        refused = [refused.kind for refused in events(after.records, e.Refused) if refused.ticket == name]
        orders = [owed.order for owed in events(after.records, e.JobOwed) if owed.ticket == name]
        turns = [order.role for order in orders if isinstance(order, e.TurnOrder)]
        assert (refused, turns) == ([*wanted.refused], [*wanted.turns]), after.said


def test_gates_had_no_network_and_their_environment_was_built_once(after: Aftermath) -> None:
    built = [env for env in events(after.records, e.EnvEnded) if env.ok and env.duration_ms]
    assert len(built) == 1
    assert {ended.evidence.isolation for ended in events(after.records, e.GateEnded)} == {"bubblewrap"}


def test_what_landed_passes_in_a_fresh_checkout(after: Aftermath, tmp_path: Path) -> None:
    fresh = tmp_path / "fresh"
    git(tmp_path, "clone", "--quiet", "--branch", "penstock/main", str(after.place), str(fresh))
    path, old, new = after.package.defect
    assert old in (fresh / path).read_text()
    assert new not in (fresh / path).read_text()
    python = str(fresh / ".venv/bin/python")
    for words in (
        (sys.executable, "-m", "venv", ".venv"),
        (python, "-m", "pip", "install", "--quiet", "-e", ".", "pytest"),
        (python, "-m", "pytest", "-q"),
    ):
        end = subprocess.run(words, cwd=fresh, env=environment(), capture_output=True, text=True)
        assert end.returncode == 0, end.stdout + end.stderr
