"""Whether a test speaks of what its file could not import."""

from __future__ import annotations

import pytest

from penstock.kernel.runners.javascript_touch import touches

HEAD = "import { test } from 'vitest'\nimport { refund } from './refund'\n"
NAMES = {"refund"}

TOUCHING = {
    "itself": "test('one', () => { refund(3) })",
    "a template": "test('one', () => { `${refund(3)}` })",
    "a function of the file": "const pay = () => refund(3)\ntest('one', () => { pay() })",
    "a hook": "beforeEach(() => refund(3))\ntest('one', () => {})",
    "a title put together": "for (const n of ['one']) test(n, () => {})",
    "a line shared with others": "test('one', () => {}); test('two', () => { refund() })",
}
VACUOUS = {
    "nothing": "test('one', () => { throw 1 })",
    "a title": "test('one', () => { 'refund' })\ntest('refund', () => {})",
    "a comment": "test('one', () => { throw 1 // refund\n})",
    "another name": "test('one', () => { refunds() })",
    "another test": "test('one', () => { throw 1 })\ntest('two', () => {\n  refund(')')\n})",
}


@pytest.mark.parametrize("what", TOUCHING)
def test_what_can_speak_of_the_name_touches_it(what: str) -> None:
    assert touches(HEAD + TOUCHING[what], ("one",), NAMES)


@pytest.mark.parametrize("what", VACUOUS)
def test_what_never_comes_to_it_does_not(what: str) -> None:
    assert not touches(HEAD + VACUOUS[what], ("one",), NAMES)


def test_an_import_for_its_effect_is_touched_by_nobody() -> None:
    assert not touches("import './refund'\ntest('one', () => { throw 1 })", ("one",), ())


def test_requires_are_no_use() -> None:
    assert not touches("const { refund } = require('./refund')\ntest('one', () => {})", ("one",), NAMES)
