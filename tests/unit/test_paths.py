"""What kind of file a path is, and which tests a ticket may change."""

import pytest

from penstock.core.paths import classify, control_digest, excuses, matches
from penstock.core.policy import FileClasses

FILES = FileClasses()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("src/shop.py", "production"),
        ("latest/shop.py", "production"),
        ("tests/data/prices.json", "test"),
        ("src/shop/test_price.py", "test"),
        ("web/price.spec.ts", "test"),
        ("tests/conftest.py", "control"),
        ("conftest.py", "control"),
        ("packages/one/pyproject.toml", "control"),
        ("penstock.toml", "protected"),
        ("deep/penstock.toml", "protected"),
        ("tickets/01.md", "protected"),
        ("tests/uv.lock", "protected"),
        (".github/workflows/test_all.py", "protected"),
        ("caf\udce9/test_price.py", "test"),
    ],
)
def test_protected_before_control_before_test(path: str, kind: str) -> None:
    assert classify(FILES, path) == kind


@pytest.mark.parametrize(
    ("globs", "path", "does"),
    [
        ((), "src/a.py", False),
        (("src",), "src/deep/a.py", True),
        (("src/**",), "src/deep/a.py", True),
        (("src/*",), "src/deep/a.py", True),
        (("src/a.py",), "other/src/a.py", False),
        (("*.py",), "src/deep/a.py", True),
        (("src", "!src/kept.py"), "src/kept.py", False),
        (("/",), "src/a.py", False),
    ],
)
def test_globs_mean_what_they_mean_to_git(globs: tuple[str, ...], path: str, does: bool) -> None:
    assert matches(globs, path) is does


def test_the_control_digest_sees_control_files_alone() -> None:
    tree = {"src/a.py": "1", "tests/conftest.py": "2", "pyproject.toml": "3"}
    digest = control_digest(FILES, tree)
    assert digest == control_digest(FILES, dict(reversed(tree.items())))
    assert digest == control_digest(FILES, tree | {"src/a.py": "9"})
    assert digest != control_digest(FILES, tree | {"pyproject.toml": "9"})
    assert digest != control_digest(FILES, tree | {"deep/conftest.py": "3"})


TEST = "tests/test_a.py"


@pytest.mark.parametrize(
    ("entry", "test", "does"),
    [
        (f"{TEST}::test_b", f"{TEST}::test_b", True),
        (f"{TEST}::test_b", f"{TEST}::test_b[one]", True),
        (f"{TEST}::TestX", f"{TEST}::TestX::test_b", True),
        (f"{TEST}::test_b[one]", f"{TEST}::test_b", True),
        (f"{TEST}::test_b", f"{TEST}::test_bc", False),
        (f"{TEST}::test_b", f"{TEST}::test_c", False),
        ("tests/**", f"{TEST}::test_b", True),
        ("tests/test_other.py", f"{TEST}::test_b", False),
        (f"{TEST}::test_b", "", True),
        ("tests/test_other.py::test_b", "", False),
    ],
)
def test_a_ticket_excuses_what_it_names(entry: str, test: str, does: bool) -> None:
    assert excuses((entry,), TEST, test) is does
    assert not excuses((), TEST, test)
