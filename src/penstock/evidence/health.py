"""Gates, environments and the window over a whole run."""

from __future__ import annotations

from penstock.core.policy import GateSpec
from penstock.core.verdicts import Evidence
from penstock.evidence import schema as s
from penstock.evidence.history import History


def gate_lines(history: History) -> tuple[s.GateLine, ...]:
    """Each gate of the policy with what it said in this run."""
    return tuple(_gate_line(history, spec) for spec in history.policy.gates)


def _gate_line(history: History, spec: GateSpec) -> s.GateLine:
    runs = [r.seen for r in history.gate_runs if r.seen.gate == spec.name]
    verdicts = [seen.verdict for seen in runs]
    return s.GateLine(
        name=spec.name,
        command=spec.command,
        tier=spec.tier,
        oracle=spec.oracle,
        digest=spec.digest,
        runs=len(runs),
        passed=verdicts.count("pass"),
        failed=verdicts.count("fail"),
        broken=verdicts.count("broken"),
        flaky=verdicts.count("flaky"),
        pending=verdicts.count("pending"),
        duration_ms=sum(seen.duration_ms for seen in runs),
        never_failed=bool(runs) and not any(_is_red(seen) for seen in runs),
    )


def _is_red(seen: Evidence) -> bool:
    """Did the gate show that it can be red? As a witness it does so where it passes: new tests are red on base."""
    return seen.verdict == ("pass" if seen.look == "witness" else "fail")


def env_lines(history: History) -> tuple[s.EnvLine, ...]:
    """Each environment that was built, or could not be."""
    return tuple(
        s.EnvLine(
            name=built.what[0].env,
            digest=built.what[0].digest,
            seq=built.seq,
            at_ms=built.at_ms,
            ok=built.what[1].ok,
            message=built.what[1].message,
            duration_ms=built.what[1].duration_ms,
        )
        for built in history.envs
    )


def window_points(history: History) -> tuple[s.WindowPoint, ...]:
    """The size of the window from the start on."""
    started = history.started
    if started is None:
        return ()
    limits = started.what.policy.limits
    size = max(1, min(limits.window_start, limits.window_max))
    first = s.WindowPoint(seq=started.seq, at_ms=started.at_ms, size=size, reason="the start")
    changes = (s.WindowPoint(seq=w.seq, at_ms=w.at_ms, size=w.what.size, reason=w.what.reason) for w in history.windows)
    return (first, *changes)


def versions_of(history: History) -> tuple[str, ...]:
    """Versions of Penstock that wrote the log, oldest first."""
    started = [history.started.what.version] if history.started else []
    return tuple(dict.fromkeys((*started, *(r.what.version for r in history.resumed))))
