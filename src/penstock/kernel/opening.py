"""Opens a session: begins a ledger, or goes on with one that a crash left, and makes the tree what it says.

After a kill the tree may be one step behind the ledger, or inside a trial. What stands there then is content that the
ledger itself named for that path, and is led to where it must be without a word. Anything else was written by somebody
while nobody looked, and is judged as that.
"""

from __future__ import annotations

from penstock.core.redgreen import events as e
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.ledger import Ledger, evolve
from penstock.core.redgreen.policy import RedGreenPolicy
from penstock.kernel.closing import end_turn
from penstock.kernel.runs import TestDesk
from penstock.kernel.session import GateSession, GateWorld, begin, read_tree
from penstock.kernel.tree.entry import diff


async def open_session(
    world: GateWorld, session: str, policy: RedGreenPolicy, *, adopts: bool = False
) -> tuple[GateSession, TestDesk]:
    """A session ready for use, and its desk for test runs. A turn that was closing is closed first.

    `adopts`: what was written while no gate was there stays, and is recorded; else it is judged like any other write.

    Raises `Corrupt` where the ledger's bytes do not chain.
    """
    world.writer.sweep()
    seq, head = world.log.head()
    if seq == 0:
        opened = begin(world, session, policy, world.scanner.scan(afresh=True))
        return opened, TestDesk(opened)
    opened = GateSession(world, Ledger())
    opened.head = head
    known = _replay(opened)
    _make_whole(opened, known)
    if adopts:
        opened.adopt("while no gate was there")
    opened.settle("opening", afresh=True)
    desk = TestDesk(opened)
    if opened.ledger.turn.is_closing:
        await end_turn(opened, desk)
    return opened, desk


def _replay(session: GateSession) -> dict[str, list[Entry | None]]:
    """Fold the ledger; every content that it names, by path."""
    known: dict[str, list[Entry | None]] = {}
    for record in session.world.log.read():
        evolve(session.ledger, record)
        if isinstance(record.event, e.EditApplied | e.EditReverted):
            for change in record.event.changes:
                known.setdefault(change.path, []).extend((change.before, change.after))
    session.expected = read_tree(session.world.blobs, session.ledger.tree)
    for path, entry in session.ledger.expected.items():
        session.expected.pop(path, None)
        if entry is not None:
            session.expected[path] = entry
    return known


def _make_whole(session: GateSession, known: dict[str, list[Entry | None]]) -> None:
    seen = session.world.scanner.scan(afresh=True).entries
    behind: dict[str, tuple[Entry | None, Entry | None]] = {}
    for change in diff(session.expected, seen):
        after = change.after
        if (after is None or isinstance(after, Entry)) and after in known.get(change.path, []):
            behind[change.path] = (after, change.before)
    session.world.writer.restore(behind)
