"""When a model that failed may be started again: backoff, and a breaker that opens when it fails too often.

closed ──failures_max within the window──► open ──breaker_ms──► half open: one start ──loaded──► closed
                                             ▲                                      └─failed─┐
                                             └───────────────────────────────────────────────┘
"""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.core.fleet.policy import HivePolicy


@dataclass
class Restarts:
    """The failures of one model on one machine. Times are milliseconds of any one clock."""

    policy: HivePolicy
    failed_at: list[int] = field(default_factory=list)
    in_a_row: int = 0
    open_until_ms: int = 0
    is_trying: bool = False
    """Half open, and the one start is under way."""

    def failed(self, now_ms: int, *, had_proven: bool = False) -> None:
        """A worker of the model failed, in loading or after. `had_proven`: it had been well before, so that this is the
        first failure of a row. To have loaded proves nothing: what dies right after that would be started for ever.
        """
        self.in_a_row = 1 if had_proven else self.in_a_row + 1
        self.failed_at = [at for at in self.failed_at if now_ms - at < self.policy.failures_window_ms] + [now_ms]
        if self.is_trying or len(self.failed_at) >= self.policy.failures_max:
            self.open_until_ms = now_ms + self.policy.breaker_ms
            self.failed_at.clear()
        self.is_trying = False

    def loaded(self) -> None:
        """A worker of the model became ready to serve: the breaker closes. The backoff stays as long as it is."""
        self.open_until_ms, self.is_trying = 0, False

    def wait_ms(self, now_ms: int) -> int:
        """How long no start is to be tried; 0: now. Doubles with every failure in a row."""
        if self.open_until_ms > now_ms:
            return self.open_until_ms - now_ms
        return 0

    def backoff_ms(self) -> int:
        """The wait before our own restart, after as many failures in a row as there were."""
        if self.in_a_row == 0:
            return 0
        return int(min(self.policy.backoff_ms_max, self.policy.backoff_base_ms * 2 ** min(self.in_a_row - 1, 16)))

    def is_open(self, now_ms: int) -> bool:
        """Whether starts are refused."""
        return self.open_until_ms > now_ms or self.is_trying

    def start(self, now_ms: int) -> None:
        """A start begins; where the breaker was open and its time is over, it is the one try."""
        self.is_trying = 0 < self.open_until_ms <= now_ms
