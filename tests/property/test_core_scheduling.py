"""Who starts next, against a plain reading of the rules."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from penstock.core import events as e
from penstock.core.paths import matches
from penstock.core.policy import RetryRule
from penstock.core.retries import backoff_ms
from penstock.core.scheduling import scopes_overlap
from penstock.core.state import State, TicketRun
from tests.model.world import World, limits, ticket
from tests.model.world import given as given_world

PARTS = st.sampled_from(["a", "b", "ab", "*", "**", "a*", "?", "a.py", "*.py", "[ab]"])
GLOBS = st.builds(
    lambda lead, parts, tail: lead + "/".join(parts) + tail,
    st.sampled_from(["", "/"]),
    st.lists(PARTS, min_size=1, max_size=3),
    st.sampled_from(["", "/"]),
)
PATHS = st.lists(st.sampled_from(["a", "b", "ab", "a.py", "b.py"]), min_size=1, max_size=4).map("/".join)


@settings(max_examples=800, deadline=None, derandomize=True)
@given(GLOBS, GLOBS, PATHS)
def test_globs_that_match_one_path_overlap(one: str, other: str, path: str) -> None:
    if matches((one,), path) and matches((other,), path):
        assert scopes_overlap((one,), (other,)), path


def test_some_globs_do_not_overlap() -> None:
    assert not scopes_overlap(("src/a.py", "src/b/**"), ("src/c.py", "docs/**"))
    assert not scopes_overlap((), ("src/**",))


@given(st.integers(0, 40), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000))
@settings(deadline=None, derandomize=True)
def test_a_backoff_is_bounded_by_its_rule_and_its_floor(count: int, base: int, most: int, floor: int) -> None:
    state = State(seed=count)
    rule = RetryRule(cap=99, backoff_base_ms=base, backoff_max_ms=most)
    state.policy = given_world(retries={"lost": rule}).policy
    run = TicketRun(ticket=ticket("A"), retries={"lost": count})
    waited = backoff_ms(state, run, "lost", floor)
    assert floor <= waited <= max(floor, most, 0)


def two_chains(bypass_ms: int) -> World:
    """X needs both resources; two chains of tickets out of step never leave both of them free."""
    tickets = [ticket("X", resources=("db", "gpu"))]
    for resource in ("db", "gpu"):
        for n in range(12):
            before = (f"{resource}{n - 1:02}",) if n else ()
            tickets.append(
                ticket(f"{resource}{n:02}", priority=0 if n == 0 else 2, depends_on=before, resources=(resource,))
            )
    world = given_world(*tickets, limits=limits(window_start=3, bypass_ms_max=bypass_ms))
    for n in range(12):
        world.slow(f"gpu{n:02}", 90_000)
    return world


def start_of_x(world: World) -> int:
    start = next(
        r.at_ms
        for r in world.records
        if isinstance(r.event, e.TicketMoved) and r.event.ticket == "X" and r.event.to == "working"
    )
    return start - world.records[0].at_ms


def test_L02_one_that_wants_two_resources_is_not_passed_over_for_ever() -> None:
    """Without the bound it comes last of all; with it, soon after."""
    bound = 200_000
    bounded, unbounded = start_of_x(two_chains(bound).run()), start_of_x(two_chains(10**9).run())
    print(f"X starts after {bounded} ms, and without a bound after {unbounded} ms")
    assert bounded <= bound + 3 * 120_000
    assert unbounded > 2 * bounded
