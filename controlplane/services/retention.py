"""The ledger's retention: what is old and over leaves it, in batches, while nobody waits."""

from __future__ import annotations

import asyncio
import logging

from controlplane.ports import Clock, LedgerError, LedgerWriter

log = logging.getLogger(__name__)

SECONDS_A_DAY = 86_400
PAUSE_SECONDS = 0.2
"""Between two batches of a sweep, so that the ledger's writers have their turn."""


class Retention:
    """Every `interval` seconds removes what ended more than `days` ago. What has not ended is never removed."""

    def __init__(self, ledger: LedgerWriter, clock: Clock, *, days: float, interval: float) -> None:
        self._ledger, self._clock, self._days, self._interval = ledger, clock, days, interval

    async def run(self) -> None:
        """Until cancelled. A sweep that fails is left for the next time: nothing waits for it."""
        while True:
            try:
                await self.sweep()
            except LedgerError as error:
                log.warning("ledger: the sweep of old records is put off: %s", error.message)
            except Exception:  # the ledger is a copy: a defect in it must not end the operator
                log.exception("ledger: the sweep of old records is put off")
            await asyncio.sleep(self._interval)

    async def sweep(self) -> int:
        """One sweep to its end; how many rows it removed. Raises LedgerError."""
        before = self._clock.now() - self._days * SECONDS_A_DAY
        removed = 0
        while batch := await asyncio.to_thread(self._ledger.remove_older_than, before):
            removed += batch
            await asyncio.sleep(PAUSE_SECONDS)
        if removed:
            log.info("ledger: removed %d rows older than %g days", removed, self._days)
        return removed
