"""What compilers say of tests that ask for what does not exist yet, and what they say that must not count as that."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runner import Collection, RunOrder, RunReport
from penstock.kernel.runners.cargo_runner import CargoRunner
from penstock.kernel.runners.go_runner import GoRunner
from tests.contract.runner_world import launcher_for, write
from tests.contract.runner_worlds_compiled import GO_ENV, go, rust, warm_go, why_not

needs_cargo = pytest.mark.skipif(bool(why_not("cargo", "--version")), reason=why_not("cargo", "--version"))
needs_go = pytest.mark.skipif(bool(why_not("go", "version")), reason=why_not("go", "version"))

MISSING = "red_missing_target"
LIB, MONEY, NEW = "src/lib.rs", "src/money.rs", "src/taxes.rs"

CRATE = {
    "Cargo.toml": '[package]\nname = "tally-up"\nversion = "0.1.0"\nedition = "2021"\n',
    LIB: """
        pub mod money;
        pub struct Purse { pub coins: i32, hidden: i32 }
        impl Purse { pub fn of(coins: i32) -> Self { Purse { coins, hidden: coins } } }
        pub fn weight_of_all() {}
        pub trait Weighs { fn weight(&self) -> i32; }
        #[cfg(test)]
        mod tests {
            use super::*;
            #[test]
            fn asks() { assert_eq!(count(&Purse::of(1)), 1); }
            #[test]
            fn beside() { assert_eq!(Purse::of(1).hidden, 1); }
        }
    """,
    MONEY: """
        pub fn add(a: i32, b: i32) -> i32 { a + b }
        fn private() {}
    """,
}

Row = tuple[str, str, tuple[str, ...]]
"""Body of a test, its verdict, and the phantoms it touches."""

NAMES: dict[str, Row] = {
    "function": ("assert_eq!(tally_up::money::minus(2, 1), 1);", MISSING, (MONEY,)),
    "imported_function": ("assert_eq!(mean(&[1]), 1);", MISSING, (MONEY,)),
    "module": ("assert_eq!(vat(1), 2);", MISSING, (NEW, LIB)),
    "module_as_a_whole": ("assert_eq!(fees::all(), 2);", MISSING, ("src/fees.rs", LIB)),
    "renamed_module": ("assert_eq!(due(1), 2);", MISSING, (NEW, LIB)),
    "by_a_function_beside": ("helped();", MISSING, (MONEY,)),
    "of_an_imported_module": ("assert_eq!(money::half(2), 1);", MISSING, (MONEY,)),
    "kind": ("let _: tally_up::Wallet;", MISSING, (LIB,)),
    "private": ("tally_up::money::private();", MISSING, (MONEY,)),
    "of_nobody": ("assert_eq!(typo(1), 1);", "collect_error", ()),
    "of_another": ("std::mem::absent();", "collect_error", ()),
    "beside": ("assert_eq!(1, 1);", "not_run", ()),
}
NAMES_FILE = """
use tally_up::money::{self, mean};
use tally_up::taxes::{vat, rate as due};
use tally_up::fees;

