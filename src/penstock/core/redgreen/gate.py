"""The gate: may this edit be made? A pure function of the ledger and of what stands in the tree now.

Conditions are asked in the order in which an agent can meet them, and the first that is not met is the refusal: it says
what is missing and which call comes next. Writing tests is free; so are control files, which void what they concern.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import Ledger, TestLife
from penstock.core.redgreen.policy import GuardedKind, Mode, kind_of
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import OUR_FAULT, REASONS, RED, UNLOADED

REFUSAL_CHARS_MAX = 400
NAMES_MAX = 3
CODE = (".py", ".js", ".jsx", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".rs", ".go")
"""Ends of names of what runners see."""


@dataclass(frozen=True)
class EditAsk:
    """Somebody wants to change `paths`. `test`: the one that the edit is said to be for."""

    tool: str
    paths: tuple[str, ...]
    test: TestId | None = None
    bindings: Mapping[TestId, e.Binding] = field(default_factory=dict)
    """What each red test depends on, as it stands in the tree now."""
    test_path: str = ""
    """Where a test for these paths would go, for the refusal."""
    importers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """For each path that does not exist yet, files edited in this turn that import it."""
    takes_newest: bool = False
    """Whoever asks cannot claim: of several red tests the newest is meant."""
    announced: bool = False
    """Somebody says beforehand what will be written: what does not exist yet may be made, and is judged at the end."""


@dataclass(frozen=True)
class Licence:
    """The edit may be made. `claims` are to be recorded before it, inferred ones too."""

    allowance: e.Allowance
    red: int = 0
    test: TestId | None = None
    claims: tuple[e.EditClaim, ...] = ()
    would_refuse: e.Refusal | None = None
    """`warn`: what strict mode would have said."""


Verdict = Licence | e.Refusal


def judge_edit(ledger: Ledger, ask: EditAsk, mode: Mode) -> Verdict:
    """The gate's verdict, under 1 ms whatever the length of the ledger."""
    kinds = {path: kind_of(ledger.policy, path) for path in ask.paths}
    guarded = tuple(path for path in ask.paths if kinds[path] in ("production", "protected"))
    if mode == "off":
        return Licence(allowance="off")
    verdict = _strict(ledger, ask, kinds, guarded)
    if isinstance(verdict, e.Refusal) and mode == "warn":
        return Licence(allowance="warn", would_refuse=verdict)
    return verdict


def _strict(ledger: Ledger, ask: EditAsk, kinds: Mapping[str, GuardedKind], guarded: tuple[str, ...]) -> Verdict:
    if ledger.turn.is_closing:
        return e.Refusal(
            code="turn_closing", missing="the tests of this turn are still running", next_command="end_turn"
        )
    protected = [path for path in ask.paths if kinds[path] == "protected"]
    if protected:
        missing = f"{_names(protected)}: protected, no agent changes it"
        return e.Refusal(code="protected", missing=missing, next_command="leave it as it is")
    if not guarded:
        return Licence(allowance="exempt" if all(kinds[p] == "exempt" for p in ask.paths) else "free")
    if ledger.refactor is not None:
        return _refactoring(ledger)
    test = ask.test or _only_red(ledger, ask, guarded)
    if isinstance(test, e.Refusal):
        return test
    if test is None:
        return _nothing_asks(ledger, ask, guarded)
    return _under(ledger, ask, test, guarded)


def _refactoring(ledger: Ledger) -> Verdict:
    assert ledger.refactor is not None
    limits, refactor = ledger.policy.limits, ledger.refactor
    if refactor.edits >= limits.refactor_edits_max:
        missing = f"refactor mode ends after {limits.refactor_edits_max} edits"
        return e.Refusal(code="refactor_edits", missing=missing, next_command="leave_refactor")
    if ledger.now_ms - refactor.entered_ms > limits.refactor_wall_ms_max:
        missing = f"refactor mode ends after {limits.refactor_wall_ms_max // 1000} s"
        return e.Refusal(code="refactor_time", missing=missing, next_command="leave_refactor")
    return Licence(allowance="refactor")


def _only_red(ledger: Ledger, ask: EditAsk, guarded: tuple[str, ...]) -> TestId | e.Refusal | None:
    """The test whose claim covers the targets; else the one red test that concerns them all, by its first red row."""
    there = [t for t in ledger.red if _is_there(ledger.tests[t], ask.bindings.get(t))]
    claimed = [t for t in there if (c := ledger.tests[t].claim) and set(guarded) <= set(c.targets)]
    if claimed:
        return claimed[-1]
    fitting = [t for t in there if all(_seen_basis(ask, ledger.tests[t], path) for path in guarded)]
    if ask.takes_newest:
        fitting = sorted(fitting, key=lambda t: ledger.tests[t].red_seq)[-1:]
    if len({t.base for t in fitting}) > 1:
        missing = f"several red tests concern {_names(guarded)}: say which one this edit is for"
        return e.Refusal(code="no_claim", missing=missing, test=fitting[0], next_command=_call("claim", fitting[0]))
    if fitting:
        return fitting[0]
    return there[-1] if len(there) == 1 or (there and ask.takes_newest) else None


