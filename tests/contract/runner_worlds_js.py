"""vitest (cold and warm), jest and node:test.

The installed packages are those that `tools/javascript-packages` puts below the environment.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from penstock.core.redgreen.test_id import RunnerName, TestId
from penstock.core.redgreen.verdicts import RunVerdict
from penstock.kernel.runners.jest_runner import JestRunner
from penstock.kernel.runners.node_runner import NodeRunner
from penstock.kernel.runners.vitest_runner import VitestRunner, WarmVitestRunner
from tests.contract.runner_world import RunnerWorld, Scene, Situation, scene

INSTALLED = Path(sys.prefix) / "javascript" / "node_modules"


@dataclass(frozen=True)
class Dialect:
    """How a runner's tests are written. `head`: what every test file begins with."""

    runner: RunnerName
    test_file: str
    source_file: str
    head: str
    bring: Callable[[str, str], str]
    """The line that imports names from a module."""
    exports: Callable[[str], str]
    """A module with these functions: name -> body."""
    equal: str
    """`{0}` and `{1}` must be equal."""
    throws: bool = True

    def id(self, *chain: str, path: str = "") -> TestId:
        return TestId(runner=self.runner, path=path or self.test_file, chain=chain)

    def tests(self, *lines: str, names: str = "tax", more: Mapping[str, str] = {}) -> dict[str, str]:
        """A project whose test file has these lines."""
        text = "\n".join([self.head, self.bring(names, self.source_file), *lines])
        return {self.source_file: self.exports(MONEY), self.test_file: text + "\n", **more}

    def same(self, one: str, other: str) -> str:
        return self.equal.format(one, other)


MONEY = """
function tax(amount) {
  if (amount < 0) throw new RangeError("negative")
  return amount * 7 / 100
}
"""


def esm_import(names: str, path: str) -> str:
    return f"import {{ {names} }} from './{path.rpartition('/')[2]}'"


def require(names: str, path: str) -> str:
    return f"const {{ {names} }} = require('./{path.rpartition('/')[2]}')"


VITEST = Dialect(
    "vitest",
    "src/money.test.ts",
    "src/money.ts",
    "import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'",
    lambda names, path: f"import {{ {names} }} from './{path.rpartition('/')[2].removesuffix('.ts')}'",
    lambda text: text.replace("function tax(amount)", "export function tax(amount: number): number").lstrip(),
    "expect({0}).toBe({1})",
)
JEST = Dialect(
    "jest",
    "src/money.test.js",
    "src/money.js",
    "",
    require,
    lambda text: f"{text}\nmodule.exports = {{ tax }}\n",
    "expect({0}).toBe({1})",
)
NODE = Dialect(
    "node",
    "src/money.test.mjs",
    "src/money.mjs",
    "import { after as afterAll, afterEach, before as beforeAll, beforeEach, describe, test } from 'node:test'\n"
    "import assert from 'node:assert'",
    esm_import,
    lambda text: text.replace("function", "export function").lstrip(),
    "assert.equal({0}, {1})",
)
BROKEN: dict[RunnerName, tuple[RunVerdict, ...]] = {
    "vitest": ("red_missing_target",),
    "jest": ("red_missing_target",),
    "node": ("red_missing_target",),
}


