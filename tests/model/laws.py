"""The laws that the core can be held to, checked after every record.

A law reads the records as an outsider would, from a `Book` of its own, so that it does not trust the fold that it
judges. `S21` alone compares the state with itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from penstock.core import events as e
from penstock.core.state import State
from penstock.core.tickets import KINDS_THAT_TELL_NOTHING, CommandCriterion, TestCriterion
from penstock.core.verdicts import Evidence
from tests.model.account import ACTIVE, TERMINAL, Account, Book
from tests.model.indexes import differences

Complaints = Iterator[str]
LEADS_TO = {
    "waiting": "ready held canceled done",
    "ready": "working done held failed canceled",
    "working": "verifying backoff held failed canceled",
    "verifying": "landing fixing working backoff held failed canceled",
    "fixing": "verifying backoff held failed canceled",
    "landing": "done verifying fixing backoff held canceled",
    "backoff": "working verifying fixing landing failed held canceled",
    "held": "waiting ready working verifying fixing landing canceled",
    "done": "",
    "failed": "",
    "canceled": "",
}
FIELDS = ("tokens", "micro_dollars", "agent_ms", "gate_ms")


class Broken(AssertionError):
    """A law does not hold after a record."""


Law = Callable[[Book, e.Record], Complaints]


def S01_only_allowed_transitions(book: Book, record: e.Record) -> Complaints:
    if isinstance(record.event, e.TicketMoved):
        here = book.tickets[record.event.ticket].state
        if record.event.to not in LEADS_TO[here].split():
            yield f"{here} does not lead to {record.event.to}"


def S02_no_work_before_its_dependencies(book: Book, record: e.Record) -> Complaints:
    event = record.event
    starts = isinstance(event, e.TicketMoved) and event.to in ("ready", *ACTIVE)
    if isinstance(event, e.TicketMoved | e.JobOwed) and event.ticket and (starts or isinstance(event, e.JobOwed)):
        for needed in book.tickets[event.ticket].ticket.depends_on:
            if needed in book.tickets and book.tickets[needed].state != "done":
                yield f"{needed} is {book.tickets[needed].state}"


def S03_the_window(book: Book, record: e.Record) -> Complaints:
    event, top = record.event, book.policy.limits.window_max
    if isinstance(event, e.WindowChanged) and not 1 <= event.size <= max(1, top):
        yield f"a window of {event.size}"
    if isinstance(event, e.TicketMoved) and event.to == "working" and book.tickets[event.ticket].state == "ready":
        others = [a for a in book.at_work() if a.ticket.id != event.ticket]
        if len(others) >= book.window:
            yield f"{len(others)} at work in a window of {book.window}"
    if isinstance(event, e.JobUnwanted):
        job = book.jobs[event.key]
        if not (book.draining or (job.ticket and book.tickets[job.ticket].cancel)):
            yield "a job is stopped that nobody asked to stop"


def S04_unverified_work_is_bounded(book: Book, record: e.Record) -> Complaints:
    event, limits = record.event, book.policy.limits
    if isinstance(event, e.JobOwed) and isinstance(event.order, e.TurnOrder) and event.order.role == "build":
        waiting = [a.unverified for a in book.tickets.values() if a.unverified is not None]
        if len(waiting) >= limits.unverified_diffs_max or sum(waiting) >= limits.unverified_lines_max:
            yield f"{len(waiting)} diffs of {sum(waiting)} lines wait for a verdict"
    if isinstance(event, e.TicketMoved) and event.to == "verifying":
        account = book.tickets[event.ticket]
        if account.state == "working" and account.turn and account.turn.lines > limits.turn_diff_lines_max:
            yield f"a diff of {account.turn.lines} lines is taken"


def S05_one_attempt_and_one_job_a_key(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if isinstance(event, e.AttemptStarted):
        account = book.tickets[event.ticket]
        if account.attempt_live or event.attempt != account.attempt + 1:
            yield f"attempt {event.attempt} after {account.attempt}"
        if event.attempt > book.policy.limits.attempts_per_ticket_max:
            yield f"attempt {event.attempt} is over the cap"
    if isinstance(event, e.JobOwed) and isinstance(event.order, e.TurnOrder):
        account = book.tickets[event.order.ticket]
        if not account.attempt_live or event.order.attempt != account.attempt:
            yield "a turn outside a live attempt"
        if any(isinstance(book.jobs[key].order, e.TurnOrder) for key in account.live):
            yield "two turns of one ticket at one time"


def S06_budgets(book: Book, record: e.Record) -> Complaints:
    """Field by field: what a start needs must fit."""
    event = record.event
    if not isinstance(event, e.JobOwed):
        return
    taken = book.spent.plus(book.reserved).plus(event.reserved)
    levels = [(book.policy.budget.run, taken, book.raised)]
    if event.ticket:
        account = book.tickets[event.ticket]
        mine = account.spent.plus(account.reserved).plus(event.reserved)
        levels += [(caps, mine, account.raised) for caps in (book.policy.budget.ticket, account.ticket.budget)]
    for caps, amount, raised in levels:
        for field in FIELDS:
            cap = getattr(caps, field)
            needed, taken_so = getattr(event.reserved, field), getattr(amount, field)
            if needed and cap is not None and taken_so > cap + getattr(raised, field):
                yield f"{field}: {taken_so} > {cap}"


def S07_retries_have_caps(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if isinstance(event, e.TicketMoved) and event.cause is not None and event.to not in (*TERMINAL, "held"):
        account, cap = book.tickets[event.ticket], book.policy.retries[event.cause].cap
        if account.retries[event.cause] >= cap:
            yield f"{event.cause} number {account.retries[event.cause] + 1} of {cap}"


def S08_redness_holds_back(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if isinstance(event, e.JobOwed) and isinstance(event.order, e.TurnOrder):
        state = book.tickets[event.order.ticket].state
        if {"build": "working", "fix": "fixing"}[event.order.role] != state:
            yield f"a {event.order.role} turn in {state}"
    if isinstance(event, e.TicketMoved) and event.to == "working" and book.tickets[event.ticket].state == "ready":
        red = book.red_gates()
        if red and book.policy.baseline == "must_pass" and event.ticket not in repairing(book, red):
            yield f"{sorted(red)} are red on trunk"


def repairing(book: Book, red: set[str]) -> set[str]:
    todo = [a.ticket for a in book.tickets.values() if red & set(a.ticket.repairs)]
    found = {t.id for t in todo}
    while todo:
        for needed in todo.pop().depends_on:
            if needed not in found and needed in book.tickets:
                found.add(needed)
                todo.append(book.tickets[needed].ticket)
    return found


def S09_no_builder_before_its_gate(book: Book, record: e.Record) -> Complaints:
    """Back to work only where every required gate has seen the candidate."""
    event = record.event
    if not isinstance(event, e.TicketMoved) or event.to != "working":
        return
    account = book.tickets[event.ticket]
    if account.state == "verifying":
        if account.candidate is None:
            yield "no candidate"
        elif any(not book.saw(gate, "lands", account.candidate.tree) for gate in account.gates):
            yield "a gate that is due did not run"


def S10_done_needs_evidence(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if not isinstance(event, e.TicketMoved) or event.to != "done":
        return
    account = book.tickets[event.ticket]
    ticket = account.ticket
    if account.found or account.landed:
        return  # what landed is judged by S11, where it was let through
    green = [book.is_green(ticket, n, book.trunk_tree) for n in range(len(ticket.acceptance))]
    named = [c for c in ticket.acceptance if isinstance(c, TestCriterion | CommandCriterion)]
    if not named or not all(green):
        yield "nothing shows that it was satisfied already"
    if account.turns:
        yield "a turn was spent on what was satisfied"


def S11_what_lands_has_evidence(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if not isinstance(event, e.JobOwed) or not isinstance(event.order, e.LandOrder):
        return
    account = book.tickets[event.order.ticket]
    candidate, ticket = account.candidate, account.ticket
    if candidate is None or candidate.tree != event.order.tree or not account.gates:
        yield "not the candidate that was verified"
        return
    for gate in account.gates:
        seen = book.saw(gate, "lands", candidate.tree, candidate.base_tree)[-1:]
        if not seen or not may_count(book, account, seen[0]):
            yield f"{gate} did not pass on this tree"
    for n in range(len(ticket.acceptance)):
        if not book.is_green(ticket, n, candidate.tree):
            yield f"criterion {n + 1} is not green"


def may_count(book: Book, account: Account, seen: Evidence) -> bool:
    """S13: only a pass is a pass; approved where a person decides; no worse than a base that is red as well."""
    assert account.candidate is not None
    if seen.verdict == "pending":
        return any(a.tree == account.candidate.tree and a.gate in (None, seen.gate) for a in account.approvals)
    if seen.verdict == "fail":
        base = [s for s in book.plain(account.candidate.base_tree, seen.gate) if s.verdict == "fail"][-1:]
        return bool(base) and not seen.missing and reds(seen) <= reds(base[0])
    return seen.verdict == "pass"


def reds(seen: Evidence) -> int:
    return 0 if seen.counts is None else seen.counts.red + seen.counts.error


def S12_trunk_moves_by_compare_and_swap(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if isinstance(event, e.JobOwed) and isinstance(event.order, e.LandOrder):
        candidate = book.tickets[event.order.ticket].candidate
        if candidate is None or (event.order.commit, event.order.expected) != (candidate.commit, candidate.base):
            yield "not from the tested base to the verified candidate"
        elif event.order.expected != book.trunk:
            yield "trunk is elsewhere"
        if any(isinstance(job.order, e.LandOrder) for job in book.jobs.values()):
            yield "two landings at one time"


def S13_broken_is_not_red(book: Book, record: e.Record) -> Complaints:
    """A fix is spent on a broken gate only where base was seen to run it."""
    event = record.event
    if not isinstance(event, e.TicketMoved) or event.to != "fixing" or event.cause != "candidate_broke_gate":
        return
    for seen in (book.seqs[seq] for seq in event.evidence):
        tree = book.tickets[event.ticket].candidate
        base = book.saw(seen.gate, "control", tree.base_tree if tree else "")
        if seen.verdict == "broken" and not any(b.verdict in ("pass", "fail") for b in base):
            yield f"{seen.gate} was not seen to run on base"


def S15_each_key_starts_once(book: Book, record: e.Record) -> Complaints:
    if isinstance(record.event, e.JobOwed) and record.event.key in book.keys:
        yield f"{record.event.key} again"


def S16_the_log_is_in_order(book: Book, record: e.Record) -> Complaints:
    if record.seq != book.seq + 1:
        yield f"{record.seq} after {book.seq}"
    if record.at_ms < book.at_ms:
        yield f"{record.at_ms} ms after {book.at_ms} ms"


def S17_base_judges_too(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if not isinstance(event, e.JobOwed) or not isinstance(event.order, e.LandOrder):
        return
    account = book.tickets[event.order.ticket]
    candidate = account.candidate
    if candidate is not None and candidate.weakened:
        yield f"weakens {candidate.weakened}"
    if candidate is not None and candidate.judge_tree:
        for gate in account.gates:
            if not any(s.verdict == "pass" for s in book.saw(gate, "judge", candidate.judge_tree)):
                yield f"base's judge did not pass: {gate}"


def S18_resources_have_capacities(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if not isinstance(event, e.TicketMoved) or event.to not in ACTIVE:
        return
    account = book.tickets[event.ticket]
    if account.state in ACTIVE:
        return
    others = [a for a in book.tickets.values() if a.state in ACTIVE]
    for resource in account.ticket.resources:
        used = sum(resource in a.ticket.resources for a in others)
        if used + 1 > book.policy.resources.get(resource, 1):
            yield f"{resource} is used {used + 1} times"
    for other in others:
        if set(other.ticket.scope) & set(account.ticket.scope):
            yield f"{other.ticket.id} works on the same files"


def S19_the_cancelled_start_nothing(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if isinstance(event, e.JobOwed | e.AttemptStarted) and event.ticket and book.tickets[event.ticket].cancel:
        yield f"{event.ticket} is cancelled"


def S20_nothing_unmerged_is_forgotten(book: Book, record: e.Record) -> Complaints:
    """What a turn made and we refuse names the ref that keeps it."""
    event = record.event
    if isinstance(event, e.Refused) and event.kind in ("expansion", "protected", "turn_too_large"):
        turn = book.tickets[event.ticket].turn
        if turn is not None and turn.salvage != event.salvage:
            yield f"{turn.salvage} is not named"


def S22_finished_is_proven(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if book.concluded is not None and not isinstance(event, e.ReportSealed | e.RunFinished):
        yield "something stands between the conclusion and the end"
    if isinstance(event, e.ReportSealed) and event.n != book.seq:
        yield "the report does not cover the log"
    if isinstance(event, e.RunFinished) and (book.sealed != book.seq or book.sealed == 0):
        yield "not sealed"
    if isinstance(event, e.RunConcluded):
        yet = [a.ticket.id for a in book.tickets.values() if a.state not in TERMINAL]
        if event.outcome == "finished" and (yet or book.jobs or not book.tickets):
            yield f"{yet} are open, {list(book.jobs)} in flight"
        if event.outcome == "finished" and not all(c.holds for c in event.clauses):
            yield "a clause does not hold"
        if book.jobs:
            yield f"{list(book.jobs)} in flight"
        if {w.ticket for w in event.open} != set(yet) or not all(w.what for w in event.open):
            yield "not every open ticket says what it waits for"


def S26_something_told(book: Book, record: e.Record) -> Complaints:
    event = record.event
    if not isinstance(event, e.JobOwed) or not isinstance(event.order, e.LandOrder):
        return
    account = book.tickets[event.order.ticket]
    candidate, ticket = account.candidate, account.ticket
    assert candidate is not None
    if ticket.kind in KINDS_THAT_TELL_NOTHING or any(a.tree == candidate.tree for a in account.approvals):
        return
    witnessed = any(
        s.verdict == "pass"
        for g in book.policy.gates
        for s in book.saw(g.name, "witness", candidate.witness_tree, candidate.base_tree)
    )
    told = any(not book.is_green(ticket, n, account.unmet_on) for n in range(len(ticket.acceptance)))
    if not witnessed and not told:
        yield "nothing told that it was not there before"


LAWS: tuple[Law, ...] = (
    S01_only_allowed_transitions,
    S02_no_work_before_its_dependencies,
    S03_the_window,
    S04_unverified_work_is_bounded,
    S05_one_attempt_and_one_job_a_key,
    S06_budgets,
    S07_retries_have_caps,
    S08_redness_holds_back,
    S09_no_builder_before_its_gate,
    S10_done_needs_evidence,
    S11_what_lands_has_evidence,
    S12_trunk_moves_by_compare_and_swap,
    S13_broken_is_not_red,
    S15_each_key_starts_once,
    S16_the_log_is_in_order,
    S17_base_judges_too,
    S18_resources_have_capacities,
    S19_the_cancelled_start_nothing,
    S20_nothing_unmerged_is_forgotten,
    S22_finished_is_proven,
    S26_something_told,
)


class Laws:
    """Call it with each record and the state after it; it raises `Broken`, naming the law."""

    def __init__(self, indexes_every: int = 1) -> None:
        self.book = Book()
        self._indexes_every = indexes_every

    def __call__(self, record: e.Record, state: State) -> None:
        for law in LAWS:
            for complaint in law(self.book, record):
                raise Broken(f"{law.__name__} at seq {record.seq}: {complaint} [{record.event}]"[:2_000])
        self.book.write(record)
        if record.seq % self._indexes_every == 0:
            for difference in differences(state):
                raise Broken(f"S21 at seq {record.seq}: {difference}")