fn helped() { assert_eq!(money::third(3), 1); }
"""
MEMBERS: dict[str, Row] = {
    "method": ("assert!(Purse::of(1).is_full());", MISSING, (LIB,)),
    "associated": ("Purse::empty();", MISSING, (LIB,)),
    "field": ("assert_eq!(Purse::of(1).owner, 1);", MISSING, (LIB,)),
    "hidden_field": ("assert_eq!(Purse::of(1).hidden, 1);", MISSING, (LIB,)),
    "one_more_argument": ("assert_eq!(tally_up::money::add(1, 2, 3), 6);", MISSING, (MONEY,)),
    "other_kind_of_argument": ('assert_eq!(tally_up::money::add("1", 2), 3);', MISSING, (MONEY,)),
    "implementation": ("fn heavy(it: impl Weighs) -> i32 { it.weight() }\nheavy(Purse::of(1));", MISSING, (LIB,)),
    "of_another": ('assert!("a".is_absent());', "collect_error", ()),
    "member_of_another": ("1i32.weight_of_all();", "collect_error", ()),
    "own_mistake": ("let x: i32 = String::new();", "collect_error", ()),
    "beside": ("assert_eq!(Purse::of(1).coins, 1);", "not_run", ()),
}


def rust_file(head: str, rows: Mapping[str, Row]) -> str:
    return head + "".join(f"#[test]\nfn {name}() {{\n{body}\n}}\n" for name, (body, _, _) in rows.items())


def run(runner: CargoRunner | GoRunner, order: RunOrder) -> RunReport:
    async def whole() -> RunReport:
        try:
            return await runner.run(order)
        finally:
            await runner.close()

    return asyncio.run(whole())


def told(report: RunReport) -> dict[TestId, tuple[str, tuple[str, ...]]]:
    return {each.test: (each.verdict, each.phantoms) for each in report.outcomes}


@needs_cargo
def test_what_rust_misses(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path)
    files = {
        **CRATE,
        "tests/names.rs": rust_file(NAMES_FILE, NAMES),
        "tests/members.rs": rust_file("use tally_up::*;\n", MEMBERS),
    }
    for path, text in files.items():
        write(launcher.top / path, text)
    expected = {
        **{rust(name, path="tests/names.rs"): row[1:] for name, row in NAMES.items()},
        **{rust(name, path="tests/members.rs"): row[1:] for name, row in MEMBERS.items()},
        rust("tests", "asks", path=LIB): (MISSING, (LIB,)),
        rust("tests", "beside", path=LIB): ("not_run", ()),
    }
    report = run(CargoRunner(launcher), RunOrder(tests=tuple(expected)))
    assert told(report) == expected


@needs_cargo
def test_a_crate_that_does_not_compile_breaks_the_tests_that_need_it(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path)
    for path, text in {
        **CRATE,
        MONEY: "pub fn add(",
        "tests/a.rs": "#[test]\nfn a() { tally_up::money::add(1, 2); }\n",
    }.items():
        write(launcher.top / path, text)
    [outcome] = run(CargoRunner(launcher), RunOrder(tests=(rust("a", path="tests/a.rs"),))).outcomes
    assert (outcome.verdict, outcome.phantoms) == ("syntax_error", ())
    assert "delimiter" in outcome.message


@needs_cargo
def test_a_workspace_below_the_root_and_a_module_shared_by_tests(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path)
    package = '[package]\nname = "{}"\nversion = "0.1.0"\nedition = "2021"\n'
    files = {
        "rust/Cargo.toml": '[workspace]\nmembers = ["core", "app"]\nresolver = "2"\n',
        "rust/core/Cargo.toml": package.format("core-sums"),
        "rust/core/src/lib.rs": "pub mod deep;\n",
        "rust/core/src/deep/mod.rs": "pub fn one() -> i32 { 1 }\n#[cfg(test)]\nmod tests {\n#[test]\n"
        "fn inner() { assert_eq!(super::one(), 1); }\n}\n",
        "rust/app/Cargo.toml": package.format("app") + '[dependencies]\ncore-sums = { path = "../core" }\n',
        "rust/app/src/lib.rs": "pub fn two() -> i32 { core_sums::deep::one() + 1 }\n",
        "rust/app/tests/whole.rs": "mod shared;\n#[test]\nfn two() { assert_eq!(app::two(), shared::TWO); }\n",
        "rust/app/tests/shared/mod.rs": "pub const TWO: i32 = 2;\n#[test]\nfn fails() { assert_eq!(TWO, 3); }\n",
    }
    for path, text in files.items():
        write(launcher.top / path, text)
    report = run(CargoRunner(launcher, directory="rust"), RunOrder())
    assert {each.test: each.verdict for each in report.outcomes} == {
        rust("deep", "tests", "inner", path="rust/core/src/deep/mod.rs"): "green",
        rust("two", path="rust/app/tests/whole.rs"): "green",
        rust("shared", "fails", path="rust/app/tests/shared/mod.rs"): "red_assert",
    }
    by_name = {each.test.chain[-1]: each for each in report.outcomes}
    assert set(by_name["two"].imported) == {
        *("rust/app/src/lib.rs", "rust/core/src/lib.rs", "rust/core/src/deep/mod.rs", "rust/app/tests/shared/mod.rs")
    }
    assert by_name["fails"].where == "rust/app/tests/shared/mod.rs:3"


# --- Go ---------------------------------------------------------------------------------------------------------------

COINS, BANK = "money/coins.go", "bank/bank.go"
MODULE = {
    "go.mod": "module example.org/tally\n\ngo 1.18\n",
    COINS: "package money\n\ntype Purse struct{ Coins int }\n\nfunc Add(a, b int) int { return a + b }\n",
    BANK: "package bank\n\ntype Weighs interface{ Weight() int }\n\nfunc Open() int { return 1 }\n",
}
INSIDE = "money/purse_test.go"
TWIN = "money/purse.go"
GO_ROWS: dict[str, Row] = {
    "TestFunction": ("Minus(2, 1)", MISSING, (COINS, TWIN)),
    "TestKind": ("var w Wallet; _ = w", MISSING, (COINS, TWIN)),
    "TestMethod": ("Purse{}.Empty()", MISSING, (COINS,)),
    "TestField": ("_ = Purse{Owner: 1}", MISSING, (COINS,)),
    "TestOneMoreArgument": ("Add(1, 2, 3)", MISSING, (COINS,)),
    "TestOtherArgument": ('Add("1", 2)', MISSING, (COINS,)),
    "TestOfAnotherPackage": ("bank.Close()", MISSING, (BANK,)),
    "TestImplements": ("var w bank.Weighs = Purse{}; _ = w", MISSING, (BANK,)),
    "TestByAFunctionBeside": ("helped()", MISSING, (COINS, TWIN)),
    "TestOfAnother": ("strings.Absent()", "collect_error", ()),
    "TestOwnMistake": ("x := 1", "collect_error", ()),
    "TestBeside": ("Add(1, 2)", "not_run", ()),
}


@needs_go
def test_what_go_misses(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path, GO_ENV)
    warm_go(launcher.top)
    head = (
        'package money\n\nimport (\n"testing"\n"strings"\n"example.org/tally/bank"\n)\n\nfunc helped() { Third(3) }\n'
    )
    tests = "".join(f"func {name}(t *testing.T) {{\n{body}\n}}\n" for name, (body, _, _) in GO_ROWS.items())
    for path, text in {**MODULE, INSIDE: head + tests}.items():
        write(launcher.top / path, text)
    expected = {go(name, path=INSIDE): row[1:] for name, row in GO_ROWS.items()}
    assert told(run(GoRunner(launcher), RunOrder(tests=tuple(expected)))) == expected


@needs_go
@pytest.mark.parametrize(
    ("imported", "verdict", "phantoms"),
    [("example.org/tally/taxes", MISSING, ("taxes/taxes.go",)), ("example.com/absent", "collect_error", ())],
)
def test_a_package_that_does_not_exist_yet(
    imported: str, verdict: str, phantoms: tuple[str, ...], tmp_path: Path
) -> None:
    launcher = launcher_for(tmp_path, GO_ENV)
    warm_go(launcher.top)
    name = imported.rpartition("/")[2]
    text = f'package money\n\nimport "testing"\nimport "{imported}"\n\nfunc TestA(t *testing.T) {{ {name}.Vat() }}\n'
    for path, source in {**MODULE, INSIDE: text}.items():
        write(launcher.top / path, source)
    report = run(GoRunner(launcher), RunOrder(tests=(go("TestA", path=INSIDE),)))
    assert told(report) == {go("TestA", path=INSIDE): (verdict, phantoms)}


@needs_go
def test_a_broken_package_is_told_and_leaves_the_others(tmp_path: Path) -> None:
    launcher = launcher_for(tmp_path, GO_ENV)
    warm_go(launcher.top)
    good = 'package bank_test\n\nimport (\n"testing"\n"example.org/tally/bank"\n)\n\n'
    good += "func TestOpen(t *testing.T) { bank.Open() }\n"
    broken = 'package money\n\nimport "testing"\n\nfunc TestA(t *testing.T) { Vat() }\n'
    for path, source in {**MODULE, INSIDE: broken, "bank/bank_test.go": good}.items():
        write(launcher.top / path, source)

    async def both() -> tuple[Collection, RunReport]:
        runner = GoRunner(launcher)
        try:
            return await runner.collect(), await runner.run(RunOrder())
        finally:
            await runner.close()

    collection, report = asyncio.run(both())
    assert [each.test for each in collection.tests] == [go("TestOpen", path="bank/bank_test.go")]
    assert collection.tests[0].line == 8
    assert collection.broken == {INSIDE: "undefined: Vat"}
    assert {each.test.chain: each.verdict for each in report.outcomes} == {("TestOpen",): "green", ("TestA",): MISSING}