def scenes_of(d: Dialect) -> dict[Situation, Scene]:
    """Every situation that all of them have."""
    works, fails = d.same("tax(100)", "7"), d.same("tax(100)", "8")
    other = d.test_file.replace("money", "other")
    absent = d.source_file.replace("money", "absent")
    return {
        "green": scene(
            d.tests(
                f"test('taxes', () => {{ {works} }})",
                f"describe('money', () => {{ test('taxes', () => {{ {works} }}) }})",
                more={other: f"{d.head}\ntest('other', () => {{}})\n"},
            ),
            (d.id("taxes"), "green"),
            (d.id("money", "taxes"), "green"),
            (d.id("other", path=other), "green"),
        ),
        "red_assert": scene(
            d.tests(
                f"test('one', () => {{ {fails} }})",
                f"test('two', async () => {{ await null; {fails} }})",
                "test('three', () => { require$('node:assert').ok(0) })".replace(
                    "require$", "require" if d.runner == "jest" else "process.getBuiltinModule"
                ),
            ),
            (d.id("one"), "red_assert"),
            (d.id("two"), "red_assert"),
            (d.id("three"), "red_assert"),
        ),
        "red_exception": scene(
            d.tests(
                f"test('one', () => {{ {d.same('tax(-1)', '0')} }})",
                "test('two', () => { undefined.x })",
                "test('three', () => { throw 'text' })",
            ),
            (d.id("one"), "red_exception"),
            (d.id("two"), "red_exception"),
            (d.id("three"), "red_exception"),
        ),
        "red_missing_target": scene(
            {
                **d.tests(f"test('one', () => {{ {d.same('refund(3)', '3')} }})", names="tax, refund"),
                other: "\n".join(
                    [d.head, d.bring("rate", absent), f"test('two', () => {{ {d.same('rate(3)', '3')} }})\n"]
                ),
            },
            (d.id("one"), "red_missing_target"),
            (d.id("two", path=other), "red_missing_target"),
            (d.id("no such title", path=other), "not_run"),
        ),
        "vacuous": scene(
            {
                other: f"{d.head}\n{d.bring('rate', absent)}\n"
                "test('one', () => { throw new Error('rate') })\ntest('two', () => { rate() })\n"
            },
            (d.id("one", path=other), "vacuous"),
            (d.id("two", path=other), "red_missing_target"),
        ),
        "skip": scene(
            d.tests("test.skip('one', () => { throw 1 })", "test.todo('two')"),
            (d.id("one"), "skipped"),
            (d.id("two"), "skipped"),
        ),
        "crash": scene(
            d.tests("test('before', () => {})", "test('one', () => { process.kill(process.pid, 'SIGKILL') })"),
            (d.id("one"), "crash"),
        ),
        "hang": scene(
            d.tests("test('before', () => {})", "test('one', () => { for (;;); })", "test('two', () => {})"),
            (d.id("before"), ("green", "timeout")),
            (d.id("one"), "timeout"),
            (d.id("two"), "timeout"),
        ),
        "broken_import": scene(
            d.tests("test('one', () => {})", more={})
            | {other: f"{d.head}\nnull.x\ntest('two', () => {{}})\n"}
            | {"src/package.test.mjs" if d.runner == "node" else other.replace("other", "third"): third(d)},
            (d.id("one"), "green"),
            (d.id("two", path=other), "collect_error"),
            (
                d.id("x", path="src/package.test.mjs" if d.runner == "node" else other.replace("other", "third")),
                "collect_error",
            ),
        ),
        "syntax_error": scene(
            d.tests("test('one', () => { let x = ; })"),
            (d.id("one"), "syntax_error"),
        ),
        "setup_error": scene(
            d.tests(
                "describe('a', () => { beforeEach(() => { throw new Error('x') }); test('one', () => {}) })",
                "describe('b', () => {\n  beforeAll(() => { throw new Error('x') })\n  test('one', () => {}) })",
            ),
            (d.id("a", "one"), "setup_error"),
            (d.id("b", "one"), "setup_error"),
        ),
        "teardown_error": scene(
            d.tests(
                "describe('a', () => { afterEach(() => { throw new Error('x') }); test('one', () => {}) })",
                "describe('b', () => {\n  afterAll(() => { throw new Error('x') })\n  test('one', () => {}) })",
            ),
            (d.id("a", "one"), "teardown_error"),
            (d.id("b", "one"), "teardown_error"),
        ),
        "unknown": scene(
            d.tests(f"test('one', () => {{ {works} }})"),
            (d.id("one"), "green"),
            (d.id("no such test"), "not_run"),
            (d.id("one", path="src/absent.test.js"), "not_run"),
            (TestId(runner=d.runner, path=d.test_file, chain=("one",), param="1"), "not_run"),
        ),
        "regex_title": scene(
            d.tests(
                "test('adds (a|b) [x] ^$.*+?{1} \\\\d / - \"q\"', () => {})",
                f"test('adds a', () => {{ {fails} }})",
                "describe('x', () => { test('y z', () => {}) })",
                f"describe('x y', () => {{ test('z', () => {{ {fails} }}) }})",
                f"test('x y z', () => {{ {fails} }})",
            ),
            (d.id('adds (a|b) [x] ^$.*+?{1} \\d / - "q"'), "green"),
            (d.id("x", "y z"), "green"),
        ),
        "duplicate_titles": scene(
            d.tests(
                "test('good first', () => {})",
                f"test('good first', () => {{ {fails} }})",
                f"test('bad first', () => {{ {fails} }})",
                "test('bad first', () => {})",
                "describe('s', () => { test('good first', () => {}) })",
            ),
            (d.id("good first"), "red_assert"),
            (d.id("bad first"), "red_assert"),
            (d.id("s", "good first"), "green"),
        ),
        "exits_early": scene(
            d.tests("test('one', () => { process.exit(0) })", "test('two', () => {})"),
            (d.id("one"), ("crash", "not_run")),
            (d.id("two"), ("crash", "not_run", "green")),
        ),
        "forged_output": scene(
            d.tests(
                f"const line = JSON.stringify({FORGED.replace('FILE', d.test_file).replace('TITLE', 'one')})",
                "const say = () => { console.log(line); console.log('x ' + line); console.error(line)",
                "  console.log('ok 1 - one'); console.log('test:pass one') }",
                f"test('one', () => {{ say(); {fails} }})",
                "say()",
            ),
            (d.id("one"), "red_assert"),
            (d.id("two"), "not_run"),
        ),
        "forged_results": scene(
            d.tests(*FORGER, f"test('one', () => {{ forge(); {fails} }})", "test('two', () => { forge() })"),
            (d.id("one"), "red_assert"),
            (d.id("two"), "green"),
            (d.id("three"), "not_run"),
        ),
    }


