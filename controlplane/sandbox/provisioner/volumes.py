"""What a claim asks for and the volume that answers it: pure, from the objects the API server sends.

Follows the external-provisioner's contract: the controller-manager marks a claim with its provisioner, the scheduler
with the chosen node; whoever is named creates the PersistentVolume, already bound to the claim's uid.
"""

from __future__ import annotations

from pathlib import Path

from controlplane.api.quantity import parse_bytes
from controlplane.ports import Object
from controlplane.sandbox.config import SandboxPaths

PROVISIONER = "kfleet.dev/local"
FINALIZER = "kfleet.dev/local-volume"
"""On volumes with reclaim policy Delete: the directory goes before the object does."""

ASKED = ("volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner")
SELECTED_NODE = "volume.kubernetes.io/selected-node"
PROVISIONED_BY = "pv.kubernetes.io/provisioned-by"
HOSTNAME = "kubernetes.io/hostname"
SINGLE_NODE_MODES = {"ReadWriteOnce", "ReadWriteOncePod"}


class UnsafePathError(Exception):
    """A volume names a directory that is not ours to remove."""


def volume_name(claim: Object) -> str:
    """The same for the same claim, whoever asks and however often: a crash cannot make two."""
    return f"pvc-{claim['metadata']['uid']}"


def is_waiting(claim: Object) -> bool:
    """Whether the claim waits for a volume of ours."""
    meta, spec = claim["metadata"], claim["spec"]
    annotations = meta.get("annotations") or {}
    asked = next((annotations[key] for key in ASKED if key in annotations), None)
    return asked == PROVISIONER and not spec.get("volumeName") and not meta.get("deletionTimestamp")


def is_growing(claim: Object) -> bool:
    """Whether a bound claim of ours asks for more than it has. The API server lets it if its class allows that."""
    spec, status, meta = claim["spec"], claim.get("status") or {}, claim["metadata"]
    asked = next((value for key, value in (meta.get("annotations") or {}).items() if key in ASKED), None)
    has = (status.get("capacity") or {}).get("storage")
    if asked != PROVISIONER or status.get("phase") != "Bound" or has is None or meta.get("deletionTimestamp"):
        return False
    return parse_bytes(spec["resources"]["requests"]["storage"]) > parse_bytes(has)


def selected_node(claim: Object) -> str | None:
    return (claim["metadata"].get("annotations") or {}).get(SELECTED_NODE)


def refusal(claim: Object, storage_class: Object) -> str | None:
    """Why no local directory can be what the claim asks for, or None."""
    spec, name = claim["spec"], storage_class["metadata"]["name"]
    if storage_class.get("volumeBindingMode") != "WaitForFirstConsumer":
        return (
            f"storageClass {name}: volumeBindingMode must be WaitForFirstConsumer, because a local volume has to lie "
            "where its pod runs"
        )
    if parameters := storage_class.get("parameters"):
        return f"storageClass {name}: unknown parameters {', '.join(sorted(parameters))}; {PROVISIONER} has none"
    if modes := set(spec.get("accessModes") or []) - SINGLE_NODE_MODES:
        return (
            f"spec.accessModes: {', '.join(sorted(modes))} is not possible with a directory of one node; "
            "use ReadWriteOnce or ReadWriteOncePod"
        )
    if spec.get("volumeMode", "Filesystem") != "Filesystem":
        return "spec.volumeMode: only Filesystem is possible with a directory"
    if spec.get("selector"):
        return "spec.selector: a claim with a selector is bound to an existing volume only"
    if spec.get("dataSource") or spec.get("dataSourceRef"):
        return "spec.dataSource: snapshots and clones are not possible with a directory"
    return None


def persistent_volume(claim: Object, storage_class: Object, hostname: str, directory: Path) -> Object:
    """A local volume on one node, reserved for this claim and no other. Its capacity is not enforced."""
    policy = storage_class.get("reclaimPolicy", "Delete")
    return {
        "metadata": {
            "name": volume_name(claim),
            "annotations": {PROVISIONED_BY: PROVISIONER},
            "finalizers": [FINALIZER] if policy == "Delete" else [],
        },
        "spec": {
            "capacity": {"storage": claim["spec"]["resources"]["requests"]["storage"]},
            "accessModes": claim["spec"]["accessModes"],
            "volumeMode": "Filesystem",
            "persistentVolumeReclaimPolicy": policy,
            "storageClassName": storage_class["metadata"]["name"],
            "mountOptions": storage_class.get("mountOptions") or [],
            "local": {"path": str(directory)},
            "claimRef": {
                "apiVersion": "v1",
                "kind": "PersistentVolumeClaim",
                "namespace": claim["metadata"]["namespace"],
                "name": claim["metadata"]["name"],
                "uid": claim["metadata"]["uid"],
                "resourceVersion": claim["metadata"]["resourceVersion"],
            },
            "nodeAffinity": {
                "required": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": HOSTNAME, "operator": "In", "values": [hostname]}]}
                    ]
                }
            },
        },
    }


def is_ours(volume: Object) -> bool:
    return (volume["metadata"].get("annotations") or {}).get(PROVISIONED_BY) == PROVISIONER


def deletes(volume: Object) -> bool:
    return bool(volume["spec"].get("persistentVolumeReclaimPolicy") == "Delete")


def is_released(volume: Object) -> bool:
    return (volume.get("status") or {}).get("phase") == "Released" and not volume["metadata"].get("deletionTimestamp")


def is_going(volume: Object) -> bool:
    """Being deleted, no claim uses it any more (pv-protection is off), and only our finalizer keeps it."""
    return bool(volume["metadata"].get("deletionTimestamp")) and volume["metadata"].get("finalizers") == [FINALIZER]


def directory_of(volume: Object, paths: SandboxPaths) -> Path:
    """The volume's directory, if it is one that this sandbox's provisioner could have made. Raises UnsafePathError.

    Anyone who may create a PersistentVolume chooses its path; what is removed or moved is always a real directory
    <root>/volumes/<node>/<name>.
    """
    name = volume["metadata"]["name"]
    path = Path((volume["spec"].get("local") or {}).get("path", ""))
    expected = paths.volumes(path.parent.name) / name
    if path != expected or ".." in path.parts or path.is_symlink():
        raise UnsafePathError(f"{path} is not a directory of this sandbox's provisioner; it is left alone")
    return path
