"""How modules of the tree come to be loaded: always from their source as it is now.

Bytecode is believed by time and size, and an edit within the same second keeps both. So for files of the tree none is
read, neither Python's own nor that of pytest's rewritten assertions; installed packages keep theirs. A planted defect
is served from here too, as a syntax tree: it is never written anywhere.

Who imports whom is noted on the way, for a test's file needs what its imports need.
"""

from __future__ import annotations

import ast
import builtins
import importlib.machinery
import os
import sys
from collections.abc import Callable, Sequence
from types import CodeType, ModuleType
from typing import Any

from .places import Tree

Edge = tuple[str, str, tuple[str, ...], int]
"""Package of the importer, name as written, names taken from it, level."""


class Sources:
    """Loads modules of the tree. `planted`: syntax trees to serve instead of files, by path relative to the root."""

    def __init__(self, tree: Tree, planted: dict[str, ast.Module] | None = None) -> None:
        self._tree = tree
        self._planted = planted or {}
        self._edges: dict[str, set[Edge]] = {}
        self._files: set[str] = set()
        """Of modules that were loaded: absolute, as their modules say."""
        self.around_import: Callable[[bool], None] = lambda is_begin: None
        """Told when the code of a module of the tree begins and ends."""

    def install(self) -> None:
        """Take over imports of this process, for good."""
        loader: Any = importlib.machinery.SourceFileLoader
        get_code = loader.get_code

        def fresh_code(self_: Any, fullname: str) -> CodeType | None:
            path = self_.get_filename(fullname)
            relative = self._tree.relative(path)
            if not relative:
                return get_code(self_, fullname)  # type: ignore[no-any-return]
            source = self._planted.get(relative) or self_.get_data(path)
            return compile(source, path, "exec", dont_inherit=True)

        loader.get_code, loader.exec_module = fresh_code, self.watched(loader.exec_module)
        sys.dont_write_bytecode = True
        self._note_imports()

    def watched(self, exec_module: Any) -> Any:
        """A loader's `exec_module` that tells when the code of a module of the tree begins and ends."""

        def watched_exec(loader: Any, module: ModuleType) -> None:
            __tracebackhide__ = True
            if not self._tree.file_of(module):
                exec_module(loader, module)
                return
            self._files.add(str(module.__file__))
            self.around_import(True)
            try:
                exec_module(loader, module)
            finally:
                self.around_import(False)

        return watched_exec

    def _note_imports(self) -> None:
        original, edges, files = builtins.__import__, self._edges, self._files

        def noted(
            name: str, globals: Any = None, locals: Any = None, fromlist: Sequence[str] | None = (), level: int = 0
        ) -> Any:
            __tracebackhide__ = True
            if globals and globals.get("__file__") in files:
                edge = (globals.get("__package__") or "", name, tuple(fromlist or ()), level)
                edges.setdefault(globals["__file__"], set()).add(edge)
            return original(name, globals, locals, fromlist, level)

        builtins.__import__ = noted

    # --- who needs what ---------------------------------------------------------------------------------------------

    def needs(self, files: Sequence[str]) -> list[str]:
        """Files of the tree, relative, that `files` (absolute) import, directly or through others."""
        queue, seen = list(files), set(files)
        for path in queue:
            fresh = [found for found in self._direct(path) if found not in seen]
            seen.update(fresh)
            queue += fresh
        return sorted(filter(None, map(self._tree.relative, queue[len(files) :])))

    def _direct(self, path: str) -> tuple[str, ...]:
        names = [name for edge in sorted(self._edges.get(path, ())) for name in _targets(edge)]
        modules = (sys.modules.get(name) for name in dict.fromkeys(names))
        return tuple(str(module.__file__) for module in modules if module is not None and self._tree.file_of(module))


def _targets(edge: Edge) -> list[str]:
    """Names of all modules that an import may have loaded: it, its parents, and what was taken from it."""
    package, name, taken, level = edge
    if level:
        base = package.rsplit(".", level - 1)[0] if level > 1 else package
        name = f"{base}.{name}" if name else base
    parts = name.split(".")
    parents = [".".join(parts[:n]) for n in range(1, len(parts) + 1)]
    return parents + [f"{name}.{each}" for each in taken]


def take_over_rewriting(tree: Tree, sources: Sources) -> None:
    """The same for pytest's rewritten assertions: no bytecode of the tree; where that cannot be had, none at all."""
    from _pytest.assertion import rewrite

    hook: Any = rewrite.AssertionRewritingHook
    hook.exec_module = sources.watched(hook.exec_module)
    read: Any = getattr(rewrite, "_read_pyc", None)
    if read is None:
        sys.pycache_prefix = os.path.join(os.sep, "nonexistent", "bytecode")
        return

    def read_installed(source: Any, *more: Any, **options: Any) -> Any:
        return None if tree.relative(str(source)) else read(source, *more, **options)

    rewrite._read_pyc = read_installed
