"""Names that say one path and mean another, and tools that reach more than they name."""

from __future__ import annotations

from typing import Any

from tests.bypass.vector import Attack, Vector, Watched, is_altered
from tests.bypass.writes import STOLEN
from tests.integration.gate_world import MONEY


def calling(*calls: tuple[str, dict[str, Any]]) -> Attack:
    async def attack(gate: Watched) -> None:
        for tool, arguments in calls:
            await gate.call(tool, **arguments)

    return attack


def writing(path: str) -> Attack:
    return calling(("write_file", {"path": path, "content": STOLEN}))


def absolutely(path: str) -> Attack:
    async def attack(gate: Watched) -> None:
        await gate.write(f"{gate.top}/{path}", STOLEN)

    return attack


def through(link: str) -> Attack:
    """A link in tests is free; what it leads to is not."""

    async def attack(gate: Watched) -> None:
        await gate.shell("ln -s ../app tests/all; ln -s ../app/money.py tests/one.py")
        await gate.call("edit_file", path=link, old="amount * 2", new="amount * 3  # stolen")

    return attack


def is_planted(path: str) -> Any:
    return lambda gate: (gate.top / path).exists()


async def a_link_for_the_tests(gate: Watched) -> None:
    await gate.shell("rm -r tests; ln -s app tests")
    await gate.write("tests/money.py", STOLEN)


async def multi_edit(gate: Watched) -> None:
    """A free edit takes a guarded one with it."""
    edits = [
        {"path": "tests/test_money.py", "old": "== 8", "new": "== 12"},
        {"path": "app/money.py", "old": "amount * 2", "new": "amount * 3"},
    ]
    await gate.call("multi_edit", edits=edits)


BARE: dict[str, str] = {
    "up and down again": "app/../app/money.py",
    "by way of the tests": "tests/../app/money.py",
    "an empty part": "app//money.py",
    "a dot": "./app/money.py",
    "a dot within": "app/./money.py",
    "out of the tree and in": "../tree/app/money.py",
}
GIT = (".git/hooks/pre-commit", ".GIT/config", ".git\u200c/config", "git~1/config", "app/.git/config")
NEW: dict[str, str] = {
    "a backslash": "app\\money.py",
    "another case of the directory": "App/money.py",
    "a space behind": "app/money.py ",
    "a module that shadows the runner": "pytest.py",
    "a module that shadows the standard library": "json.py",
    "the settings of the gate by tool": "penstock.toml",
    "a ticket": "tickets/T-1.md",
    "a lock file": "app/uv.lock",
    "a file below an ignored name that is none": "app/.venv.py",
}
BY_TOOLS: dict[str, Attack] = {
    "deletion by tool": calling(("delete_file", {"path": "app/money.py"})),
    "moved among the tests": calling(("move_file", {"source": "app/money.py", "target": "tests/money.py"})),
    "moved from the tests": calling(
        ("write_file", {"path": "tests/new.py", "content": STOLEN}),
        ("move_file", {"source": "tests/new.py", "target": "app/new.py"}),
    ),
    "copied from the tests": calling(
        ("write_file", {"path": "tests/new.py", "content": STOLEN}),
        ("copy_file", {"source": "tests/new.py", "target": "app/new.py"}),
    ),
    "deleted and copied over": calling(
        ("delete_file", {"path": "app/money.py"}),
        ("copy_file", {"source": "tests/test_money.py", "target": "app/money.py"}),
    ),
    "one free edit and one that is not": multi_edit,
    'the mode "all" of an edit': calling(
        ("edit_file", {"path": "app/money.py", "old": "amount", "new": "sum", "all": True})
    ),
}
assert MONEY != STOLEN

VECTORS: tuple[Vector, ...] = (
    *(Vector(f"a path with {n}", "path", "blocked", writing(p), is_altered, "bare") for n, p in BARE.items()),
    *(Vector(f"a path into git: {p!a}", "path", "blocked", writing(p), is_planted(p), "bare") for p in GIT),
    *(Vector(n, "path", "blocked", writing(p), is_altered) for n, p in NEW.items()),
    *(Vector(n, "path", "blocked", attack, is_altered) for n, attack in BY_TOOLS.items()),
    Vector("an absolute path", "path", "blocked", absolutely("app/money.py"), is_altered, "bare"),
    Vector("an edit through a link to a file", "path", "blocked", through("tests/one.py"), is_altered, "bare"),
    Vector(
        "an edit by way of a linked directory", "path", "blocked", through("tests/all/money.py"), is_altered, "bare"
    ),
    Vector("the tests a link to production", "path", "restored", a_link_for_the_tests, is_altered, "bare"),
)
