"""One session of the gate round one working tree: what every door (tools, MCP, hooks) goes through.

The ledger is the truth about the tree. A write that was let through is durable in the ledger before the file is
touched, and after every command, run and turn the tree is scanned: what differs from the ledger is either judged as the
edit it is, or it is an unclaimed write, kept as a patch and taken back. So it does not matter by which way a file was
written, and a kill anywhere leaves a tree that the next opening makes whole.

Nothing here decides: `core.redgreen.gate` says what may be, `core.redgreen.closing` what is owed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from penstock import __version__
from penstock.core.digest import digest_of
from penstock.core.events import LedgerSealed
from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.gate import EditAsk, Licence, judge_claim, judge_edit
from penstock.core.redgreen.imports import may_import
from penstock.core.redgreen.ledger import Ledger, evolve
from penstock.core.redgreen.policy import GuardedKind, RedGreenPolicy, kind_of
from penstock.core.redgreen.test_id import TestId
from penstock.core.weakening import parse
from penstock.kernel.bindings import Bindings, Shas
from penstock.kernel.launching import Launcher
from penstock.kernel.project import Project, Runners
from penstock.kernel.tree.entry import Change, Unreadable, diff
from penstock.kernel.tree.quarantine import keep_whole, to_patch
from penstock.kernel.tree.scanner import LeftAside, Scan, TreeScanner
from penstock.kernel.tree.writer import TreeWriter
from penstock.ports import Blobs, ChainedLog

Why = Literal["regression", "claim_unrelated", "red_void", "not_written", "refactor_failed"]

_tree_decoder = msgspec.json.Decoder(dict[str, Entry])


@dataclass
class GateWorld:
    """What a session works with."""

    log: ChainedLog[e.RedGreenRecord]
    blobs: Blobs
    flush: Callable[[], None]
    """Makes the blobs durable: before the ledger names them."""
    now_ms: Callable[[], int]
    scanner: TreeScanner
    writer: TreeWriter
    launcher: Launcher
    runners: Runners


@dataclass(frozen=True)
class Write:
    """What an edit wants at a path. `data` None: nothing."""

    path: str
    data: bytes | None
    mode: int | None = None
    """None: the mode that is there, or 0o644."""
    link: bool = False


@dataclass(frozen=True)
class Applied:
    """An edit that was made."""

    seq: int
    licence: Licence


@dataclass
class Settled:
    """What a scan found since the last one."""

    edits: list[str] = field(default_factory=list)
    """Paths whose change was let through."""
    unclaimed: list[e.UnclaimedWrite] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Paths that could not be read or put back, each with why."""


class NotConfigured(Exception):
    """No runner is set up for a test; the text says for which file."""