def _is_there(life: TestLife, now: e.Binding | None) -> bool:
    """Whether the red test is still in its file, as far as that can be told."""
    assert life.red is not None
    return not life.red.binding.test_sha or now is None or bool(now.test_sha)


def _nothing_asks(ledger: Ledger, ask: EditAsk, guarded: tuple[str, ...]) -> e.Refusal:
    planned = next((step for step in ledger.plan if step.test_file_path), None)
    place = planned.test_file_path if planned else ask.test_path
    if not ledger.tests:
        missing = f"no test in scope asks for a change of {_names(guarded)}: write one in {place} and see it fail"
        missing += _or_exempt(guarded)
        return e.Refusal(code="no_test_in_scope", missing=missing, next_command=f"run_tests {place}")
    missing = f"no red test concerns {_names(guarded)}: write one in {place} and see it fail{_or_exempt(guarded)}"
    return e.Refusal(code="no_red", missing=missing, next_command=f"run_tests {place}")


def _or_exempt(guarded: tuple[str, ...]) -> str:
    """What runners cannot see may be declared."""
    return "" if all(path.endswith(CODE) for path in guarded) else "; or let the user list it in exempt_files"


def _under(ledger: Ledger, ask: EditAsk, test: TestId, guarded: tuple[str, ...]) -> Verdict:
    life = ledger.tests.get(test)
    refusal = (
        _not_red(test, life)
        or _exhausted(ledger, test, life)
        or _stale(ask, test, life)
        or _unrelated(ask, test, life, guarded)
    )
    if refusal is not None:
        return refusal
    assert life is not None
    claims = () if _is_claimed(life, guarded) else (_claim(ask, test, life, guarded, is_inferred=ask.test is None),)
    return Licence(allowance="red", red=life.red_seq, test=test, claims=claims)


def judge_claim(ledger: Ledger, ask: EditAsk) -> e.EditClaim | e.Refusal:
    """The claim of `ask.test` for `ask.paths`, if it can be one."""
    assert ask.test is not None
    life = ledger.tests.get(ask.test)
    refusal = (
        _not_red(ask.test, life)
        or _exhausted(ledger, ask.test, life)
        or _stale(ask, ask.test, life)
        or _unrelated(ask, ask.test, life, ask.paths)
    )
    if refusal is not None:
        return refusal
    assert life is not None
    return _claim(ask, ask.test, life, ask.paths, is_inferred=False)


def _is_claimed(life: TestLife, guarded: tuple[str, ...]) -> bool:
    return life.claim is not None and set(guarded) <= set(life.claim.targets)


def _claim(ask: EditAsk, test: TestId, life: TestLife, guarded: tuple[str, ...], *, is_inferred: bool) -> e.EditClaim:
    order: tuple[e.Basis, ...] = ("awaited", "imported", "phantom", "executed")
    bases = [_basis(ask, life, path) or "imported" for path in guarded]
    earlier = life.claim.targets if life.claim else ()
    return e.EditClaim(
        test=test,
        targets=tuple(dict.fromkeys((*earlier, *guarded))),
        basis=min(bases, key=order.index),
        is_inferred=is_inferred,
    )


def basis_of(life: TestLife, path: str) -> e.Basis | None:
    """How the red in force concerns `path`; None: it does not."""
    if life.red is None:
        return None
    if path in life.red.executed:
        return "executed"
    if path in life.red.phantoms:
        return "phantom"
    return "imported" if path in life.red.imported else None


def _basis(ask: EditAsk, life: TestLife, path: str) -> e.Basis | None:
    """As `_seen_basis`; and what is announced is awaited, where it is new or was edited for that test: it is mended."""
    is_new_code = path in ask.importers and path.endswith(CODE)
    is_open = any(edit.path == path for edit in life.open_edits)
    awaited: e.Basis | None = "awaited" if ask.announced and (is_new_code or is_open) else None
    return _seen_basis(ask, life, path) or awaited


def _seen_basis(ask: EditAsk, life: TestLife, path: str) -> e.Basis | None:
    """As `basis_of`; and what does not exist yet is concerned by code that was edited for that red and imports it."""
    targets = life.claim.targets if life.claim else ()
    wanting = (by for by in ask.importers.get(path, ()) if by in targets)
    return basis_of(life, path) or ("imported" if any(wanting) else None)


