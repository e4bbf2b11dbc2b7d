"""The `*** Begin Patch` format that Codex and OpenHands edit files with: which files, and what becomes what.

A header may be indented: those who apply it trim the line. So a line of context that looks like a header is taken for
one as well: a file too many is asked for, never one too few.
"""

from __future__ import annotations

from penstock.kernel.hooks.contracts.call import NotUnderstood, deleted, replaced, written

TYPE_CHECKING = False
if TYPE_CHECKING:
    from penstock.kernel.hooks.contracts.call import Edit, Tool

ADD, UPDATE, DELETE, MOVE = "*** Add File:", "*** Update File:", "*** Delete File:", "*** Move to:"
HEADERS = (ADD, UPDATE, DELETE, MOVE)
NO_LINE = ("*** Begin Patch", "*** End Patch", "*** End of File", "*** Environment ID:")


def edits_of(patch: str) -> tuple[Tool, tuple[Edit, ...]]:
    """What a patch does. Raises `NotUnderstood` where it names no file."""
    sections = _sections(patch)
    if not sections:
        raise NotUnderstood("the patch names no file")
    edits = tuple(edit for section in sections for edit in _edits(section))
    return _tool({section.kind for section in sections}, len(edits)), edits


class _Section:
    __slots__ = ("kind", "lines", "moved_to", "path")

    def __init__(self, kind: str, path: str) -> None:
        self.kind, self.path, self.moved_to = kind, path, ""
        self.lines: list[str] = []


def _sections(patch: str) -> list[_Section]:
    found: list[_Section] = []
    for line in patch.strip().split("\n"):
        bare = line.strip()
        header = "" if line[:1] in "+-" else next((kind for kind in HEADERS if bare.startswith(kind)), "")
        if header == MOVE and found:
            found[-1].kind, found[-1].moved_to = MOVE, bare[len(MOVE) :].strip()
        elif header:
            found.append(_Section(header, bare[len(header) :].strip()))
        elif found and not bare.startswith(NO_LINE):
            found[-1].lines.append(line)
    return found


def _edits(section: _Section) -> list[Edit]:
    path, lines = section.path, section.lines
    if section.kind == DELETE:
        return [deleted(path)]
    if section.kind == ADD:
        return [written(path, "".join(f"{line[1:]}\n" for line in lines if line.startswith("+")))]
    hunks = [_hunk(path, hunk) for hunk in _hunks(lines)]
    if section.kind == MOVE:
        return [*hunks, deleted(path), written(section.moved_to, None)]
    return hunks or [replaced(path, None, None)]


def _hunks(lines: list[str]) -> list[list[str]]:
    hunks: list[list[str]] = [[]]
    for line in lines:
        if line.startswith("@@"):
            hunks.append([])
        else:
            hunks[-1].append(line)
    return [hunk for hunk in hunks if any(line.startswith(("+", "-")) for line in hunk)]


def _hunk(path: str, lines: list[str]) -> Edit:
    old = "\n".join(line[1:] for line in lines if not line.startswith("+"))
    new = "\n".join(line[1:] for line in lines if not line.startswith("-"))
    return replaced(path, old, new)


def _tool(kinds: set[str], count: int) -> Tool:
    if MOVE in kinds:
        return "move"
    if kinds == {ADD} and count == 1:
        return "write"
    if kinds == {DELETE}:
        return "delete"
    return "edit" if count == 1 else "multi_edit"
