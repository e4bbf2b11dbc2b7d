"""`[redgreen.test_command_for]`: by runner or by glob, and what is said of what cannot be followed."""

from __future__ import annotations

import pytest

from penstock.ports import BadInput
from penstock.settings.reader import read_settings

GATE = '[gates.tests]\ncommand = "make test"\n[redgreen.test_command_for]\n'


def commands_of(text: str) -> dict[str, str]:
    return read_settings(f"{GATE}{text}".encode()).redgreen.policy.test_commands


def told(text: str) -> str:
    with pytest.raises(BadInput) as bad:
        read_settings(f"{GATE}{text}".encode())
    return str(bad.value).removeprefix("penstock.toml:4: [redgreen.test_command_for.")


def test_globs_and_runners_in_the_order_of_the_file() -> None:
    taken = commands_of(
        '"services/a/**" = "uv run pytest {tests}"\npytest = "python -m pytest -x"\n"*_old.py" = "python -m unittest"\n'
        'jest = ""\nnode = "node --conditions=test --test"\nvitest = "npx vitest run"\ngo = "go test -race"\n'
    )
    assert list(taken.items()) == [
        ("services/a/**", "uv run pytest {tests}"),
        ("pytest", "python -m pytest -x"),
        ("*_old.py", "python -m unittest"),
        ("node", "node --conditions=test --test"),
        ("vitest", "npx vitest run"),
        ("go", "go test -race"),
    ]


@pytest.mark.parametrize(
    ("text", "complaint", "fix"),
    [
        (
            'pytst = "python"',
            'pytst] "pytst" is neither a runner nor a glob',
            'write "pytst/**" for the test files of a directory; did you mean pytest?',
        ),
        (
            'backend = "python"',
            'backend] "backend" is neither a runner nor a glob',
            'write "backend/**" for the test files of a directory; '
            "known here: pytest, unittest, vitest, jest, node, cargo, go",
        ),
        ('"../a/**" = "python"', '../a/**] "../a/**" leaves the repository', "write it relative to the repository"),
        ('"!a/**" = "python"', '!a/**] "!a/**" names no files', "write a glob of those that are meant"),
        ('"#a" = "python"', '#a] "#a" names no files', "write a glob of those that are meant"),
        ('"a/[z-a]" = "python"', 'a/[z-a]] "a/[z-a]" is no glob: bad character range', "write it as in a .gitignore"),
        ('"a/**" = "./run"', "a/**] names no test runner", 'write a command that does, as "python -m pytest"'),
        ('"a/**" = ""', "a/**] names no test runner", 'write a command that does, as "python -m pytest"'),
        ('"a/**" = 3', "a/**] must be text, not a whole number", "put it in quotes"),
        ('pytest = "python \'x"', "pytest] has a quote that is not closed", "close it"),
        ('pytest = "python -m unittest"', "pytest] is a command of unittest, not of pytest", "write it as unittest = "),
        ('vitest = "npx vitest -c x"', "vitest] has -c, which is not handed on", "put it into the configuration"),
        ('"a/**" = "node --a b.js --c"', "a/**] has --c, which is not handed on", "put it into the configuration"),
        ('cargo = "cargo nextest run"', "cargo] cannot be followed", 'begin it with "cargo test"'),
        ('go = "gotestsum"', "go] cannot be followed", 'begin it with "go test"'),
        ('cargo = "cargo test -- --nocapture"', "cargo] has --, and what follows is not handed on", "take it out"),
    ],
)
def test_what_cannot_be_followed_is_told_with_its_place(text: str, complaint: str, fix: str) -> None:
    first, second = told(text).splitlines()
    assert first.startswith(complaint) and second.startswith(f"    fix: {fix}")