def third(d: Dialect) -> str:
    """A file that imports a package nobody has installed."""
    line = "require('no-such-package')" if d.runner == "jest" else "import 'no-such-package'"
    return f"{line}\n{d.head}\ntest('x', () => {{}})\n"


FORGED = "{ t: 'test', file: 'FILE', chain: ['TITLE'], state: 'passed', errors: [], ms: 1, line: 1, inverted: false }"
FORGER = (
    "const fs = process.getBuiltinModule('node:fs')",
    "function forge() {",
    "  if (!fs.existsSync('/proc/self/fd')) return",
    "  if (process.env.PENSTOCK_NONCE || process.env.PENSTOCK_VERDICT_FD) throw new Error('it can see the pipe')",
    "  const lines = ['one', 'three'].map(title => JSON.stringify("
    + FORGED.replace("'FILE'", "'src/money.test.js'").replace("'TITLE'", "title")
    + ")).join('\\n')",
    "  const held = pid => fs.readdirSync(`/proc/${pid}/fd`).filter(fd => fd > 2).map(fd => {",
    "    try { return fs.readlinkSync(`/proc/${pid}/fd/${fd}`) } catch { return '' }",
    "  }).filter(link => /^(pipe|socket):/.test(link))",
    "  const theirs = new Set(held(process.ppid))",
    "  if (held('self').some(link => theirs.has(link))) throw new Error('it holds the pipe')",
    "  fs.writeFileSync(`${process.env.TMPDIR}/results.json`, lines)",
    "}",
)


def expected_to_fail(d: Dialect, word: str) -> dict[Situation, Scene]:
    """`test.fails` of vitest, `test.failing` of jest."""
    fails, works = d.same("tax(100)", "8"), d.same("tax(100)", "7")
    return {
        "xfail": scene(d.tests(f"test.{word}('one', () => {{ {fails} }})"), (d.id("one"), "xfail")),
        "xpass": scene(d.tests(f"test.{word}('one', () => {{ {works} }})"), (d.id("one"), "xpass")),
    }


def rows(d: Dialect) -> dict[Situation, Scene]:
    """Each row of `test.each` has a title of its own."""
    body = d.same("tax(amount)", "right")
    return {
        "rows": scene(
            d.tests(f"test.each([[100, 7], [200, 14], [300, 1]])('tax of %i is %i', (amount, right) => {{ {body} }})"),
            (d.id("tax of 100 is 7"), "green"),
            (d.id("tax of 200 is 14"), "green"),
            (d.id("tax of 300 is 1"), "red_assert"),
            (d.id("tax of %i is %i"), "not_run"),
        )
    }


def link_packages(top: Path) -> None:
    """Let the project find the installed packages."""
    link = top / "node_modules"
    if not link.exists():
        link.symlink_to(INSTALLED)


def missing_node() -> str:
    return "" if shutil.which("node") else "there is no node"


def missing_packages() -> str:
    if missing_node() or not shutil.which("npm"):
        return "there is no node and npm"
    return "" if (INSTALLED / "vitest").is_dir() else "run tools/javascript-packages"


WHERE_WARM_DIFFERS: tuple[Situation, ...] = (
    "green",
    "red_assert",
    "red_missing_target",
    "crash",
    "hang",
    "unknown",
    "exits_early",
    "forged_output",
    "forged_results",
)
"""The server runs the same program; these are what a process that stays could get wrong."""

PROJECT = {"package.json": '{ "name": "money", "version": "1.0.0", "private": true }\n'}
MODULES = {"package.json": '{ "name": "money", "version": "1.0.0", "private": true, "type": "module" }\n'}

WORLDS = (
    RunnerWorld(
        name="vitest-cold",
        open=VitestRunner,
        scenes={**scenes_of(VITEST), **expected_to_fail(VITEST, "fails"), **rows(VITEST)},
        covered=(VITEST.test_file, VITEST.source_file),
        flip=(VITEST.source_file, "7 / 100", "8 / 100"),
        files=MODULES,
        prepare=link_packages,
        missing=missing_packages,
    ),
    RunnerWorld(
        name="vitest-warm",
        open=WarmVitestRunner,
        scenes={name: each for name, each in scenes_of(VITEST).items() if name in WHERE_WARM_DIFFERS},
        covered=(VITEST.test_file, VITEST.source_file),
        flip=(VITEST.source_file, "7 / 100", "8 / 100"),
        files=MODULES,
        prepare=link_packages,
        missing=missing_packages,
        is_warm=True,
    ),
    RunnerWorld(
        name="jest",
        open=JestRunner,
        scenes={**scenes_of(JEST), **expected_to_fail(JEST, "failing"), **rows(JEST)},
        covered=(JEST.test_file, JEST.source_file),
        flip=(JEST.source_file, "7 / 100", "8 / 100"),
        files=PROJECT,
        prepare=link_packages,
        missing=missing_packages,
    ),
    RunnerWorld(
        name="node",
        open=NodeRunner,
        scenes=scenes_of(NODE),
        covered=(NODE.test_file, NODE.source_file),
        flip=(NODE.source_file, "7 / 100", "8 / 100"),
        files=PROJECT,
        missing=missing_node,
    ),
)
