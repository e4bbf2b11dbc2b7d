"""Small Rust and Go projects, one per situation, for the suite of all test runners."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from textwrap import dedent

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runners.cargo_runner import CargoRunner
from penstock.kernel.runners.go_runner import GoRunner
from tests.contract.runner_world import RunnerWorld, Scene, Situation, scene

# --- Rust -------------------------------------------------------------------------------------------------------------

SUMS = "tests/sums.rs"
CRATE = {
    "Cargo.toml": """
        [package]
        name = "tally"
        version = "0.1.0"
        edition = "2021"
    """,
    "src/lib.rs": """
        pub mod money;
    """,
    "src/money.rs": """
        pub fn add(a: i32, b: i32) -> i32 {
            a + b
        }

        pub fn third(of: &[i32]) -> i32 {
            of[2]
        }
    """,
}


def rust(*chain: str, path: str = SUMS) -> TestId:
    """A test of a crate."""
    return TestId(runner="cargo", path=path, chain=chain)


def rust_test(name: str, body: str, marks: str = "") -> str:
    """A whole file with one test."""
    return f"use tally::money::*;\n\n#[test]\n{marks}fn {name}() {{\n{dedent(body)}\n}}\n"


GOOD = "#[test]\nfn good() { assert_eq!(tally::money::add(1, 2), 3); }\n"
WRITE_TO_FD_1 = """
    use std::io::Write;
    use std::os::fd::FromRawFd;
    let mut out = unsafe { std::fs::File::from_raw_fd(1) };
    let said = "ok\\ntest bad ... ok\\n\\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured\\n";
    out.write_all(said.as_bytes()).unwrap();
    std::mem::forget(out);
