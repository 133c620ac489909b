"""`kfleet cluster plan`: the operator's next pass as a value, shown by the renderer of all plans."""

from __future__ import annotations

import sys
from collections import Counter
from dataclasses import dataclass
from typing import Any

from controlplane.bootstrap import cluster_plan
from controlplane.cli.cluster_observe import KAFKA_SECONDS, read_cluster, why_silent
from controlplane.cli.cluster_settings import settings_seen
from controlplane.cli.cluster_view import cluster_id, operation_document
from controlplane.cli.connect import connect
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.options import Output, Where
from controlplane.cli.render import View, show_one
from controlplane.domain.check import Check
from controlplane.domain.health.summary import ClusterSummary, one_line, summarise
from controlplane.domain.operation import render
from controlplane.services.cluster.plan import ClusterPlan


@dataclass(frozen=True, slots=True)
class Foreseen:
    cluster: ClusterSummary
    plan: ClusterPlan

    @property
    def changes(self) -> bool:
        """Whether the operator has anything to do, or would if it could."""
        plan = self.plan
        return bool(plan.plan or plan.operation or plan.preparations or plan.refused or plan.blocked)


def _document(row: Foreseen) -> dict[str, Any]:
    found = row.plan
    return {
        "namespace": row.cluster.metadata.namespace,
        "name": row.cluster.metadata.name,
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
    }


VIEW = View[Foreseen]("ClusterPlan", (), lambda row: cluster_id(row.cluster), _document)


def plan_text(row: Foreseen) -> str:
    """What is refused, what is prepared, the roll, and what it waits for."""
    found = row.plan
    parts = []
    if found.refused:
        parts.append("refused, nothing is touched:\n" + _lines(found.refused))
    if found.preparations:
        counted = Counter(found.preparations)
        steps = ", ".join(f"{step} x{number}" if number > 1 else step for step, number in counted.items())
        parts.append(f"at once, disturbing nobody: {steps}")
    if found.plan is not None:
        parts.append(render.text(render.plan_lines(found.plan)))
    if found.operation is not None:
        parts.append(f"next: {render.summary(found.operation)}")
    if found.blocked:
        parts.append("waits for:\n" + _lines(found.blocked))
    return "\n\n".join(parts) or f"{row.cluster.key} is as declared: nothing to do"


async def show_plan(where: Where, name: str, output: Output) -> bool:
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
        )
        row = Foreseen(summarise(obj, found.observation.as_of), found)
    if found.observation.kafka is None:
        print(
            f"kfleet: {why_silent(found.observation)}: where the operator reaches them its plan may differ",
            file=sys.stderr,
        )
    show_one(output, VIEW, row, text=lambda: plan_text(row))
    return row.changes


def _check(check: Check) -> dict[str, str]:
    return {"name": check.name, "evidence": check.evidence, "remedy": check.remedy}


def _lines(checks: tuple[Check, ...]) -> str:
    return "\n".join(f"  {check.name}: {one_line(f'{check.evidence} {check.remedy}')}" for check in checks)
