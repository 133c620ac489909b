"""A command that changes something is recorded before it is done, wherever KFLEET_LEDGER_URL names a ledger."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from typing import Any

LEDGER_URL = "KFLEET_LEDGER_URL"


async def record(
    actor: str,
    action: str,
    subject: str,
    *,
    cell: str = "",
    operation: str = "",
    detail: Mapping[str, Any] | None = None,
    urgent: bool = False,
) -> None:
    """Who (as the API server knows them) is about to do what. Raises LedgerError: then nothing may be done.

    `urgent`: what must work without a ledger too; it is journalled on this machine, and that is said.
    """
    url = os.environ.get(LEDGER_URL, "")
    if not url:
        return
    from controlplane.adapters.ledger.command_log import record_cli_event  # noqa: PLC0415 - SQL: only with a ledger

    def say(text: str) -> None:
        print(f"kfleet: {text}", file=sys.stderr)

    await asyncio.to_thread(
        record_cli_event,
        url,
        actor=actor,
        action=action,
        subject=subject,
        cell=cell,
        operation=operation,
        detail=detail,
        urgent=urgent,
        say=say,
    )