class GateSession:
    """The gate round one tree. One caller at a time; see `opening.open_session`."""

    def __init__(self, world: GateWorld, ledger: Ledger) -> None:
        self.world = world
        self.ledger = ledger
        self.expected: dict[str, Entry] = {}
        """What must stand in the whole tree."""
        self._bindings: Bindings | None = None
        self._shas: Shas = {}
        self._ran: dict[str, str] = {}
        self.takes_newest = False
        """Whether those who write here cannot claim: of several red tests the newest is meant."""
        self._announced: set[str] = set()
        """Paths whose edits were judged before they were made, since the session was opened."""
        self.head = ""

    @property
    def policy(self) -> RedGreenPolicy:
        """The policy of the session."""
        return self.ledger.policy

    def append(self, *events: e.RedGreenEvent) -> int:
        """Make events durable in one commit and fold them; the seq of the last."""
        first = self.ledger.seq + 1
        at_ms = max(self.world.now_ms(), self.ledger.now_ms)
        records = [e.RedGreenRecord(seq=first + n, at_ms=at_ms, event=event) for n, event in enumerate(events)]
        self.world.flush()
        self.head = self.world.log.append(records)
        for record in records:
            evolve(self.ledger, record)
            for path in _paths(record.event):
                self._expect(path, self.ledger.expected.get(path))
        return self.ledger.seq

    def _expect(self, path: str, entry: Entry | None) -> None:
        self._bindings = None
        if entry is None:
            self.expected.pop(path, None)
        else:
            self.expected[path] = entry

    # --- what stands in the tree ------------------------------------------------------------------------------------

    def content(self, entry: Entry) -> bytes:
        """Bytes of an entry of the tree; empty where they were too large to be kept."""
        try:
            return self.world.blobs.get(entry.digest)
        except KeyError:
            return b""

    @property
    def bindings(self) -> Bindings:
        """Bindings over the tree as the ledger has it."""
        if self._bindings is None:
            self._bindings = Bindings(self.policy, self.expected, self.content, self._shas)
        return self._bindings

    def fresh_tests(self) -> tuple[str, ...]:
        """Test files that were written in this session and not run since, or whose verdicts went with a revert."""
        written = (p for p, entry in self.ledger.expected.items() if entry and self.kind(p) == "test")
        fresh = (p for p in written if self._ran.get(p) != self.expected[p].digest and self.choose(p))
        unseen = (t.path for t, life in self.ledger.tests.items() if life.last is None and t.path in self.expected)
        return tuple(dict.fromkeys((*fresh, *unseen)))

    def choose(self, path: str) -> Project | None:
        """Who runs a test file; None for a file that is none, or nobody's."""
        return self.world.runners.project_of(path) if self.kind(path) == "test" else None

    def projects(self) -> tuple[Project, ...]:
        """All projects with tests."""
        return self.world.runners.projects(self.expected)

    def not_set_up(self, path: str) -> str:
        """That nobody can run the tests of `path`, in words."""
        known = ", ".join(project.words for project in self.projects()) or "none"
        return f"no test runner is set up for {path}; set up here: {known}"

    def note_run(self, paths: Iterable[str]) -> None:
        """These test files were run as they are."""
        self._ran.update((path, self.expected[path].digest) for path in paths if path in self.expected)

    def tree_sha(self) -> str:
        """Digest of the whole tree."""
        return digest_of(sorted((path, entry.digest, entry.mode) for path, entry in self.expected.items()))

    def kind(self, path: str) -> GuardedKind:
        """What kind of file a path is."""
        return kind_of(self.policy, path)

    # --- the gate ---------------------------------------------------------------------------------------------------

    def ask(self, tool: str, paths: Iterable[str], test: TestId | None = None, *, announced: bool = True) -> EditAsk:
        """The question to the gate, with what each red test depends on now."""
        wanted = tuple(dict.fromkeys(paths))
        tests = dict.fromkeys((*self.ledger.red, *((test,) if test else ())))
        runs = {t: life.red for t in tests if (life := self.ledger.tests.get(t)) and life.red}
        place = next((p for p in wanted if self.kind(p) == "production"), "")
        return EditAsk(
            tool=tool,
            paths=wanted,
            test=test,
            bindings={t: self.bindings.of_run(run) for t, run in runs.items()},
            test_path=self._proposed_test_path(place) if place else "",
            importers={p: self._importers(p) for p in wanted if p not in self.expected},
            announced=announced,
            takes_newest=self.takes_newest,
        )

    def _proposed_test_path(self, path: str) -> str:
        project = self.world.runners.project_of(path)
        return proposed_test_path(path, project.directory if project else "")

    def _importers(self, path: str) -> tuple[str, ...]:
        """Files edited in this turn that import `path` as they stand now."""
        edited = dict.fromkeys(edit.path for edit in self.ledger.turn.file_edits)
        there = ((p, entry) for p in edited if (entry := self.expected.get(p)) and entry.kind == "file")
        return tuple(p for p, entry in there if may_import(p, self.content(entry), path))

    def judge(self, tool: str, paths: Iterable[str], test: TestId | None = None) -> Licence | e.Refusal:
        """The verdict on an edit that is not made yet; a refusal is recorded."""
        ask = self.ask(tool, paths, test)
        verdict = judge_edit(self.ledger, ask, self.policy.mode)
        refusal = verdict if isinstance(verdict, e.Refusal) else verdict.would_refuse
        if refusal is not None:
            self.append(e.EditRefused(tool=tool, paths=ask.paths, refusal=refusal))
        else:
            self._announced.update(ask.paths)
        return verdict

    def refuse(self, tool: str, paths: Iterable[str], refusal: e.Refusal) -> e.Refusal:
        """Record a refusal that is not the gate's own: a path, a syntax, a size."""
        self.append(e.EditRefused(tool=tool, paths=tuple(paths), refusal=refusal))
        return refusal

    def claim(self, test: TestId, paths: Sequence[str]) -> e.EditClaim | e.Refusal:
        """Claim a red test for edits of `paths`."""
        verdict = judge_claim(self.ledger, self.ask("claim", paths, test))
        if isinstance(verdict, e.Refusal):
            return self.refuse("claim", paths, verdict)
        self.append(verdict)
        return verdict

    def edit(self, tool: str, writes: Sequence[Write], test: TestId | None = None) -> Applied | e.Refusal:
        """Judge an edit, record it and make it: all of its files or none."""
        self.settle(tool)
        broken = next((p for w in writes if (p := self._broken_syntax(w))), None)
        if broken is not None:
            return self.refuse(tool, [w.path for w in writes], broken)
        verdict = self.judge(tool, [w.path for w in writes], test)
        if isinstance(verdict, e.Refusal):
            return verdict
        changes = tuple(self._change(write) for write in writes)
        seq = self._apply(tool, changes, verdict)
        return self._write_out(tool, seq, changes, verdict)

    def _broken_syntax(self, write: Write) -> e.Refusal | None:
        """A Python file that parsed and would not any more: the end of the turn could only take it back."""
        before = self.expected.get(write.path)
        if write.data is None or write.link or not write.path.endswith(".py") or parse(write.data) is not None:
            return None
        if before is not None and parse(self.content(before)) is None:
            return None
        missing = f"{write.path} would not be valid Python any more"
        return e.Refusal(code="syntax", missing=missing, next_command="write it whole")

    def _change(self, write: Write) -> e.PathChange:
        before = self.expected.get(write.path)
        if write.data is None:
            return e.PathChange(path=write.path, before=before, after=None)
        digest = self.world.blobs.put(write.data)
        kept = before.mode if before and before.kind == "file" else 0o644
        mode = 0o777 if write.link else kept if write.mode is None else write.mode
        after = Entry(kind="symlink" if write.link else "file", mode=mode, digest=digest)
        return e.PathChange(path=write.path, before=before, after=after)

    def _apply(self, tool: str, changes: tuple[e.PathChange, ...], licence: Licence) -> int:
        applied = e.EditApplied(
            tool=tool, changes=changes, allowance=licence.allowance, red=licence.red, test=licence.test
        )
        return self.append(*licence.claims, applied)

    def _write_out(
        self, tool: str, seq: int, changes: tuple[e.PathChange, ...], licence: Licence
    ) -> Applied | e.Refusal:
        done = self.world.writer.restore({c.path: (c.before, c.after) for c in changes})
        if not done.refused:
            return Applied(seq, licence)
        first = done.refused[0]
        self.revert(
            tuple(e.FileEdit(edit=seq, path=c.path) for c in changes),
            tuple(e.PathChange(path=c.path, before=c.after, after=c.before) for c in changes),
            "not_written",
            message=f"{first.path}: {first.why} {first.detail}".strip(),
        )
        missing = f"{first.path} could not be written: {first.why} {first.detail}".strip()
        return self.refuse(tool, [c.path for c in changes], e.Refusal(code=first.why, missing=missing))

    def revert(
        self,
        edits: tuple[e.FileEdit, ...],
        changes: tuple[e.PathChange, ...],
        why: Why,
        because: tuple[TestId, ...] = (),
        message: str = "",
    ) -> tuple[str, ...]:
        """Record a revert and make it; paths that could not be put back, each with why."""
        self.append(e.EditReverted(edits=edits, why=why, changes=changes, because=because, message=message[:1_000]))
        done = self.world.writer.restore({c.path: (c.before, c.after) for c in changes})
        return tuple(f"{r.path}: {r.why} {r.detail}".strip() for r in done.refused)

    # --- what was written by other ways -----------------------------------------------------------------------------

    def settle(self, tool: str, *, afresh: bool = False) -> Settled:
        """Scan the tree: each change is judged as the edit it is, or taken back as an unclaimed write."""
        scan = self.world.scanner.scan(afresh=afresh)
        changes = diff(self.expected, scan.entries)
        settled = Settled(problems=[f"{c.path}: {c.after.why}" for c in changes if isinstance(c.after, Unreadable)])
        if any(isinstance(problem, LeftAside) for problem in scan.problems):  # nothing of ours is being written now
            settled.problems += [f"{path}: a name of the gate's own, removed" for path in self.world.writer.sweep()]
        readable = [c for c in changes if not isinstance(c.after, Unreadable)]
        if self.policy.mode == "off":
            self._let_through(tool, readable, Licence(allowance="off"), settled)
            return settled
        guarded = [c for c in readable if self.kind(c.path) in ("production", "protected")]
        free = [c for c in readable if self.kind(c.path) in ("test", "control")]
        self._let_through(tool, free, Licence(allowance="free"), settled)
        exempt = [c for c in readable if self.kind(c.path) == "exempt"]
        self._let_through(tool, exempt, Licence(allowance="exempt"), settled)
        unclaimed = [(c, why) for c in guarded if (why := self._judge_change(tool, c, settled))]
        self._quarantine(tool, unclaimed, settled)
        return settled

    def adopt(self, why: str) -> None:
        """Take the tree as it is: what differs from the ledger is recorded, and stays."""
        changes = [c for c in diff(self.expected, self.world.scanner.scan().entries) if _is_known(c)]
        if changes:
            patch = self.world.blobs.put(to_patch(tuple(changes), self.world.blobs))
            found = tuple(map(_path_change, changes))
            self.append(e.UnclaimedWrite(tool="opening", changes=found, patch=patch, is_restored=False, why=why))

    def _judge_change(self, tool: str, change: Change, settled: Settled) -> str:
        """Let it through, or say why not."""
        verdict = judge_edit(self.ledger, self._ask_after(tool, change.path), self.policy.mode)
        is_other = isinstance(change.after, Entry) and change.after.kind == "other"
        if isinstance(verdict, Licence) and verdict.allowance != "warn" and not is_other:
            self._let_through(tool, [change], verdict, settled)
            return ""
        refusal = verdict if isinstance(verdict, e.Refusal) else verdict.would_refuse
        return refusal.code if refusal else "no_file"

    def _ask_after(self, tool: str, path: str) -> EditAsk:
        """The question about a write that was found."""
        return self.ask(tool, [path], announced=path in self._announced)

    def _let_through(self, tool: str, changes: Sequence[Change], licence: Licence, settled: Settled) -> None:
        if changes:
            self._apply(tool, tuple(map(_path_change, changes)), licence)
            settled.edits += [change.path for change in changes]

    def _quarantine(self, tool: str, unclaimed: Sequence[tuple[Change, str]], settled: Settled) -> None:
        """Keep what was written as a patch; in strict mode take it back, all at once: one may be in another's way."""
        is_strict = self.policy.mode == "strict"
        writes = [self._unclaimed(tool, change, why, is_restored=is_strict) for change, why in unclaimed]
        if not writes:
            return
        self.append(*writes)
        settled.unclaimed += writes
        if is_strict:
            found = {c.path: (_path_change(c).after, self.expected.get(c.path)) for c, _ in unclaimed}
            done = self.world.writer.restore(found)
            settled.problems += [f"{r.path}: {r.why} {r.detail}".strip() for r in done.refused]

    def _unclaimed(self, tool: str, change: Change, why: str, *, is_restored: bool) -> e.UnclaimedWrite:
        after = change.after
        if isinstance(after, Entry) and after.kind == "file" and not self.world.blobs.has(after.digest):
            keep_whole(self.world.launcher.top, change.path, self.world.launcher.scratch.parent / "quarantine")
        patch = self.world.blobs.put(to_patch((change,), self.world.blobs))
        found = (_path_change(change),)
        return e.UnclaimedWrite(tool=tool, changes=found, patch=patch, is_restored=is_restored, why=why)

    # --- the end ----------------------------------------------------------------------------------------------------

    def seal(self) -> LedgerSealed:
        """What goes into the run's log with the turn's result."""
        counts = self.ledger.counts
        told = {name: getattr(counts, name) for name in counts.__dataclass_fields__ if name != "unclaimed"}
        return LedgerSealed(
            session=self.ledger.session,
            head=self.head,
            mode=self.policy.mode,
            counts={name: number for name, number in told.items() if number},
            violations=counts.unclaimed,
        )

    async def close(self) -> None:
        """End the runners and the log."""
        await self.world.runners.close()
        self.world.log.close()


