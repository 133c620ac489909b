"""Which pods have another machine to go to: what Kubernetes objects say about it."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.api import names
from controlplane.domain.cluster.places import stay

HOSTNAME = names.HOSTNAME


def expression(key: str, *values: str, operator: str = "In") -> dict[str, Any]:
    return {"key": key, "operator": operator, "values": list(values)}


def host(name: str, *, cordoned: bool = False, zone: str = "a", **spec: Any) -> dict[str, Any]:
    meta = {"name": name, "labels": {HOSTNAME: f"{name}-host", names.ZONE: zone}}
    return {"metadata": meta, "spec": spec | ({"unschedulable": True} if cordoned else {})}


def pv(*terms: list[dict[str, Any]], fields: tuple[dict[str, Any], ...] = (), **spec: Any) -> dict[str, Any]:
    alternatives: list[dict[str, Any]] = [{"matchExpressions": term} for term in terms]
    alternatives += [{"matchFields": [field]} for field in fields]
    required = {"nodeAffinity": {"required": {"nodeSelectorTerms": alternatives}}} if alternatives else {}
    return {"spec": spec | required}


OTHER = host("node-2")
ZONE_A = [expression(names.ZONE, "a")]


@pytest.mark.parametrize(
    ("volume", "others", "why"),
    [
        (pv([expression(HOSTNAME, "node-1-host")]), [OTHER], "Volume"),
        (pv([expression(names.ZONE, "a"), expression(HOSTNAME, "node-1-host")]), [OTHER], "Volume"),
        (pv(fields=(expression("metadata.name", "node-1"),)), [OTHER], "Volume"),
        (pv(hostPath={"path": "/x"}), [OTHER], "Volume"),
        (None, [OTHER], "Unreadable"),
        (pv([expression(HOSTNAME, "node-1-host", "node-2-host")]), [OTHER], None),
        (pv([expression(HOSTNAME, "node-1-host")], [expression(HOSTNAME, "node-2-host")]), [OTHER], None),
        (pv([expression(HOSTNAME, "node-1-host", operator="NotIn")]), [OTHER], None),
        (pv([expression(HOSTNAME, operator="Exists")], hostPath={"path": "/shared"}), [OTHER], None),
        (pv(ZONE_A), [OTHER], None),
        (pv(), [OTHER], None),
        (pv(ZONE_A), [host("node-2", zone="b")], "Volume"),
        (pv(ZONE_A), [host("node-2", cordoned=True)], "Machines"),
        (pv(), [host("node-2", taints=[{"key": "x", "value": "", "effect": "NoSchedule"}])], "Machines"),
        (pv(), [host("node-2", taints=[{"key": "x", "value": "y", "effect": "NoSchedule"}])], "Machines"),
        (pv(), [host("node-2", taints=[{"key": "x", "effect": "PreferNoSchedule"}])], None),
        (pv(), [], "Machines"),
    ],
)
def test_which_pods_stay(volume: dict[str, Any] | None, others: list[dict[str, Any]], why: str | None) -> None:
    pod = {"spec": {"nodeName": "node-1"}}
    found = stay(pod, {"c": volume}, [host("node-1", cordoned=True), *others])
    assert (found.why if found else None) == why
    if found is not None:
        assert found.machines[0] == "node-1"


def test_a_taint_that_is_tolerated_and_a_node_selector() -> None:
    taint = {"key": "x", "value": "y", "effect": "NoExecute"}
    machines = [host("node-1", cordoned=True), host("node-2", taints=[taint])]
    tolerations = [{"key": "x", "operator": "Equal", "value": "y", "effect": "NoExecute"}]
    assert stay({"spec": {"nodeName": "node-1", "tolerations": tolerations}}, {}, machines) is None
    selector = {"nodeSelector": {names.ZONE: "a", "disk": "fast"}}
    found = stay({"spec": {"nodeName": "node-1", "tolerations": tolerations} | selector}, {}, machines)
    assert found is not None
    assert found.why == "Machines"


def test_a_pod_that_no_machine_took() -> None:
    status = {"conditions": [{"type": "PodScheduled", "status": "False", "message": "Insufficient memory."}]}
    machines = [host("node-1", cordoned=True), OTHER]
    found = stay({"spec": {}, "status": status}, {"c": pv()}, machines)
    assert found is not None
    assert (found.why, found.machines) == ("Machines", ("node-1",))
    assert "Insufficient memory" in found.evidence
    assert stay({"spec": {}, "status": {}}, {"c": pv()}, machines) is None, "the scheduler has not looked yet"
    assert stay({"spec": {}, "status": status}, {"c": pv()}, [OTHER]) is None, "nothing to do with a cordon"
