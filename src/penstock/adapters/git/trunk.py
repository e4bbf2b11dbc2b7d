"""The target branch: where it is, and the one way to move it.

Every change of a ref in the user's repository is one `update-ref --stdin` transaction. It verifies the fence, a ref
whose blob only the last writer knows, so that a writer that slept through a take-over moves nothing; and it names the
position it expects, so that nothing is moved that somebody else has moved.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass

from penstock.adapters.git.commands import EVERY_STATUS, Git, GitFailed, users_environment
from penstock.adapters.git.repository import RepositoryFacts, repository_git
from penstock.adapters.git.store import NO_OBJECT, Store
from penstock.core.digest import Digest
from penstock.core.events import LandEnded, LandOrder, TrunkPosition
from penstock.core.paths import control_digest
from penstock.core.policy import FileClasses, Landing
from penstock.ports import BadInput, Fenced, Problem

FENCE = "refs/penstock/fence"
TICKET_TRAILER = "Penstock-Ticket"
_DONE = re.compile(r"^(?P<ticket>\S+) (?P<digest>[0-9a-f]{64})$")


@dataclass(frozen=True)
class _Refs:
    """Positions in the user's repository; empty where there is no such ref."""

    landing: str
    target: str
    fence: str


class GitTrunk:
    """`ports.Trunk` on the user's repository.

    `files` are the file classes with the scripts of all gates among the control files. `landing_ref` is given when a
    run is resumed; otherwise it is found out: the target itself, or `penstock/TARGET` where that is checked out.
    """

    def __init__(
        self, facts: RepositoryFacts, store: Store, landing: Landing, files: FileClasses, landing_ref: str = ""
    ) -> None:
        self._facts = facts
        self._store = store
        self._follows = landing.follow
        self._files = files
        self._git = repository_git(facts)
        self._target = f"refs/heads/{facts.target}"
        self._landing_ref = landing_ref
        self._fence = ""
        self._position: TrunkPosition | None = None

    async def landing_ref(self) -> str:
        """Full name of the ref that proven work lands on; the same for the whole run."""
        if not self._landing_ref:
            checked_out = await self._checked_out()
            beside = f"refs/heads/penstock/{self._facts.target}"
            self._landing_ref = beside if self._target in checked_out else self._target
        return self._landing_ref

    async def observe(self) -> TrunkPosition:
        """Where the landing ref is, made or brought forward to the target where it is behind. Raises `BadInput`."""
        refs = await self._refs()
        if not refs.landing or refs.landing != refs.target:
            refs = await self._catch_up(refs)
        if self._position is None or self._position.commit != refs.landing:
            self._position = await self._position_at(refs.landing)
        return self._position

    async def take_fence(self, epoch: int) -> None:
        """Move the fence: earlier writers can move no ref any more. Raises `Fenced` where two do so at once."""
        text = f"epoch {epoch}\n{secrets.token_hex(16)}\n"
        fence = (await self._git.run("hash-object", "-w", "--stdin", stdin=text.encode())).text
        before = (await self._refs()).fence
        if await self._transact(f"update {FENCE} {fence} {before or NO_OBJECT}"):
            raise Fenced("another writer takes this repository over at the same moment")
        self._fence = fence

    async def land(self, order: LandOrder) -> LandEnded:
        """Move the landing ref from `order.expected` to `order.commit`. Raises `Fenced`."""
        ref = await self.landing_ref()
        refs = await self._refs()
        if not self._fence or refs.fence != self._fence:
            raise Fenced("another writer took this repository over")
        message = ""
        if refs.landing == order.expected:
            message = await self._move(ref, order)
            refs = await self._refs()
            if refs.fence != self._fence:
                raise Fenced("another writer took this repository over")
        return await self._ended(order, refs.landing, message)

    async def done_tickets(self) -> dict[tuple[str, Digest], str]:
        """The newest commit by (ticket id, revision digest), from the trailers of all that the landing ref reaches."""
        refs = await self._refs()
        shape = f"--format=%H%x1f%(trailers:key={TICKET_TRAILER},valueonly,unfold,separator=%x1f)%x1e"
        end = await self._git.run(
            "log", "--no-color", f"--grep=^{TICKET_TRAILER}: ", shape, refs.landing or refs.target, "--"
        )
        done: dict[tuple[str, Digest], str] = {}
        for record in end.text.split("\x1e"):
            commit, *values = record.strip("\n").split("\x1f")
            for found in filter(None, map(_DONE.match, values)):
                done.setdefault((found["ticket"], found["digest"]), commit)
        return done

    async def follow(self) -> str:
        """Fast-forward the checkout of the target where that is wanted and harmless; else the command for it, or ''."""
        refs = await self._refs()
        if refs.landing in ("", refs.target):
            return ""
        short = (await self.landing_ref()).removeprefix("refs/heads/")
        checkout = (await self._checked_out()).get(self._target)
        if self._follows and checkout and await self._advance(checkout, refs):
            return ""
        is_ahead = await self._is_ancestor(refs.target, refs.landing) if refs.target else False
        return f"git merge --ff-only {short}" if is_ahead else f"git merge {short}"

    async def _advance(self, checkout: str, refs: _Refs) -> bool:
        """Fast-forward, with the user's own settings: line endings and filters are those of the checkout."""
        users = Git("-C", checkout, environment=users_environment())
        status = await users.run("status", "--porcelain", "--untracked-files=no", ok=EVERY_STATUS)
        if status.status or status.stdout or not await self._is_ancestor(refs.target, refs.landing):
            return False
        return (await users.run("merge", "--ff-only", "--quiet", refs.landing, ok=EVERY_STATUS)).status == 0

    async def _move(self, ref: str, order: LandOrder) -> str:
        """Try to; what git said where it could not."""
        if place := (await self._checked_out()).get(ref):
            return f"{ref} is checked out at {place}: a branch is never moved under a checkout"
        fetch = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        try:
            await self._git.run(*fetch, str(self._store.path), order.commit)
            refusal = await self._transact(f"update {ref} {order.commit} {order.expected}")
            if not refusal:
                await self._store.keep(ref, order.commit)
        except GitFailed as error:
            return str(error)
        return refusal

    async def _ended(self, order: LandOrder, landing: str, message: str) -> LandEnded:
        if not landing:
            return LandEnded(key="", outcome="failed", message=message or "the landing branch is gone")
        if landing == order.commit:
            return LandEnded(key="", outcome="landed", position=await self._position_at(landing))
        if landing == order.expected:
            return LandEnded(key="", outcome="failed", message=message or "git refused to move the branch")
        position = await self._position_at(landing)
        return LandEnded(key="", outcome="moved", position=position, message=f"trunk is at {landing}")

    async def _transact(self, change: str) -> str:
        """One transaction of one change under the fence; what git said where it refused."""
        verify = f"verify {FENCE} {self._fence}\n" if self._fence and FENCE not in change else ""
        script = f"start\n{verify}{change}\nprepare\ncommit\n"
        switches = ("-m", "penstock", "--no-deref", "--stdin")
        end = await self._git.run("update-ref", *switches, stdin=script.encode(), ok=EVERY_STATUS)
        return "" if end.status == 0 else end.stderr.strip() or "git refused to move the ref"

    async def _refs(self) -> _Refs:
        names = (await self.landing_ref(), self._target, FENCE)
        listing = await self._git.run("for-each-ref", "--format=%(refname) %(objectname)", *names)
        at = dict(line.split(" ") for line in listing.text.splitlines())
        landing, target, fence = (at.get(name, "") for name in names)
        return _Refs(landing=landing, target=target, fence=fence)

    async def _catch_up(self, refs: _Refs) -> _Refs:
        """Bring the landing ref to a target that is ahead of it. The target behind it is what landing makes."""
        ref = await self.landing_ref()
        if not refs.target:
            raise self._bad(f"the branch `{self._facts.target}` is gone", f"git branch {self._facts.target} {ref}")
        if refs.landing and await self._is_ancestor(refs.target, refs.landing):
            return refs
        if refs.landing and not await self._is_ancestor(refs.landing, refs.target):
            short = ref.removeprefix("refs/heads/")
            raise self._bad(f"`{self._facts.target}` and `{short}` have diverged", f"git merge {short}")
        if place := (await self._checked_out()).get(ref):
            raise self._bad(f"`{ref}` is checked out at {place}", f"git -C {place} switch {self._facts.target}")
        await self._transact(f"update {ref} {refs.target} {refs.landing or NO_OBJECT}")
        return await self._refs()

    def _bad(self, message: str, command: str) -> BadInput:
        return BadInput(
            [Problem(file=self._facts.top, line=0, field="landing.target", message=message, fix=f"`{command}`")]
        )

    async def _is_ancestor(self, old: str, new: str) -> bool:
        return (await self._git.run("merge-base", "--is-ancestor", old, new, ok=(0, 1))).status == 0

    async def _position_at(self, commit: str) -> TrunkPosition:
        if not await self._store.has(commit):
            await self._store.sync()
        entries = await self._store.entries(commit)
        return TrunkPosition(
            commit=commit,
            tree=await self._store.tree_of(commit),
            control_digest=control_digest(self._files, {path: entry.oid for path, entry in entries.items()}),
        )

    async def _checked_out(self) -> dict[str, str]:
        """Path of the working tree by full name of the branch that is checked out there."""
        listing = await self._git.run("worktree", "list", "--porcelain", "-z")
        places: dict[str, str] = {}
        for record in listing.text.split("\0\0"):
            fields = dict(line.partition(" ")[::2] for line in record.split("\0"))
            if "branch" in fields:
                places[fields["branch"]] = fields["worktree"]
        return places
