"""Small Rust and Go projects, one per situation, for the suite of all test runners."""

from __future__ import annotations

import shutil
from textwrap import dedent

from penstock.core.redgreen.test_id import TestId
from penstock.kernel.runners.cargo_runner import CargoRunner
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


def without_cargo() -> str:
    """Whether this machine has Rust."""
    return "" if shutil.which("cargo") else "cargo is not installed"


CARGO = RunnerWorld(
    name="cargo",
    open=CargoRunner,
    scenes=RUST,
    covered=(SUMS, "src/money.rs"),
    flip=("src/money.rs", "a + b", "a - b"),
    files=CRATE,
    missing=without_cargo,
)

WORLDS = (CARGO,)
