"""What a process node cannot do: refused with the field's path, or not enforced, which one Event says. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from controlplane.ports import Object
from controlplane.sandbox.node import objects

VOLUMES = {"configMap", "secret", "emptyDir", "projected", "downwardAPI", "persistentVolumeClaim"}
PROJECTIONS = {"serviceAccountToken", "configMap", "secret", "downwardAPI"}
POD_REFUSED = ("hostNetwork", "hostPID", "hostIPC", "hostAliases", "dnsConfig")
POD_IGNORED = ("hostname", "subdomain", "runtimeClassName", "shareProcessNamespace")
CONTAINER_REFUSED = ("stdin", "tty", "volumeDevices", "resizePolicy")
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def refused(pod: Object) -> list[str]:
    """Field paths with the reason; a pod with any of them is not started."""
    return [
        *_pod_refused(pod),
        *(reason for path, spec in _containers(pod) for reason in _container_refused(path, spec)),
    ]


def not_enforced(pod: Object) -> list[str]:
    """Fields that only harden or bound a container: it starts, and one Event names them."""
    spec = pod["spec"]
    found = [f"spec.{field}" for field in POD_IGNORED if spec.get(field)]
    found += [f"spec.securityContext.{field}" for field in spec.get("securityContext") or {}]
    for path, container in _containers(pod):
        found += [f"{path}.securityContext.{field}" for field in container.get("securityContext") or {}]
        if objects.dig(container, "resources", "limits"):
            found.append(f"{path}.resources.limits")
        found += [
            f"{path}.volumeMounts[{index}].readOnly"
            for index, mount in enumerate(container.get("volumeMounts") or [])
            if mount.get("readOnly") and _writable(pod, mount["name"])
        ]
    return found


def _writable(pod: Object, volume: str) -> bool:
    return any(
        entry["name"] == volume and ("emptyDir" in entry or "persistentVolumeClaim" in entry)
        for entry in pod["spec"].get("volumes") or []
    )


def _containers(pod: Object) -> Iterator[tuple[str, Object]]:
    for field in ("initContainers", "containers"):
        for index, spec in enumerate(pod["spec"].get(field) or []):
            yield f"spec.{field}[{index}]", spec


def _pod_refused(pod: Object) -> Iterator[str]:
    for field in POD_REFUSED:
        if pod["spec"].get(field):
            yield f"spec.{field} is not supported by a process node"
    for index, volume in enumerate(pod["spec"].get("volumes") or []):
        path = f"spec.volumes[{index}]"
        kind = next((key for key in volume if key != "name"), "emptyDir")
        if kind not in VOLUMES:
            yield f"{path}.{kind} is not supported by a process node (supported: {', '.join(sorted(VOLUMES))})"
        for number, source in enumerate(objects.dig(volume, "projected", "sources") or []):
            for key in source:
                if key not in PROJECTIONS:
                    yield f"{path}.projected.sources[{number}].{key} is not supported by a process node"
    for index, init in enumerate(pod["spec"].get("initContainers") or []):
        if init.get("restartPolicy") == "Always":
            yield f"spec.initContainers[{index}].restartPolicy: sidecars are not supported by a process node"


def _container_refused(path: str, container: Object) -> Iterator[str]:
    for field in CONTAINER_REFUSED:
        if container.get(field):
            yield f"{path}.{field} is not supported by a process node"
    if objects.dig(container, "securityContext", "privileged"):
        yield f"{path}.securityContext.privileged is not supported by a process node"
    if objects.dig(container, "lifecycle", "postStart"):
        yield f"{path}.lifecycle.postStart is not supported by a process node"
    if not container.get("command") and not container.get("args"):
        yield f"{path}.command is required: images of a process node have no entrypoint"
    elif not container.get("command"):
        yield f"{path}.command is required with args: images of a process node have no entrypoint"
    for index, port in enumerate(container.get("ports") or []):
        if port.get("hostPort"):
            yield f"{path}.ports[{index}].hostPort is not supported by a process node"
    for probe in PROBES:
        if objects.dig(container, probe, "grpc"):
            yield f"{path}.{probe}.grpc is not supported by a process node"
    mounts = [PurePosixPath(mount["mountPath"]) for mount in container.get("volumeMounts") or []]
    for index, mount in enumerate(mounts):
        if above := next((other for other in mounts if other in mount.parents), None):
            yield f"{path}.volumeMounts[{index}].mountPath {mount} lies inside the mount {above}: not supported"
