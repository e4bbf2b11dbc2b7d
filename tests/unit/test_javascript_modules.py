"""Which files a JavaScript file needs, and which names it takes from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.kernel.runners.javascript_modules import Binding, bindings_in, lacks, needs, place_of, specifiers_in


def lay(top: Path, **files: str) -> Path:
    for name, text in files.items():
        path = top / name.replace("__", "/").replace("_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return top


SPECIFIERS = {
    "import a from './a'": "./a",
    "import{b}from'./a'": "./a",
    "import './a.css'": "./a.css",
    "import type { T } from '../a'": "../a",
    "export * from './a'": "./a",
    "export { a } from `./a`": "./a",
    "const a = require('./a')": "./a",
    "const a = await import( './a')": "./a",
    "import {\n  a,\n  b,\n} from './a'": "./a",
    "jest.requireActual('./a')": "./a",
    "vi.mock(import('./a'))": "./a",
    "import up from '..'": "..",
}


@pytest.mark.parametrize("text", SPECIFIERS)
def test_relative_specifiers_are_found(text: str) -> None:
    assert specifiers_in(text) == (SPECIFIERS[text],)


@pytest.mark.parametrize(
    "text", ["import a from 'a'", "// import a from './a'", "/* require('./a') */", "x.from('./a' + y)", "require(a)"]
)
def test_others_are_not(text: str) -> None:
    assert specifiers_in(text) == ()


def test_an_address_in_a_text_does_not_begin_a_comment() -> None:
    assert specifiers_in("const a = 'http://x'; import b from './b'") == ("./b",)


def test_needs_are_followed_through_others_and_round_cycles(tmp_path: Path) -> None:
    top = lay(
        tmp_path,
        t_js="import './src/a.js'; import './absent'; import 'react'",
        src__a_ts="import './b'; import './lib'",
        src__b_tsx="import './a'; import './d.json'",
        src__lib__index_mjs="",
        src__d_json="{}",
        src__other_js="",
    )
    assert needs(top, "t.js") == ("src/a.ts", "src/b.tsx", "src/d.json", "src/lib/index.mjs")


def test_what_lies_outside_the_tree_is_not_needed(tmp_path: Path) -> None:
    top = lay(tmp_path / "tree", t_js="import '../x.js'; import './node_modules/p/i.js'", node_modules__p__i_js="")
    lay(tmp_path, x_js="")
    assert needs(top, "t.js") == ()
    assert place_of("a/b.js", "../../x") == ""


BINDINGS = {
    "import a, { b, c as d } from './m'": [("b", "b"), ("d", "c"), ("a", "default")],
    "import * as ns from './m'": [("ns", "*")],
    "import { type T, a } from './m'": [("T", "T"), ("a", "a")],
    "const { a, b: c } = require('./m')": [("a", "a"), ("c", "b")],
    "const m = require('./m')": [("m", "*")],
    "import m = require('./m')": [("m", "*")],
}


@pytest.mark.parametrize("text", BINDINGS)
def test_bindings_are_read(text: str) -> None:
    assert bindings_in(text) == tuple(Binding(local, name, "./m") for local, name in BINDINGS[text])


def test_a_module_lacks_a_name_that_it_never_speaks_of(tmp_path: Path) -> None:
    top = lay(tmp_path, a_js="export const taxes = 1", b_js="export * from './a'", c_js="module.exports = 1")
    assert lacks(top, "a.js", "tax")
    assert not lacks(top, "a.js", "taxes")
    assert not lacks(top, "b.js", "tax")
    assert lacks(top, "a.js", "default")
    assert not lacks(top, "c.js", "default")
