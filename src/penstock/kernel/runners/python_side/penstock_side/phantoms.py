"""Stand-ins for what the tree does not have yet.

A test file that imports what is still to be written cannot be loaded, so nobody knows what its tests ask for. Here the
missing modules and names are put in place, and the file is loaded again. While it loads, a phantom allows everything:
decorators, constants, parameters. When a test runs, whatever is done to one is written down and raises
`PhantomTouched`. So `assert tax(3) == 4` asks for `tax`, and `assert False` below the same import asks for nothing.

A module of the tree is missing when Python says so, and its name is neither the standard library's, nor installed, nor
declared as a dependency. Where it would live is known from the search path.
"""

from __future__ import annotations

import dis
import importlib.machinery
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import Any

from .places import Tree

PHANTOMS_MAX = 50
DECLARATIONS = ("pyproject.toml", "setup.cfg", "setup.py", "Pipfile")
_NO_NAME = re.compile(r"cannot import name '([^']+)' from '([^']+)'")


class PhantomTouched(Exception):
    """A test used something that does not exist yet."""

    __module__ = "builtins"


class Phantoms:
    """All stand-ins of this process, and which of them the present test touched."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self.is_strict = False
        self.touched: list[str] = []
        """Paths where what was touched would live."""
        self._homes: dict[str, tuple[str, ...]] = {}
        self._stood_in: set[tuple[str, str]] = set()
        self._is_installed = False

    def stand_in_for(self, error: BaseException) -> bool:
        """Put a phantom in place of what an import error names; False where nothing of the tree is missing."""
        missing = self.missing(error)
        if missing is None or missing in self._stood_in or len(self._stood_in) == PHANTOMS_MAX:
            return False
        self._stood_in.add(missing)
        module, name = missing
        homes = self.homes(module, name)
        if name:
            setattr(sys.modules[module], name, Phantom(self, f"{module}.{name}", homes))
        else:
            self._install()
            self._homes[module] = homes
        return True

    def missing(self, error: BaseException) -> tuple[str, str] | None:
        """Module, and name in it, that an import error says the tree does not have."""
        if isinstance(error, ModuleNotFoundError):
            return (error.name, "") if error.name and self._would_be_ours(error.name) else None
        if isinstance(error, AttributeError):
            return self._attribute(getattr(error, "obj", None), getattr(error, "name", None))
        found = _NO_NAME.search(str(error)) if isinstance(error, ImportError) else None
        owner = sys.modules.get(found[2]) if found else None
        return (found[2], found[1]) if found and owner is not None and self._is_ours(owner) else None

    def _attribute(self, owner: Any, name: str | None) -> tuple[str, str] | None:
        """`module.name` on a line that loading runs: a class attribute, a row of a parametrised test."""
        is_module = isinstance(owner, ModuleType) and sys.modules.get(owner.__name__) is owner
        return (owner.__name__, name) if name and is_module and self._is_ours(owner) else None

    def homes(self, module: str, name: str = "") -> tuple[str, ...]:
        """Paths of the tree at which a missing module or name would live."""
        loaded = sys.modules.get(module)
        if name:
            own = (self._tree.file_of(loaded),)
            return (*filter(None, own), *(self.homes(f"{module}.{name}") if hasattr(loaded, "__path__") else ()))
        parent, _, last = module.rpartition(".")
        places = self._places_below(parent)
        return tuple(f"{place}{end}" for place in places for end in (f"{last}.py", f"{last}/__init__.py"))

    def _places_below(self, parent: str) -> list[str]:
        if parent in self._homes:
            return [home[: -len("__init__.py")] for home in self._homes[parent] if home.endswith("/__init__.py")]
        if parent and parent not in sys.modules:
            above, _, last = parent.rpartition(".")
            return [f"{place}{last}/" for place in self._places_below(above)]
        path = getattr(sys.modules[parent], "__path__", []) if parent else self._tree.search_path()
        real = [os.path.relpath(os.path.realpath(p), self._tree.root) for p in path if self._tree.has_directory(p)]
        places = ["" if p == "." else p.replace(os.sep, "/") + "/" for p in real]
        production = [place for place in places if not _holds_tests(os.path.join(self._tree.root, place))]
        return list(dict.fromkeys(production or places))

    def _would_be_ours(self, name: str) -> bool:
        top = name.partition(".")[0]
        if top in sys.modules:
            return self._is_ours(sys.modules[top])
        stdlib: frozenset[str] = getattr(sys, "stdlib_module_names", frozenset(sys.builtin_module_names))
        return top not in stdlib and _plain(top) not in _declared(self._tree)

    def _is_ours(self, module: ModuleType) -> bool:
        if isinstance(module, PhantomModule) or self._tree.file_of(module):
            return True
        return any(self._tree.has_directory(path) for path in getattr(module, "__path__", ()))

    def _install(self) -> None:
        if not self._is_installed:
            sys.meta_path.append(self)
            self._is_installed = True

    # --- the finder, after all others -------------------------------------------------------------------------------

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A phantom module for a name that was missed."""
        if fullname not in self._homes:
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)  # type: ignore[arg-type]

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType:
        """The loader's part."""
        return PhantomModule(self, spec.name, self._homes[spec.name])

    def exec_module(self, module: ModuleType) -> None:
        """There is nothing to run."""

    # --- touching ---------------------------------------------------------------------------------------------------

    def touch(self, what: str, homes: tuple[str, ...]) -> None:
        """Write it down, and raise, when a test runs."""
        __tracebackhide__ = True
        if self.is_strict:
            self.touched += [home for home in homes if home not in self.touched]
            raise PhantomTouched(f"{what} does not exist yet")


