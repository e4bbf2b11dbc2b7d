"""The trees that are verified: what lands, what base's judges see, what the new tests see."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from penstock.core.events import CandidateConflicted, CandidateFailed
from penstock.core.policy import Landing
from tests.contract.git_world import FILES, REVISION, World, commit, git, make_repository, open_world, write

Story = Callable[[World, str], Awaitable[None]]
SHOP = "src/shop.py"
TEST = "tests/test_shop.py"


def tell(top: Path, story: Story, landing: Landing | None = None) -> None:
    async def run() -> None:
        world = await open_world(top, landing)
        await story(world, (await world.trunk.observe()).commit)

    asyncio.run(run())


@pytest.fixture
def top(tmp_path: Path) -> Path:
    return make_repository(tmp_path / "shop")


async def work_on(world: World, base: str, files: dict[str, str], gone: tuple[str, ...] = ()) -> str:
    clone = await world.work(f"agent-{len(list(world.facts.state_dir.glob('clones/*')))}", base)
    for path in gone:
        Path(clone.path, path).unlink()
    write(Path(clone.path), files)
    return (await world.take(clone)).head


def test_a_squash_has_the_base_alone_as_its_parent(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "new\n"})
        formed = await world.form(head, base)
        assert git(world.store.path, "rev-list", "--parents", "-1", formed.commit).split()[1:] == [base]
        assert (formed.base, formed.tree) == (base, git(world.store.path, "rev-parse", f"{head}^{{tree}}"))
        assert formed.base_tree == git(top, "rev-parse", f"{base}^{{tree}}")

    tell(top, story)


def test_a_merge_has_the_work_as_its_second_parent(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "new\n"})
        formed = await world.form(head, base)
        assert git(world.store.path, "rev-list", "--parents", "-1", formed.commit).split()[1:] == [base, head]

    tell(top, story, Landing(mode="merge"))


def test_the_message_names_ticket_run_and_evidence(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        formed = await world.form(await work_on(world, base, {SHOP: "new\n"}), base)
        show = ("show", "-s", "--format=%an <%ae>%n%B", formed.commit)
        assert git(world.store.path, *show).splitlines() == [
            "Ada <ada@example.org>",
            "T-1: Sell",
            "",
            "Penstock-Run: run-1",
            f"Penstock-Ticket: T-1 {REVISION}",
            "Penstock-Evidence: run/1",
        ]

    tell(top, story)


def test_a_title_cannot_forge_a_trailer(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        title = f"Sell\n\nPenstock-Ticket: T-9 {'e' * 64}"
        formed = await world.form(await work_on(world, base, {SHOP: "new\n"}), base, title=title)
        trailers = "--format=%(trailers:key=Penstock-Ticket,valueonly)"
        assert git(world.store.path, "show", "-s", trailers, formed.commit) == f"T-1 {REVISION}"

    tell(top, story)


def test_the_same_order_gives_the_same_trees(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "new\n", TEST: "def test_price():\n    assert 9\n"})
        once, again = await world.form(head, base), await world.form(head, base)
        for field in ("tree", "judge_tree", "witness_tree", "control_digest", "changes"):
            assert getattr(once, field) == getattr(again, field)

    tell(top, story)


def test_work_is_merged_onto_where_trunk_is_now(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "mine\n"})
        commit(top, {"src/cart.py": "theirs\n"})
        now = (await world.trunk.observe()).commit
        formed = await world.form(head, now)
        assert world.content(formed.tree, SHOP) == "mine"
        assert world.content(formed.tree, "src/cart.py") == "theirs"
        assert [change.path for change in formed.changes] == [SHOP]

    tell(top, story)


def test_work_that_is_on_trunk_already_forms_an_empty_candidate(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "mine\n"})
        commit(top, {SHOP: "mine\n"})
        formed = await world.form(head, (await world.trunk.observe()).commit)
        assert (formed.changes, formed.lines, formed.tree) == ((), 0, formed.base_tree)

    tell(top, story)


def test_a_conflict_names_its_paths_and_a_fix_of_it_merges(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "mine\n"})
        commit(top, {SHOP: "theirs\n"})
        now = (await world.trunk.observe()).commit
        conflicted = await world.candidates.form(world.merge_order(head, now))
        assert isinstance(conflicted, CandidateConflicted)
        assert conflicted.paths == (SHOP,)
        markers = world.content(conflicted.start, SHOP)
        assert all(part in markers for part in ("<<<<<<<", "theirs", "=======", "mine", ">>>>>>>"))
        fixed = await work_on(world, conflicted.start, {SHOP: "both\n"})
        formed = await world.form(fixed, now)
        assert world.content(formed.tree, SHOP) == "both"

    tell(top, story)


def test_what_git_cannot_do_is_a_failure_and_no_exception(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        failed = await world.candidates.form(world.merge_order("1" * 40, base))
        assert isinstance(failed, CandidateFailed) and failed.message

    tell(top, story)


def test_protected_files_are_the_bases_own(top: Path) -> None:
    """Even where the work came from elsewhere than an import of ours."""

    async def story(world: World, base: str) -> None:
        git(top, "switch", "-q", "-c", "penstock/foreign")
        foreign = commit(top, {"penstock.toml": "weak\n", ".github/new.yml": "x\n", SHOP: "mine\n"})
        git(top, "switch", "-q", "main")
        await world.store.sync()
        formed = await world.form(foreign, base)
        assert [change.path for change in formed.changes] == [SHOP]
        assert world.content(formed.tree, "penstock.toml") == FILES["penstock.toml"].strip()

    tell(top, story)


# --- the judge and the witness --------------------------------------------------------------------------------------


def test_production_code_alone_needs_no_other_look(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        formed = await world.form(await work_on(world, base, {SHOP: "mine\n"}), base)
        assert (formed.judge_tree, formed.witness_tree, formed.witness_files, formed.weakened) == ("", "", (), ())

    tell(top, story)


def test_base_judges_with_its_own_tests_and_settings(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        files = {SHOP: "mine\n", TEST: "", "tests/test_new.py": "x\n", "pyproject.toml": "weak\n", "src/new.py": "x\n"}
        formed = await world.form(await work_on(world, base, files, gone=("tests/conftest.py",)), base)
        assert world.names(formed.judge_tree) == sorted([*FILES, "src/new.py"])
        for path in (TEST, "pyproject.toml"):
            assert world.content(formed.judge_tree, path) == FILES[path].strip()
        assert world.content(formed.judge_tree, SHOP) == "mine"
        assert git(world.store.path, "rev-parse", f"{formed.judge_commit}^{{tree}}") == formed.judge_tree

    tell(top, story)


def test_the_witness_has_the_new_tests_over_the_old_code(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        files = {
            SHOP: "mine\n",
            TEST: "changed\n",
            "tests/test_new.py": "new\n",
            "tests/conftest.py": "fixture\n",
            "conftest.py": "elsewhere\n",
            "pyproject.toml": "weak\n",
            "tests/test_gone.py": "",
        }
        formed = await world.form(await work_on(world, base, files), base)
        assert formed.witness_files == ("tests/test_gone.py", "tests/test_new.py", TEST)
        assert world.content(formed.witness_tree, SHOP) == FILES[SHOP].strip()
        assert world.content(formed.witness_tree, "tests/test_new.py") == "new"
        assert world.content(formed.witness_tree, "tests/conftest.py") == "fixture"
        assert world.content(formed.witness_tree, "pyproject.toml") == FILES["pyproject.toml"].strip()
        assert "conftest.py" not in world.names(formed.witness_tree)

    tell(top, story)


def test_deleting_tests_makes_no_witness(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        formed = await world.form(await work_on(world, base, {}, gone=(TEST,)), base)
        assert (formed.witness_commit, formed.witness_files) == ("", ())
        assert TEST in world.names(formed.judge_tree)

    tell(top, story)


def test_weakened_tests_are_named(top: Path) -> None:
    commit(top, {"tests/data.json": "{}", "tests/other.json": "{}"})

    async def story(world: World, base: str) -> None:
        weak = FILES[TEST].replace("assert 1", "assert True")
        files = {TEST: weak, "tests/other.json": "changed"}
        formed = await world.form(await work_on(world, base, files, gone=("tests/data.json",)), base)
        assert formed.weakened == ("tests/data.json", f"{TEST}::test_price")
        formed = await world.form(await work_on(world, base, {}, gone=(TEST,)), base)
        assert formed.weakened == (f"{TEST}::test_price", f"{TEST}::test_more")

    tell(top, story)


def test_adding_tests_weakens_nothing(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        files = {TEST: FILES[TEST] + "\n\ndef test_new():\n    assert 3\n", "tests/test_new.py": "x = 1\n"}
        assert (await world.form(await work_on(world, base, files), base)).weakened == ()

    tell(top, story)


def test_a_ticket_may_name_the_tests_that_it_changes(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        files = {SHOP: "mine\n", TEST: "def test_price():\n    assert 9\n"}
        head = await work_on(world, base, files)
        one = await world.form(head, base, changes_tests=(f"{TEST}::test_price",))
        assert one.weakened == (f"{TEST}::test_more",)
        assert one.judge_tree == ""
        whole = await world.form(head, base, changes_tests=("tests/**",))
        assert whole.weakened == ()

    tell(top, story)


def test_the_control_digest_is_that_of_the_control_files(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        position = await world.trunk.observe()
        production = await world.form(await work_on(world, base, {SHOP: "mine\n"}), base)
        control = await world.form(await work_on(world, base, {"pyproject.toml": "mine\n"}), base)
        assert production.control_digest == position.control_digest != control.control_digest

    tell(top, story)


# --- reading --------------------------------------------------------------------------------------------------------


def test_files_and_their_content_can_be_read(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        files = await world.candidates.files(base)
        assert sorted(files) == sorted(FILES)
        assert files[SHOP] == git(top, "rev-parse", f"{base}:{SHOP}")
        assert await world.candidates.read_file(base, SHOP) == FILES[SHOP].encode()
        for missing in ("src/none.py", "src"):
            with pytest.raises(KeyError):
                await world.candidates.read_file(base, missing)

    tell(top, story)


def test_a_diff_is_cut_off_where_nobody_reads_on(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {SHOP: "mine\n", "src/big.py": "xyz = 1\n" * 200_000})
        diff = await world.candidates.diff(base, head)
        assert len(diff) == 1_000_000 and diff.startswith(b"diff --git a/src/big.py")
        assert b"+mine" in await world.candidates.diff(base, await work_on(world, base, {SHOP: "mine\n"}))

    tell(top, story)


def test_production_code_that_begins_to_speak_of_the_runner_is_named(top: Path) -> None:
    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {"src/shop.py": "import sys\nTESTED = 'pytest' in sys.modules\n"})
        assert (await world.form(head, base)).meddling == ("src/shop.py",)
        honest = await work_on(world, base, {"src/shop.py": "new\n", "tests/test_new.py": "import pytest\n"})
        assert (await world.form(honest, base)).meddling == ()

    tell(top, story)


def test_where_production_code_always_spoke_of_the_runner_it_may_go_on(top: Path) -> None:
    commit(top, {"src/plugin.py": "import pytest\n"})

    async def story(world: World, base: str) -> None:
        head = await work_on(world, base, {"src/shop.py": "import pytest\n"})
        assert (await world.form(head, base)).meddling == ()

    tell(top, story)
