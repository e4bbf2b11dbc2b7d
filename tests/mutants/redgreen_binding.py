"""Defects in what binds evidence to a test, and in the names that comments give."""

from __future__ import annotations

from tests.mutants.defect import Planted

TESTS = "tests/unit/test_redgreen_binding.py::"
VOID = f"{TESTS}test_evidence_is_void_when_it_changes"

PLANTED = (
    Planted(
        "bind-definitions",
        "what a test names is not part of it",
        "core/redgreen/binding.py",
        "                self._take_definitions(name, self._classes if is_attribute else self._context.scopes)",
        "                pass",
        (VOID,),
    ),
    Planted(
        "bind-imports",
        "a name may come from elsewhere",
        "core/redgreen/binding.py",
        "            self._texts |= set(self._imports.get(name, ()))",
        "            pass",
        (VOID,),
    ),
    Planted(
        "bind-fixtures",
        "fixtures are not part of the test",
        "core/redgreen/binding.py",
        "for how, fixture in fixtures_of(function, context).values():",
        "for how, fixture in ():",
        (VOID,),
    ),
    Planted(
        "bind-mutation",
        "what is done to a name is not seen",
        "core/redgreen/binding.py",
        "if name in _stored(statement) or (isinstance(statement, ast.Expr) and name in names_in(statement)):",
        "if name in _stored(statement):",
        (VOID,),
    ),
    Planted(
        "bind-surroundings",
        "what a class's head and set-up name is not followed",
        "core/redgreen/binding.py",
        "        self._take_surroundings()\n        return True",
        "        return True",
        (VOID,),
    ),
    Planted(
        "bind-own-name",
        "a renamed test loses its evidence",
        "core/redgreen/binding.py",
        "|{dump_unnamed(function)}",
        "|{dump(function)}",
        (f"{TESTS}test_the_eight_cases",),
    ),
    Planted(
        "moved-once",
        "a test moves to any of several",
        "core/redgreen/binding.py",
        "if len(was) == len(now) == 1)",
        "if was and now)",
        (f"{TESTS}test_a_move_needs_one_that_vanished_and_one_that_appeared",),
    ),
    Planted(
        "moved-nothing",
        "what has no content moves",
        "core/redgreen/binding.py",
        "        if sha:\n",
        "        if True:\n",
        (f"{TESTS}test_what_has_no_digest_never_moved",),
    ),
    Planted(
        "slug-twice",
        "one slug names two tests",
        "core/redgreen/annotations.py",
        "slugs={chain: slug for chain, slug in slugs.items() if slug not in twice}",
        "slugs=slugs",
        (f"{TESTS}test_a_slug_that_stands_twice_names_nothing_and_both_places_are_told",),
    ),
    Planted(
        "slug-in-text",
        "a text counts as a comment",
        "core/redgreen/annotations.py",
        "for line, found in marks.items() if line not in quoted}",
        "for line, found in marks.items()}",
        (f"{TESTS}test_a_text_is_no_comment",),
    ),
)
