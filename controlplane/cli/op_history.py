"""Operations that only the ledger still knows."""

from __future__ import annotations

import os
from collections.abc import Sequence

from controlplane.adapters.ledger.reader import LedgerReader
from controlplane.adapters.ledger.rows import LedgerOperation, Wanted
from controlplane.api.conditions import timestamp
from controlplane.api.group import API_VERSION
from controlplane.api.operation import Operation
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.op_find import Carried
from controlplane.cli.recorded import LEDGER_URL

LIMIT = 1000
"""The newest of them; `kfleet audit` pages through all."""


def history(known: Sequence[Carried], namespace: str | None) -> list[Carried]:
    """Those of the namespace (None: of all) that are not among the known ones, newest first. Raises LedgerError."""
    url = os.environ.get(LEDGER_URL, "")
    if not url:
        raise CliError(f"--all asks the ledger: say where it is in {LEDGER_URL}", ExitCode.USAGE)
    reader = LedgerReader(url, timeout=5.0)
    try:
        rows = reader.operations(Wanted(), limit=LIMIT)
    finally:
        reader.close()
    there = {(str(one.obj["metadata"]["uid"]), one.operation.id) for one in known}
    found = (_carried(row) for row in rows if (row.uid, row.operation) not in there)
    return [one for one in found if namespace in (None, one.namespace)]


def _carried(row: LedgerOperation) -> Carried:
    kind, _, place = row.subject.partition(" ")
    namespace, _, name = place.partition("/")
    meta = {"namespace": namespace, "name": name, "uid": row.uid}
    operation = {
        "id": row.operation,
        "kind": row.kind,
        "mode": row.mode,
        "planHash": row.plan_hash,
        "goal": row.goal,
        "approval": row.approval,
        "direction": row.direction,
        "attempt": row.attempt,
        "message": row.message,
        "outcome": row.outcome,
        "startedAt": timestamp(row.started_at.timestamp()),
        "endedAt": timestamp(row.ended_at.timestamp()) if row.ended_at else None,
    }
    obj = {"apiVersion": API_VERSION, "kind": kind, "metadata": meta}
    return Carried(obj, Operation.model_validate(operation), from_ledger=True)
