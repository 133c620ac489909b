"""Pod status from what the containers do: phase, conditions, containerStatuses, as a kubelet computes them. Pure.

Rules from pkg/kubelet/kubelet_pods.go (getPhase) and pkg/kubelet/status/generate.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from controlplane.ports import Object

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")


@dataclass(frozen=True, slots=True)
class Ended:
    exit_code: int
    reason: str
    message: str
    started_at: str | None
    finished_at: str
    container_id: str

    def state(self) -> Object:
        body: Object = {
            "exitCode": self.exit_code,
            "reason": self.reason,
            "startedAt": self.started_at,
            "finishedAt": self.finished_at,
            "containerID": self.container_id,
        }
        if self.message:
            body["message"] = self.message
        return {"terminated": body}


@dataclass(frozen=True, slots=True)
class View:
    """One container as it is now: waiting (reason, message), running since, or ended."""

    name: str
    image: str
    restart_count: int = 0
    container_id: str = ""
    waiting: tuple[str, str] | None = None
    running_since: str | None = None
    ended: Ended | None = None
    last: Ended | None = None
    ready: bool = False
    started: bool = False

    def status(self) -> Object:
        if self.waiting is not None:
            reason, message = self.waiting
            state: Object = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        elif self.ended is not None:
            state = self.ended.state()
        else:
            state = {"running": {"startedAt": self.running_since}}
        return {
            "name": self.name,
            "image": self.image,
            "imageID": self.image if self.container_id else "",
            "restartCount": self.restart_count,
            "ready": self.ready,
            "started": self.started,
            "state": state,
            "lastState": self.last.state() if self.last else {},
        } | ({"containerID": self.container_id} if self.container_id else {})

    @property
    def ended_now(self) -> Ended | None:
        """How it ended, also while it waits for its next start."""
        return self.ended or (self.last if self.waiting else None)


def phase(policy: str, inits: Sequence[View], mains: Sequence[View], *, over: bool) -> str:
    """`over`: the pod is being deleted and nothing of it runs, so that restartPolicy no longer matters."""
    if policy == "Never" and any(view.ended and view.ended.exit_code for view in inits):
        return "Failed"
    running = any(view.running_since and not view.ended and not view.waiting for view in mains)
    ended = [view.ended for view in mains if view.ended]
    failed = any(end.exit_code for end in ended)
    if (
        not running
        and len(ended) == len(mains)
        and (over or policy == "Never" or (policy == "OnFailure" and not failed))
    ):
        return "Failed" if failed else "Succeeded"
    if running or ended or any(view.last for view in mains):
        return "Running"
    return "Failed" if over and any(view.ended and view.ended.exit_code for view in inits) else "Pending"


def conditions(
    pod: Object, inits: Sequence[View], mains: Sequence[View], phase_now: str, now: str, *, mounted: bool
) -> list[Object]:
    """Own conditions in kubelet's order, those of others (readiness gates, DisruptionTarget) kept behind them."""
    existing = {entry["type"]: entry for entry in (pod.get("status") or {}).get("conditions") or []}
    done = phase_now == "Succeeded"
    incomplete = [view.name for view in inits if not (view.ended and view.ended.exit_code == 0)]
    if mains and any(view.running_since or view.ended or view.last for view in mains):
        incomplete = []
    unready = [view.name for view in mains if not view.ready]
    containers = _condition(
        "ContainersReady", "ContainersNotReady", "containers with unready status", unready, done=done
    )
    ready = dict(containers, type="Ready")
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or []]
    shut = [gate for gate in gates if existing.get(gate, {}).get("status") != "True"]
    if ready["status"] == "True" and shut:
        why = "; ".join(f'the status of pod readiness gate "{gate}" is not "True"' for gate in shut)
        ready |= {"status": "False", "reason": "ReadinessGatesNotReady", "message": why}
    own = [
        {"type": "PodReadyToStartContainers", "status": "True" if mounted else "False"},
        _condition(
            "Initialized", "ContainersNotInitialized", "containers with incomplete status", incomplete, done=done
        ),
        ready,
        containers,
        {"type": "PodScheduled", "status": "True"},
    ]
    for entry in own:
        old = existing.get(entry["type"], {})
        entry["lastTransitionTime"] = old["lastTransitionTime"] if old.get("status") == entry["status"] else now
    return own + [entry for kind, entry in existing.items() if kind not in OWN_CONDITIONS]


def _condition(kind: str, reason: str, message: str, names: list[str], *, done: bool) -> Object:
    if done and kind != "Initialized":
        return {"type": kind, "status": "False", "reason": "PodCompleted"}
    if not names:
        return {"type": kind, "status": "True"}
    if done:
        return {"type": kind, "status": "True", "reason": "PodCompleted"}
    return {"type": kind, "status": "False", "reason": reason, "message": f"{message}: [{' '.join(names)}]"}


def covers(wanted: Any, found: Any) -> bool:
    """Whether `found` says all that `wanted` says; what others added to mappings does not matter, lists must match."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return not wanted and found is None
        return all(covers(value, found.get(key)) for key, value in wanted.items())
    if isinstance(wanted, list):
        return (
            isinstance(found, list)
            and len(wanted) == len(found)
            and all(covers(one, other) for one, other in zip(wanted, found, strict=True))
        )
    return bool(wanted == found)
