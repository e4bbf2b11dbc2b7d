"""The numbers of a policy: limits, retries, budget, risk. Keys carry the unit that people think in, values ours."""

from __future__ import annotations

from msgspec.structs import FieldInfo, fields, replace

from penstock.core.policy import (
    DEFAULT_RETRIES,
    FAILURE_CLASSES,
    BudgetPolicy,
    FailureClass,
    Limits,
    RetryRule,
    RiskRules,
)
from penstock.documents.fields import COUNT_MAX, Fields, fault_of_glob
from penstock.documents.tickets import take_caps

DAY_S = 86_400
TIME_S_MAX = 30 * DAY_S
BYTES_MAX = 10_000_000_000
ONE_AT_LEAST = frozenset(
    {
        "window_start",
        "window_max",
        "gate_jobs_max",
        "attempts_per_ticket_max",
        "turns_per_attempt_max",
        "turn_output_bytes_max",
        "turn_diff_lines_max",
        "unverified_diffs_max",
        "unverified_lines_max",
    }
)
"""With 0 of these no run could ever do anything."""

OF_THE_AGENT = {"turn_wall_ms_max": "wall_s", "turn_stall_ms_max": "stall_s"}
"""Limits that are written in `[agent]`."""
ELSEWHERE = {
    "turn_wall_s_max": "write it as `wall_s` in [agent]",
    "turn_stall_s_max": "write it as `stall_s` in [agent]",
}


def take_limits(section: Fields, agent: Fields) -> Limits:
    """`[limits]`, and the two clocks of `[agent]`."""
    taken: dict[str, int] = {}
    for field in fields(Limits):
        default = field.default
        assert isinstance(default, int)
        if field.name in OF_THE_AGENT:
            key = OF_THE_AGENT[field.name]
            taken[field.name] = agent.scaled(key, default, 1_000, 1, TIME_S_MAX)
        else:
            taken[field.name] = take_limit(section, field, default)
    section.refuse_unknown(ELSEWHERE)
    limits = replace(Limits(), **taken)
    if limits.window_start > limits.window_max:
        message = f"is {limits.window_start}, above window_max, which is {limits.window_max}"
        section.refuse("window_start", message, f"choose 1 to {limits.window_max}, or raise window_max")
    return limits


def take_limit(section: Fields, field: FieldInfo, default: int) -> int:
    low = int(field.name in ONE_AT_LEAST)
    if "_ms" in field.name:
        return section.scaled(field.name.replace("_ms", "_s"), default, 1_000, 1, TIME_S_MAX)
    return section.whole(field.name, default, low, BYTES_MAX if "_bytes" in field.name else COUNT_MAX)


def take_retries(root: Fields) -> dict[FailureClass, RetryRule]:
    """`[retries.CLASS]`: what is written replaces the default of that class, key by key."""
    section = root.sub("retries")
    rules = {name: take_retry(section.sub(name), DEFAULT_RETRIES[name]) for name in FAILURE_CLASSES}
    section.refuse_unknown()
    return rules


def take_retry(section: Fields, default: RetryRule) -> RetryRule:
    rule = RetryRule(
        cap=section.whole("cap", default.cap),
        backoff_base_ms=section.scaled("backoff_base_s", default.backoff_base_ms, 1_000, 0, DAY_S),
        backoff_max_ms=section.scaled("backoff_max_s", default.backoff_max_ms, 1_000, 0, DAY_S),
        consumes_attempt=section.flag("consumes_attempt", default.consumes_attempt),
    )
    if rule.backoff_base_ms > rule.backoff_max_ms:
        section.refuse("backoff_base_s", "is above backoff_max_s", "raise backoff_max_s")
    section.refuse_unknown()
    return rule


def take_budget(section: Fields) -> BudgetPolicy:
    """`[budget]` is what a run may spend, `[budget.ticket]` what a ticket may."""
    default = BudgetPolicy()
    return BudgetPolicy(
        tokens_per_turn=section.whole("tokens_per_turn", default.tokens_per_turn),
        micro_dollars_per_turn=dollars(section, "dollars_per_turn", default.micro_dollars_per_turn),
        assumed_tokens_per_turn=section.whole("assumed_tokens_per_turn", default.assumed_tokens_per_turn),
        assumed_micro_dollars_per_turn=dollars(
            section, "assumed_dollars_per_turn", default.assumed_micro_dollars_per_turn
        ),
        ticket=take_caps(section.sub("ticket")),
        run=take_caps(section),
    )


def dollars(section: Fields, key: str, default: int) -> int:
    """Integer micro-dollars of a key in dollars."""
    return section.scaled(key, default, 1_000_000, 0, COUNT_MAX)


def take_risk(section: Fields) -> RiskRules:
    """`[risk]`."""
    default = RiskRules()
    rules = RiskRules(
        boundary=section.texts("boundary", default.boundary, fault=fault_of_glob),
        high=section.texts("high", default.high, fault=fault_of_glob),
        boundary_lines_min=section.whole("boundary_lines_min", default.boundary_lines_min, 1),
        high_lines_min=section.whole("high_lines_min", default.high_lines_min, 1),
    )
    if rules.boundary_lines_min > rules.high_lines_min:
        section.refuse("boundary_lines_min", "is above high_lines_min", "raise high_lines_min")
    section.refuse_unknown()
    return rules