# --- what is not met ------------------------------------------------------------------------------------------------


def _not_red(test: TestId, life: TestLife | None) -> e.Refusal | None:
    if life is None or life.last is None:
        missing = "it was not run yet: run it and see it fail"
        return e.Refusal(code="no_red", missing=missing, test=test, next_command=_call("run_tests", test))
    verdict = life.last.verdict
    if life.red is not None and (verdict in RED or verdict in UNLOADED):
        return None
    code = "no_verdict" if verdict in OUR_FAULT else "not_red"
    return e.Refusal(
        code=code, missing=REASONS[verdict], test=test, last_verdict=verdict, next_command=_call("run_tests", test)
    )


def _exhausted(ledger: Ledger, test: TestId, life: TestLife | None) -> e.Refusal | None:
    assert life is not None and life.last is not None
    limits, verdict = ledger.policy.limits, life.last.verdict
    left = limits.edits_per_red_max - life.edits_used
    if life.reverts >= limits.reverts_per_test_max:
        missing = f"edits were reverted {life.reverts} times because of it: take another way, with another test"
        return _over("storm", missing, test, "run_tests", life)
    if life.reds_after_edits >= limits.reds_per_test_max:
        missing = f"still red after edits, {life.reds_after_edits} times: write a smaller test, and begin with that"
        return _over("reds_exhausted", missing, test, "write_file", life)
    if left <= 0:
        missing = f"its red has licensed {life.edits_used} edits: end the turn and see where it stands"
        return e.Refusal(
            code="edits_exhausted",
            missing=missing,
            test=test,
            last_verdict=verdict,
            next_command="end_turn",
            budget_left=0,
        )
    return None


def _over(code: str, missing: str, test: TestId, call: str, life: TestLife) -> e.Refusal:
    assert life.last is not None
    return e.Refusal(
        code=code, missing=missing, test=test, last_verdict=life.last.verdict, next_command=call, budget_left=0
    )


def _stale(ask: EditAsk, test: TestId, life: TestLife | None) -> e.Refusal | None:
    assert life is not None and life.red is not None
    was, now = life.red.binding, ask.bindings.get(test, e.Binding())
    changed = [
        word
        for word, a, b in (
            ("the test", was.test_sha, now.test_sha),
            ("a control file", was.control_sha, now.control_sha),
            ("a test file that it runs", was.support_sha, now.support_sha),
        )
        if a != b
    ]
    if not changed:
        return None
    missing = f"{' and '.join(changed)} changed since it was red: run it again"
    return e.Refusal(
        code="red_stale",
        missing=missing,
        test=test,
        last_verdict=life.red.verdict,
        next_command=_call("run_tests", test),
    )


def _unrelated(ask: EditAsk, test: TestId, life: TestLife | None, guarded: tuple[str, ...]) -> e.Refusal | None:
    assert life is not None and life.red is not None
    beyond = [path for path in guarded if _basis(ask, life, path) is None]
    if not beyond:
        return None
    missing = f"it neither ran nor imports {_names(beyond)}: claim a red test that does{_or_exempt(guarded)}"
    if all(path in ask.importers for path in beyond):
        missing = f"it does not ask for {_names(beyond)} yet: first let code that it runs import that"
    return e.Refusal(
        code="claim_unrelated", missing=missing, test=test, last_verdict=life.red.verdict, next_command="run_tests"
    )


# --- words ----------------------------------------------------------------------------------------------------------


def refusal_text(refusal: e.Refusal) -> str:
    """The refusal as a model reads it: at most `REFUSAL_CHARS_MAX` characters, the same for the same refusal."""
    parts = [f"refused ({refusal.code})"]
    if refusal.test is not None:
        last = f" [{refusal.last_verdict}]" if refusal.last_verdict else ""
        parts.append(f"{_short(spell(refusal.test), 120)}{last}")
    parts.append(_short(refusal.missing, 200))
    if refusal.next_command:
        parts.append(f"next: {_short(refusal.next_command, 150)}")
    if refusal.budget_left is not None:
        parts.append(f"edits left: {refusal.budget_left}")
    return _short("; ".join(parts), REFUSAL_CHARS_MAX)


def _call(tool: str, test: TestId) -> str:
    return f"{tool} {spell(test)}"


def _names(paths: tuple[str, ...] | list[str]) -> str:
    more = f" and {len(paths) - NAMES_MAX} more" if len(paths) > NAMES_MAX else ""
    return ", ".join(_short(path, 60) for path in paths[:NAMES_MAX]) + more


def _short(text: str, most: int) -> str:
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return line if len(line) <= most else line[: most - 3] + "..."
