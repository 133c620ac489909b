"""Exponential back-off as the kubelet counts it (client-go util/flowcontrol.Backoff). Times are monotonic seconds."""

from __future__ import annotations

from dataclasses import dataclass

RESET_SECONDS = 600.0


@dataclass(slots=True)
class Backoff:
    """The first retry is immediate, the next waits `first`, then twice as long each time up to `longest`.

    After 10 minutes without a failure the count starts again.
    """

    first: float
    longest: float
    delay: float = 0.0
    _next: float = 0.0
    _last: float = 0.0

    def remaining(self, failed_at: float, now: float) -> float:
        """Seconds still to wait before the retry that follows a failure at `failed_at`; 0 means go."""
        if self._next and failed_at - self._last > RESET_SECONDS:
            self._next = self.delay = 0.0
        return max(0.0, failed_at + self._next - now)

    def retried(self, now: float) -> None:
        """Count a retry; the wait after the next failure grows."""
        self._last = now
        self.delay = self._next = min(self.longest, self._next * 2 or self.first)