class PhantomModule(ModuleType):
    """A module that is not there: what is taken from it is a phantom too."""

    def __init__(self, phantoms: Phantoms, name: str, homes: tuple[str, ...]) -> None:
        super().__init__(name)
        self._penstock = (phantoms, homes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        phantoms, homes = self._penstock
        if not _is_import(sys._getframe(1)):
            phantoms.touch(f"{self.__name__}.{name}", homes)
        return Phantom(phantoms, f"{self.__name__}.{name}", homes)


class Phantom:
    """A name that is not there. Everything done to it is a touch."""

    def __init__(self, phantoms: Phantoms, what: str, homes: tuple[str, ...]) -> None:
        self.__dict__["_penstock"] = (phantoms, what, homes)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(name)
        return _touched(self, f".{name}")

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        _touched(self)
        return (object,)

    @property  # type: ignore[misc]
    def __class__(self) -> type:
        """Asked by `isinstance`, and so by `pytest.raises`."""
        phantoms = self.__dict__["_penstock"][0]
        if phantoms.is_strict:
            _touched(self)
        return Phantom

    def __iter__(self) -> Any:
        _touched(self)
        return iter(())

    def __len__(self) -> int:
        _touched(self)
        return 0

    def __bool__(self) -> bool:
        _touched(self)
        return True

    def __hash__(self) -> int:
        _touched(self)
        return 0

    def __repr__(self) -> str:
        _touched(self)
        return "<phantom>"

    def __str__(self) -> str:
        return repr(self)

    def __format__(self, form: str) -> str:
        return repr(self)

    def __index__(self) -> int:
        _touched(self)
        return 0


def _touched(phantom: Any, more: str = "") -> Any:
    """Raise when a test runs; while its file is loaded, a phantom comes of a phantom."""
    __tracebackhide__ = True
    phantoms, what, homes = phantom.__dict__["_penstock"]
    phantoms.touch(f"{what}{more}", homes)
    return Phantom(phantoms, f"{what}{more}", homes)


def homes_of(phantom: Phantom) -> tuple[str, ...]:
    """Paths where it would live; asking is no touch."""
    homes: tuple[str, ...] = phantom.__dict__["_penstock"][2]
    return homes


_OPERATORS = (
    "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor "
    "radd rsub rmul rmatmul rtruediv rfloordiv rmod rdivmod rpow rlshift rrshift rand ror rxor "
    "iadd isub imul imatmul itruediv ifloordiv imod ipow ilshift irshift iand ior ixor "
    "neg pos abs invert round trunc floor ceil int float complex bytes eq ne lt le gt ge call getitem setitem delitem "
    "contains reversed next enter exit aenter aexit await aiter anext setattr delattr instancecheck subclasscheck"
)


def _operator(self: Any, *values: Any, **named: Any) -> Any:
    __tracebackhide__ = True
    return _touched(self)


for _name in _OPERATORS.split():
    setattr(Phantom, f"__{_name}__", _operator)


def _is_import(frame: Any) -> bool:
    """Whether a frame is at `from module import name`, or the import machinery's own."""
    code = frame.f_code
    is_machinery: bool = code.co_filename.startswith("<frozen importlib")
    return is_machinery or dis.opname[code.co_code[frame.f_lasti]] == "IMPORT_FROM"


# --- what the project is made of ------------------------------------------------------------------------------------


def _holds_tests(directory: str) -> bool:
    try:
        names = os.listdir(directory)
    except OSError:
        return False
    return any(name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py" for name in names) and (
        os.path.basename(os.path.normpath(directory)) in ("test", "tests", "testing")
    )


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _declared(tree: Tree) -> frozenset[str]:
    """Words of the files that declare dependencies: a missing module of such a name is not installed, not unwritten."""
    words: set[str] = set()
    for root in tree.directories():
        for name in [*DECLARATIONS, *(n for n in os.listdir(root) if n.startswith("requirements"))]:
            path = os.path.join(root, name)
            if os.path.isfile(path):
                with open(path, encoding="utf-8", errors="replace") as file:
                    words.update(_dependencies(file.read(), is_list=name.endswith(".txt")))
    return frozenset(words)


_LISTED = re.compile(r"^\s*([A-Za-z0-9][\w.-]*)", re.MULTILINE)
_QUOTED = re.compile(r"[\"']([A-Za-z0-9][\w.-]*)\s*(?:\[[^\]]*\])?\s*(?:[<>=!~;@ ][^\"']*)?[\"']")


def _dependencies(text: str, is_list: bool) -> set[str]:
    """Names that may be dependencies; the project's own name is none."""
    own = set(re.findall(r"^\s*name\s*=\s*[\"']?([\w.-]+)", text, re.MULTILINE))
    found = _LISTED.findall(text) if is_list else _QUOTED.findall(text)
    return {_plain(name) for name in found} - {_plain(name) for name in own}
