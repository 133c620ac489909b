"""`kfleet cluster plan`: the operator's next pass as a value, shown by the renderer of all plans.

With `--snapshot` there is no object and no spec: the roll alone, of what the file shows.
"""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.api.group import GROUP
from controlplane.bootstrap import cluster_plan
from controlplane.cli.cluster_observe import KAFKA_SECONDS, read_cluster, why_silent
from controlplane.cli.cluster_settings import settings_seen
from controlplane.cli.cluster_snapshot import read_snapshot
from controlplane.cli.cluster_view import operation_document
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.options import Output, Where
from controlplane.cli.render import View, show_one
from controlplane.domain.check import Check
from controlplane.domain.health.summary import one_line
from controlplane.domain.operation import render
from controlplane.domain.operation.plan import Plan
from controlplane.domain.rolling.batches import BatchPlan
from controlplane.domain.rolling.health import listing
from controlplane.domain.versions import UnknownVersionError
from controlplane.services.cluster.plan import MOVE_AWAY, NOTHING_ELSE, ClusterPlan, WhatIf, plan_snapshot


@dataclass(frozen=True, slots=True)
class Foreseen:
    namespace: str
    name: str
    plan: ClusterPlan

    @property
    def changes(self) -> bool:
        """Whether the operator has anything to do, or would if it could."""
        plan = self.plan
        return bool(plan.plan or plan.operation or plan.preparations or plan.refused or plan.blocked)


def _document(row: Foreseen) -> dict[str, Any]:
    found = row.plan
    batches = {} if found.batches is None else {"batches": _batches(found.batches)}
    return {
        "namespace": row.namespace,
        "name": row.name,
        "changes": row.changes,
        "brokersAsked": found.observation.kafka is not None,
        "preparations": list(found.preparations),
        "plan": None
        if found.plan is None
        else {
            "kind": found.plan.kind,
            "mode": found.plan.mode,
            "goal": found.plan.goal,
            "hash": found.plan.hash,
            "gates": list(found.plan.gates),
            "steps": [
                {"id": step.id, "verb": step.verb, "target": step.target, "why": step.why, "risk": step.risk}
                for step in found.plan.steps
            ],
        },
        "operation": operation_document(found.operation),
        "refused": [_check(check) for check in found.refused],
        "blocked": [_check(check) for check in found.blocked],
        "rolledBack": found.rolled_back.to_object() if found.rolled_back else None,
    } | batches


def _batches(found: BatchPlan) -> dict[str, Any]:
    return {
        "number": len(found.batches),
        "lowerBound": found.lower_bound,
        "exact": found.exact,
        "nodes": [list(batch) for batch in found.batches],
        "held": list(found.held),
    }


def batch_notes(found: BatchPlan | None) -> tuple[str, ...]:
    """How many batches, what is proven of that, and who cannot go as things are."""
    if found is None:
        return ()
    number = len(found.batches)
    words = f"{number} batch{'' if number == 1 else 'es'}; "
    words += (
        "there is no plan with fewer" if found.exact else f"no plan has fewer than {found.lower_bound} (lower bound)"
    )
    held = f"{len(found.held)} may not be stopped as things are and go alone, later: {listing(found.held)}"
    return (words, held) if found.held else (words,)


def move_notes(plan: Plan) -> tuple[str, ...]:
    """What MoveAway adds to a roll."""
    moves = sum(step.verb == MOVE_AWAY for step in plan.steps)
    if not moves:
        return ()
    what = f"a KafkaRebalance before {moves} of the restarts moves replicas away that their partitions cannot spare"
    return (what, "they stay where they come to; from a broker that restarts later they are moved once more")


VIEW = View[Foreseen]("ClusterPlan", (), lambda row: f"kafkacluster.{GROUP}/{row.name}", _document)


def plan_text(row: Foreseen) -> str:
    """What is refused, what is prepared, the roll, and what it waits for."""
    found = row.plan
    parts = []
    if found.refused:
        parts.append("refused, nothing is touched:\n" + _lines(found.refused))
    if found.rolled_back is not None:
        words = f"{found.rolled_back.reason}: {one_line(found.rolled_back.evidence)}"
        again = "not tried again before the spec or its retryToken changes"
        parts.append(f"rolled back to Kafka {found.rolled_back.version}, {again}:\n  {words}")
    if found.preparations:
        counted = Counter(found.preparations)
        steps = ", ".join(f"{step} x{number}" if number > 1 else step for step, number in counted.items())
        parts.append(f"at once, disturbing nobody: {steps}")
    if found.plan is not None:
        notes = (*batch_notes(found.batches), *move_notes(found.plan))
        parts.append(render.text(render.plan_lines(found.plan, notes=notes)))
    if found.operation is not None:
        parts.append(f"next: {render.summary(found.operation)}")
    if found.blocked:
        parts.append("waits for:\n" + _lines(found.blocked))
    return "\n\n".join(parts) or f"{row.namespace}/{row.name} is as declared: nothing to do"


async def show_plan(where: Where, name: str, output: Output, what_if: WhatIf = NOTHING_ELSE) -> bool:
    """Print it; whether there is anything to do."""
    async with connect(where) as connection:
        obj = await find(connection, CLUSTERS, name)
        read_cluster(obj)
        settings = await settings_seen(connection.kube, connection.namespace, name)
        found = await cluster_plan(
            connection.kube,
            settings.model_copy(update={"kafka_timeout": KAFKA_SECONDS}),
            namespace=connection.namespace,
            name=name,
            what_if=what_if,
        )
        meta = obj["metadata"]
        row = Foreseen(meta["namespace"], meta["name"], found)
    if found.observation.kafka is None:
        print(
            f"kfleet: {why_silent(found.observation)}: where the operator reaches them its plan may differ",
            file=sys.stderr,
        )
    show_one(output, VIEW, row, text=lambda: plan_text(row))
    return row.changes


def show_snapshot_plan(file: Path, name: str, what_if: WhatIf, output: Output) -> bool:
    """The same for a snapshot; asks nobody. Raises OSError and CliError."""
    observation = read_snapshot(file, name)
    try:
        found = plan_snapshot(observation, what_if)
    except UnknownVersionError as error:
        raise CliError(f"--what-if version: {error}", ExitCode.USAGE) from None
    if observation.kafka is None:
        print(f"kfleet: {file}: kafka is null: nothing is known of partitions, so no batches", file=sys.stderr)
    row = Foreseen(observation.namespace, observation.name, found)
    show_one(output, VIEW, row, text=lambda: plan_text(row))
    return row.changes


def _check(check: Check) -> dict[str, str]:
    return {"name": check.name, "evidence": check.evidence, "remedy": check.remedy}


def _lines(checks: tuple[Check, ...]) -> str:
    return "\n".join(f"  {check.name}: {one_line(f'{check.evidence} {check.remedy}')}" for check in checks)
