"""Short ways into pod specs: what several parts of the node ask of an unstructured pod."""

from __future__ import annotations

import datetime as dt
from typing import Any

from controlplane.ports import Object


def namespace(pod: Object) -> str:
    return str(pod["metadata"]["namespace"])


def name(pod: Object) -> str:
    return str(pod["metadata"]["name"])


def uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def version(pod: Object) -> int:
    return int(pod["metadata"].get("resourceVersion") or 0)


def title(pod: Object) -> str:
    """`name_namespace(uid)`, the kubelet's way to name a pod in messages."""
    return f"{name(pod)}_{namespace(pod)}({uid(pod)})"


def terminating(pod: Object) -> bool:
    return bool(pod["metadata"].get("deletionTimestamp"))


def finished(pod: Object) -> bool:
    """A terminal phase: none of its containers may ever start again."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def containers(pod: Object) -> list[Object]:
    return list(pod["spec"]["containers"])


def init_containers(pod: Object) -> list[Object]:
    return list(pod["spec"].get("initContainers") or [])


def stop_grace(pod: Object) -> float:
    """Seconds between SIGTERM and SIGKILL; what a deletion asked for wins, at least 1 like a kubelet's."""
    asked = pod["metadata"].get("deletionGracePeriodSeconds") if terminating(pod) else None
    seconds = asked if asked is not None else pod["spec"].get("terminationGracePeriodSeconds", 30)
    return max(1.0, float(seconds))


def container_port(container: Object, port: int | str) -> int | None:
    """A port by number or by its name in the container's ports; None for an unknown name."""
    if isinstance(port, int) or str(port).isdigit():
        return int(port)
    for entry in container.get("ports") or []:
        if entry.get("name") == port:
            return int(entry["containerPort"])
    return None


def now() -> str:
    return stamp(dt.datetime.now(dt.UTC))


def stamp(moment: dt.datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text)


def dig(document: Any, *keys: str) -> Any:
    """document[a][b]... or None as soon as one is absent."""
    for key in keys:
        if not isinstance(document, dict):
            return None
        document = document.get(key)
    return document
