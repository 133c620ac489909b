"""Where else a pod could run whose machine (Kubernetes node) is cordoned. Pure; the objects come from the API server.

What the scheduler would say is only estimated: labels against the pod's nodeSelector, taints, and what its volumes
demand. Free memory is not looked at. Whatever cannot be read counts against moving: a pod that stays loses nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from controlplane.domain.observation import Stay

KubeObject = Mapping[str, Any]
_CORDON = "node.kubernetes.io/unschedulable"


def stay(pod: KubeObject, volumes: Mapping[str, KubeObject | None], machines: Sequence[KubeObject]) -> Stay | None:
    """Why a pod that is on a cordoned machine, or unscheduled, finds no other one; None where one is seen to take it.

    `volumes` are its PersistentVolumes by claim, None for one that could not be read. `machines` are all there are.
    """
    here = pod.get("spec", {}).get("nodeName")
    closed = [m for m in machines if is_cordoned(m) and _takes(m, pod, volumes)]
    names = tuple(_name(m) for m in closed) or ((here,) if here else ())
    if here:
        for claim, volume in sorted(volumes.items()):
            if volume is None:
                return Stay("Unreadable", f"the PersistentVolume of PVC {claim} could not be read", (here,))
            if "hostPath" in volume.get("spec", {}) and not _terms(volume):
                return Stay("Volume", f"PVC {claim} is a directory of machine {here} (hostPath)", (here,))
    free = [m for m in machines if not is_cordoned(m) and _name(m) != here and _takes(m, pod, volumes)]
    if not free and names:
        for claim, volume in sorted(volumes.items()):
            reached = [_name(m) for m in machines if volume is not None and reaches(volume, m)]
            if volume is not None and _terms(volume) and len(reached) == 1:
                return Stay("Volume", f"PVC {claim} can be reached on machine {reached[0]} only", names)
        return Stay("Machines", "every machine that its zone and its volumes allow is cordoned", names)
    if not here and closed and (words := _refused(pod)):
        return Stay("Machines", f"of those not cordoned none took it ({words})", names)
    return None


def is_cordoned(machine: KubeObject) -> bool:
    return bool(machine.get("spec", {}).get("unschedulable"))


def reaches(volume: KubeObject, machine: KubeObject) -> bool:
    """Whether a PersistentVolume can be used there: terms are alternatives, a term's demands all hold (core/v1)."""
    terms = _terms(volume)
    return not terms or any(_meets(term, machine) for term in terms)


def _takes(machine: KubeObject, pod: KubeObject, volumes: Mapping[str, KubeObject | None]) -> bool:
    spec, labels = pod.get("spec", {}), _labels(machine)
    return (
        (spec.get("nodeSelector") or {}).items() <= labels.items()
        and all(_tolerates(spec.get("tolerations") or [], taint) for taint in _taints(machine))
        and all(volume is None or reaches(volume, machine) for volume in volumes.values())
    )


def _terms(volume: KubeObject) -> list[KubeObject]:
    required = (volume.get("spec", {}).get("nodeAffinity") or {}).get("required") or {}
    return required.get("nodeSelectorTerms") or []


def _meets(term: KubeObject, machine: KubeObject) -> bool:
    """An empty term matches nothing."""
    demands = [
        *((demand, _labels(machine)) for demand in term.get("matchExpressions") or []),
        *((demand, {"metadata.name": _name(machine)}) for demand in term.get("matchFields") or []),
    ]
    return bool(demands) and all(_holds(demand, values) for demand, values in demands)


def _holds(demand: KubeObject, values: Mapping[str, str]) -> bool:
    found, wanted = values.get(demand["key"]), demand.get("values") or []
    match demand.get("operator"):
        case "In":
            return found in wanted
        case "NotIn":
            return found not in wanted
        case "Exists":
            return found is not None
        case "DoesNotExist":
            return found is None
        case "Gt" | "Lt" as operator:
            try:
                number, bound = int(found or ""), int(wanted[0])
            except (ValueError, IndexError):
                return False
            return number > bound if operator == "Gt" else number < bound
    return False


def _taints(machine: KubeObject) -> Iterable[KubeObject]:
    """Those that keep pods away, but for the one that a cordon is."""
    for taint in machine.get("spec", {}).get("taints") or []:
        if taint.get("effect") in {"NoSchedule", "NoExecute"} and taint.get("key") != _CORDON:
            yield taint


def _tolerates(tolerations: Sequence[KubeObject], taint: KubeObject) -> bool:
    return any(
        one.get("effect") in (None, "", taint.get("effect"))
        and (
            one.get("key") in (None, "", taint.get("key"))
            if one.get("operator") == "Exists"
            else one.get("key") == taint.get("key") and one.get("value", "") == taint.get("value", "")
        )
        for one in tolerations
    )


def _refused(pod: KubeObject) -> str:
    """The scheduler's own words, empty before it has looked at the pod."""
    for condition in pod.get("status", {}).get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return str(condition.get("message", "")).strip().rstrip(".")
    return ""


def _labels(machine: KubeObject) -> Mapping[str, str]:
    return machine["metadata"].get("labels") or {}


def _name(machine: KubeObject) -> str:
    return str(machine["metadata"]["name"])
