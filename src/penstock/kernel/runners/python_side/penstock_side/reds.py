"""What an exception says about a test: which red it is, where it came from, and what is missing.

The exception object is judged, not its text, wherever Python (3.10 and later) hangs the object in question on it.
"""

from __future__ import annotations

import re
import sys
import traceback
from types import TracebackType
from typing import Any, NamedTuple

from .phantoms import Phantom, Phantoms, homes_of
from .places import MESSAGE_CHARS_MAX, Tree, clean, spelled

_MISFIT = re.compile(
    r"^([\w.<>]+)\(\) (?:got an unexpected keyword argument|missing \d+ required|takes .* arguments? .*given"
    r"|takes no arguments|got multiple values|got some positional-only)"
)
_MODULE_WITHOUT = re.compile(r"^module '([^']+)' has no attribute '([^']+)'")


class Red(NamedTuple):
    """As a `TestOutcome` says it."""

    verdict: str
    exception: str
    where: str
    message: str
    phantoms: tuple[str, ...] = ()


class Judge:
    """Judges exceptions raised by tests of one tree. `failures`: what counts as a failed assertion."""

    def __init__(self, tree: Tree, phantoms: Phantoms, failures: tuple[type[BaseException], ...]) -> None:
        self._tree = tree
        self._phantoms = phantoms
        self._failures = failures

    def red(self, error: BaseException, tb: TracebackType | None, own: str) -> Red:
        """The red of a call that raised `error`; `own` is the test's own file."""
        missing = () if isinstance(error, self._failures) else self._missing(error, tb, own)
        verdict = "red_missing_target" if missing else "red_exception"
        if isinstance(error, self._failures):
            verdict = "red_assert"
        return self.other(verdict, error, tb)._replace(phantoms=missing)

    def other(self, verdict: str, error: BaseException, tb: TracebackType | None) -> Red:
        """An exception that is no red of the test's own, or whose verdict is known."""
        return Red(verdict, clean(type(error).__name__)[:200], spelled(self._tree.deepest(tb)), text_of(error))

    def unloadable(self, error: BaseException, tb: TracebackType | None) -> Red:
        """Why a file cannot be loaded."""
        root = root_of(error)
        error, tb = root, tb if root is error else root.__traceback__
        return self.other("syntax_error" if isinstance(error, SyntaxError) else "collect_error", error, tb)

    def _missing(self, error: BaseException, tb: TracebackType | None, own: str) -> tuple[str, ...]:
        if isinstance(error, ImportError):
            found = self._phantoms.missing(error)
            return self._phantoms.homes(*found) if found else ()
        if isinstance(error, AttributeError):
            return self._without_attribute(error, own)
        if isinstance(error, NameError):
            path = self._tree.deepest(tb)[0]
            return (path,) if path and path != own else ()
        if isinstance(error, TypeError):
            return self._misfit(str(error), own)
        return ()

    def _without_attribute(self, error: AttributeError, own: str) -> tuple[str, ...]:
        owner = getattr(error, "obj", None)
        if type(owner) is Phantom:
            return homes_of(owner)
        by_text = _MODULE_WITHOUT.match(clean(error)) if owner is None else None
        if by_text:
            owner = sys.modules.get(by_text[1])
        name = getattr(error, "name", None) or (by_text[2] if by_text else "")
        if isinstance(owner, type(sys)):
            return self._phantoms.homes(owner.__name__, name) if self._tree.file_of(owner) not in ("", own) else ()
        kind = owner if isinstance(owner, type) else type(owner)
        return self._production((kind.__module__,), own)

    def _misfit(self, text: str, own: str) -> tuple[str, ...]:
        found = _MISFIT.match(text)
        return self._production(self._modules_with(found[1]), own) if found else ()

    def _modules_with(self, name: str) -> tuple[str, ...]:
        """Modules of the tree in which a function of that qualified name was defined."""
        modules = [(each, module) for each, module in list(sys.modules.items()) if self._tree.file_of(module)]
        return tuple(each for each, module in modules if _defines(module, name.split(".")))

    def _production(self, modules: tuple[str, ...], own: str) -> tuple[str, ...]:
        paths = (self._tree.file_of(sys.modules.get(name)) for name in modules)
        return tuple(dict.fromkeys(path for path in paths if path and path != own))


def _defines(module: Any, names: list[str]) -> bool:
    found: Any = module
    for name in names:
        found = vars(found).get(name) if hasattr(found, "__dict__") else None
    found = getattr(found, "__init__", None) if isinstance(found, type) else getattr(found, "__func__", found)
    return bool(getattr(getattr(found, "__code__", None), "co_filename", None) == module.__file__)


def root_of(error: BaseException) -> BaseException:
    """What pytest wrapped while it collected."""
    while type(error).__name__ == "CollectError" and error.__cause__ is not None:
        error = error.__cause__
    return error


def text_of(error: BaseException) -> str:
    """Type and message; `traceback` also copes with a `__str__` that raises."""
    lines = traceback.format_exception_only(type(error), error)
    return clean("".join(lines[-1:] if isinstance(error, SyntaxError) else lines).strip())[:MESSAGE_CHARS_MAX]