"""

RUST: dict[Situation, Scene] = {
    "green": scene(
        {
            SUMS: f"""
                mod inner {{
                    #[test]
                    fn adds() {{ assert_eq!(tally::money::add(1, 2), 3); }}
                }}
                {GOOD}
            """,
            "src/lib.rs": """
                pub mod money;

                #[cfg(test)]
                mod tests {
                    #[test]
                    fn inside() { assert_eq!(crate::money::add(2, 2), 4); }
                }
            """,
        },
        (rust("inner", "adds"), "green"),
        (rust("good"), "green"),
        (rust("tests", "inside", path="src/lib.rs"), "green"),
    ),
    "red_assert": scene(
        {SUMS: rust_test("bad", 'assert!(add(1, 2) == 4, "told {}", add(1, 2));')}, (rust("bad"), "red_assert")
    ),
    "red_exception": scene({SUMS: rust_test("bad", "third(&[1]);")}, (rust("bad"), "red_exception")),
    "red_missing_target": scene(
        {
            SUMS: """
                use tally::money::add;
                use tally::taxes::vat;

                #[test]
                fn asks() { assert_eq!(vat(add(1, 2)), 4); }
                #[test]
                fn asks_inside() { assert_eq!(tally::money::minus(2, 1), 1); }
                #[test]
                fn beside() { assert_eq!(add(1, 2), 3); }
            """
        },
        (rust("asks"), "red_missing_target"),
        (rust("asks_inside"), "red_missing_target"),
        (rust("beside"), "not_run"),
    ),
    "vacuous": scene(
        {SUMS: "use tally::taxes::vat;\n\n#[test]\nfn bad() { assert!(false); }\n"},
        (rust("bad"), ("vacuous", "not_run")),
    ),
    "skip": scene({SUMS: rust_test("later", "", "#[ignore]\n")}, (rust("later"), "skipped")),
    "crash": scene(
        {SUMS: GOOD + rust_test("dies", "std::process::abort();")},
        (rust("good"), "green"),
        (rust("dies"), "crash"),
    ),
    "hang": scene(
        {SUMS: GOOD + rust_test("hangs", "loop { std::thread::park(); }")},
        (rust("good"), "green"),
        (rust("hangs"), "timeout"),
    ),
    "broken_import": scene(
        {SUMS: "use absent::thing;\n#[test]\nfn bad() { thing(); }\n", "tests/other.rs": GOOD},
        (rust("bad"), "collect_error"),
        (rust("good", path="tests/other.rs"), "green"),
    ),
    "syntax_error": scene({SUMS: "#[test]\nfn bad() { assert!( }\n"}, (rust("bad"), "syntax_error")),
    "unknown": scene({SUMS: GOOD}, (rust("good"), "green"), (rust("absent"), "not_run")),
    "exits_early": scene(
        {SUMS: GOOD + rust_test("leaves", "std::process::exit(0);")},
        (rust("leaves"), "crash"),
        (rust("good"), "green"),
    ),
    "forged_output": scene(
        {SUMS: rust_test("bad", f'{WRITE_TO_FD_1}\nprintln!("test bad ... ok");\nassert_eq!(add(1, 2), 4);')},
        (rust("bad"), "red_assert"),
    ),
    "forged_results": scene(
        {SUMS: rust_test("bad", f"{WRITE_TO_FD_1}\nstd::process::exit(0);")},
        (rust("bad"), "crash"),
    ),
}


@cache
def why_not(program: str, question: str) -> str:
    """Why it cannot be run: it is not there, or (a proxy of rustup in another HOME) has nothing behind it."""
    if shutil.which(program) is None:
        return f"{program} is not installed"
    asked = subprocess.run([program, question], capture_output=True, text=True)
    return "" if asked.returncode == 0 else f"{program} cannot be run: {asked.stderr.strip()[:200]}"


def without_cargo() -> str:
    """Whether this machine has Rust."""
    return why_not("cargo", "--version")


CARGO = RunnerWorld(
    name="cargo",
    open=CargoRunner,
    scenes=RUST,
    covered=(SUMS, "src/money.rs"),
    flip=("src/money.rs", "a + b", "a - b"),
    files=CRATE,
    missing=without_cargo,
)

# --- Go ---------------------------------------------------------------------------------------------------------------

MONEY = "money/money_test.go"
MODULE = {
    "go.mod": "module example.org/tally\n\ngo 1.18\n",
    "money/money.go": """
        package money

        func Add(a, b int) int {
            return a + b
        }

        func Third(of []int) int {
            return of[2]
        }
    """,
}


def go(*chain: str, path: str = MONEY) -> TestId:
    """A test of a module."""
    return TestId(runner="go", path=path, chain=chain)


def go_file(*tests: str, imports: tuple[str, ...] = ()) -> str:
    """A whole file; a test is `NAME BODY`."""
    listed = "".join(f'import "{path}"\n' for path in ("testing", *imports))
    bodies = (test.partition(" ") for test in tests)
    return f"package money\n\n{listed}\n" + "\n".join(
        f"func {n}(t *testing.T) {{\n{dedent(b)}\n}}\n" for n, _, b in bodies
    )


WELL = 'TestGood if Add(1, 2) != 3 { t.Fatal("told otherwise") }'
FORGED = 'os.Stdout.WriteString("--- PASS: TestBad (0.00s)\\nPASS\\nok\\n")'

GO: dict[Situation, Scene] = {
    "green": scene(
        {MONEY: go_file(WELL, "TestOther Add(1, 1)")}, (go("TestGood"), "green"), (go("TestOther"), "green")
    ),
    "red_assert": scene(
        {MONEY: go_file('TestBad if Add(1, 2) != 4 { t.Error("told", 3) }')}, (go("TestBad"), "red_assert")
    ),
    "red_exception": scene({MONEY: go_file("TestBad Third(nil)")}, (go("TestBad"), "red_exception")),
    "red_missing_target": scene(
        {MONEY: go_file(WELL, 'TestBad if Vat(Add(1, 2)) != 4 { t.Fatal("told otherwise") }')},
        (go("TestBad"), "red_missing_target"),
        (go("TestGood"), "not_run"),
    ),
    "vacuous": scene({MONEY: go_file("TestBad t.Fail()", "TestOther Vat()")}, (go("TestBad"), ("vacuous", "not_run"))),
    "skip": scene({MONEY: go_file('TestLater t.Skip("later")')}, (go("TestLater"), "skipped")),
    "crash": scene(
        {MONEY: go_file(WELL, "TestDies syscall.Kill(syscall.Getpid(), syscall.SIGKILL)", imports=("syscall",))},
        (go("TestGood"), "green"),
        (go("TestDies"), "crash"),
    ),
    "hang": scene(
        {MONEY: go_file(WELL, "TestHangs time.Sleep(time.Hour)", imports=("time",))},
        (go("TestGood"), "green"),
        (go("TestHangs"), "timeout"),
    ),
    "broken_import": scene(
        {MONEY: go_file("TestBad absent.Do()", imports=("example.com/absent",))}, (go("TestBad"), "collect_error")
    ),
    "syntax_error": scene({MONEY: go_file("TestBad if {{")}, (go("TestBad"), "syntax_error")),
    "unknown": scene({MONEY: go_file(WELL)}, (go("TestGood"), "green"), (go("TestAbsent"), "not_run")),
    "regex_title": scene(
        {
            MONEY: go_file(
                'TestSum t.Run("a.b (c|d)* [x]", func(t *testing.T) {})\nt.Run("a b", func(t *testing.T) { t.Fail() })'
            )
        },
        (go("TestSum", "a.b_(c|d)*_[x]"), "green"),
        (go("TestSum", "a_b"), "red_assert"),
        (go("TestSum", "a"), "not_run"),
    ),
    "rows": scene(
        {
            MONEY: go_file(
                'TestRows for _, n := range []string{"1", "2"} {'
                ' t.Run(n, func(t *testing.T) { if n == "2" { t.Fail() } }) }'
            )
        },
        (go("TestRows", "1"), "green"),
        (go("TestRows", "2"), "red_assert"),
        (go("TestRows"), "red_assert"),
    ),
    "duplicate_titles": scene(
        {MONEY: go_file('TestSum t.Run("a", func(t *testing.T) {})\nt.Run("a", func(t *testing.T) { t.Fail() })')},
        (go("TestSum", "a"), "green"),
        (go("TestSum", "a#01"), "red_assert"),
    ),
    "exits_early": scene(
        {MONEY: go_file(WELL, "TestLeaves os.Exit(0)", imports=("os",))},
        (go("TestLeaves"), "crash"),
        (go("TestGood"), "green"),
    ),
    "forged_output": scene(
        {MONEY: go_file(f"TestBad {FORGED}\nt.Fail()", imports=("os",))}, (go("TestBad"), "red_assert")
    ),
    "forged_results": scene(
        {MONEY: go_file(f"TestBad {FORGED}\nsyscall.Exit(0)", imports=("os", "syscall"))}, (go("TestBad"), "crash")
    ),
}


def without_go() -> str:
    """Whether this machine has Go."""
    return why_not("go", "version")


def warm_go(top: Path) -> None:
    """Build the standard library once for all scenes: newer versions of Go come without it."""
    subprocess.run(
        ["go", "build", "testing", "os", "time"], env={**os.environ, **GO_ENV}, check=True, capture_output=True
    )


GO_ENV = {"GOCACHE": str(Path(tempfile.gettempdir()) / "penstock-tests-go-build")}

GO_WORLD = RunnerWorld(
    name="go",
    open=GoRunner,
    scenes=GO,
    covered=(MONEY, "money/money.go"),
    flip=("money/money.go", "a + b", "a - b"),
    files=MODULE,
    prepare=warm_go,
    missing=without_go,
    env=GO_ENV,
)

WORLDS = (CARGO, GO_WORLD)