def begin(world: GateWorld, session: str, policy: RedGreenPolicy, scan: Scan) -> GateSession:
    """A session over a fresh ledger."""
    opened = GateSession(world, Ledger())
    opened.expected = scan.readable
    tree = world.blobs.put(msgspec.json.encode(scan.readable, order="deterministic"))
    started = e.SessionOpened(session=session, version=__version__, policy=policy, tree=tree)
    opened.append(started, e.TurnBegan(turn=1))
    return opened


def read_tree(blobs: Blobs, digest: str) -> dict[str, Entry]:
    """The tree that a blob of a ledger names."""
    return _tree_decoder.decode(blobs.get(digest))


def proposed_test_path(path: str, project: str = "") -> str:
    """Where a test of a production file would go, by the habits of its language. `project`: its directory."""
    directory, _, name = path.rpartition("/")
    stem, _, suffix = name.rpartition(".")
    if suffix in ("js", "jsx", "ts", "tsx", "mjs", "cjs"):
        return f"{directory}/{stem}.test.{suffix}".lstrip("/")
    if suffix == "rs":
        return f"{f'/{path}'.partition('/src/')[0]}/tests/{stem}.rs".lstrip("/")
    if suffix == "go":
        return f"{directory}/{stem}_test.go".lstrip("/")
    return f"{project}/tests/test_{(stem or name).lstrip('_') or 'it'}.py".lstrip("/")


def _paths(event: e.RedGreenEvent) -> tuple[str, ...]:
    if isinstance(event, e.EditApplied | e.EditReverted):
        return tuple(change.path for change in event.changes)
    if isinstance(event, e.UnclaimedWrite) and not event.is_restored:
        return tuple(change.path for change in event.changes)
    return ()


def _path_change(change: Change) -> e.PathChange:
    assert not isinstance(change.after, Unreadable)
    return e.PathChange(path=change.path, before=change.before, after=change.after)


def _is_known(change: Change) -> bool:
    return not isinstance(change.after, Unreadable)
