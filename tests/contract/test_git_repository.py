"""What is found of a user's repository, and what is refused by name."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from penstock.adapters.git.repository import RepositoryFacts, inspect_repository, is_too_old
from penstock.core.policy import Landing
from penstock.ports import BadInput
from tests.contract.git_world import FILES, commit, git, make_repository, write


def inspect(path: Path, target: str = "") -> RepositoryFacts:
    return asyncio.run(inspect_repository(path, Landing(target=target)))


def refusal(path: Path, target: str = "") -> str:
    with pytest.raises(BadInput) as caught:
        inspect(path, target)
    assert all(problem.fix for problem in caught.value.problems)
    return str(caught.value)


def test_facts_of_an_ordinary_repository(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    write(top, {"src/shop.py": "changed", "new.txt": "untracked"})
    facts = inspect(top / "src")
    assert (facts.top, facts.git_dir) == (str(top), str(top / ".git"))
    assert (facts.branch, facts.target, facts.commit) == ("main", "main", git(top, "rev-parse", "main"))
    assert (facts.author_name, facts.author_email) == ("Ada", "ada@example.org")
    assert facts.is_dirty and facts.dirty_paths == 2


def test_a_clean_tree_is_not_dirty(tmp_path: Path) -> None:
    assert not inspect(make_repository(tmp_path / "shop")).is_dirty


def test_a_linked_worktree_is_found_with_its_common_directory(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "worktree", "add", "-q", "-b", "side", str(tmp_path / "linked"))
    facts = inspect(tmp_path / "linked")
    assert (facts.top, facts.git_dir, facts.branch) == (str(tmp_path / "linked"), str(top / ".git"), "side")


def test_without_an_author_there_is_one_of_ours(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "config", "user.name", "")
    facts = inspect(top)
    assert facts.author_email == "penstock@localhost"


def test_a_detached_head_is_fine_where_a_target_is_named(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    git(top, "checkout", "-q", "--detach")
    assert "HEAD is detached" in refusal(top)
    assert inspect(top, target="main").target == "main"


def test_outside_of_a_repository(tmp_path: Path) -> None:
    assert "not a git repository" in refusal(tmp_path)


def test_a_bare_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--bare", "bare.git")
    assert "a bare repository" in refusal(tmp_path / "bare.git")


def test_a_repository_without_commits(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main")
    assert "no commits" in refusal(tmp_path)


def test_an_unknown_target_names_the_known_ones(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    said = refusal(top, target="trunk")
    assert "no branch `trunk`" in said and "main" in said and "[landing.target]" in said


def make_shallow(top: Path) -> Path:
    commit(top, {"a": "b"})
    git(top.parent, "clone", "-q", "--depth=1", f"file://{top}", "shallow")
    return top.parent / "shallow"


def make_partial(top: Path) -> Path:
    git(top, "config", "uploadpack.allowFilter", "true")
    git(top.parent, "clone", "-q", "--filter=blob:none", f"file://{top}", "partial")
    return top.parent / "partial"


def make_sparse(top: Path) -> Path:
    git(top, "sparse-checkout", "set", "src")
    return top


def add_submodule(top: Path) -> Path:
    other = make_repository(top.parent / "other")
    git(top, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(other), "vendor/other")
    commit(top, {})
    return top


def add_bare_gitlink(top: Path) -> Path:
    git(top, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},vendor/linked")
    git(top, "commit", "-qm", "link")
    return top


def use_lfs(top: Path) -> Path:
    commit(top, {"assets/.gitattributes": "*.bin filter=lfs diff=lfs merge=lfs -text\n"})
    return top


def take_the_name(top: Path) -> Path:
    git(top, "branch", "penstock")
    return top


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_shallow, "shallow clone"),
        (make_partial, "partial clone"),
        (make_sparse, "sparse checkout"),
        (add_submodule, "submodules are not supported: vendor/other"),
        (add_bare_gitlink, "submodules are not supported: vendor/linked"),
        (use_lfs, "Git LFS is not supported: assets/.gitattributes"),
        (take_the_name, "a branch called `penstock`"),
    ],
)
def test_what_is_not_supported_is_named(tmp_path: Path, make: Callable[[Path], Path], said: str) -> None:
    top = make_repository(tmp_path / "shop")
    inspect(top)
    assert said in refusal(make(top))


def test_sha256_object_ids_are_named(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "-b", "main", "--object-format=sha256")
    commit(tmp_path, FILES)
    assert "not SHA-1" in refusal(tmp_path)


def test_every_problem_at_once(tmp_path: Path) -> None:
    top = take_the_name(add_bare_gitlink(use_lfs(make_repository(tmp_path / "shop"))))
    said = refusal(top, target="main")
    assert all(part in said for part in ("submodules", "LFS", "called `penstock`"))


def test_a_similar_attribute_is_not_lfs(tmp_path: Path) -> None:
    top = make_repository(tmp_path / "shop")
    commit(top, {".gitattributes": "*.bin filter=lfsomething\n", "docs.md": "filter=lfs"})
    assert inspect(top).top == str(top)


@pytest.mark.parametrize(
    ("version", "is_old"),
    [
        ("git version 2.37.7", True),
        ("git version 2.38.0", False),
        ("git version 2.39.5 (Apple Git-154)", False),
        ("git version 3.0.0", False),
        ("git version 1.99.9", True),
        ("no git at all", True),
    ],
)
def test_a_git_that_is_too_old(version: str, is_old: bool) -> None:
    assert is_too_old(version) is is_old
