"""What a claim gets from the provisioner, and which directories it may ever remove."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.provisioner import volumes

CLASS: dict[str, Any] = {
    "metadata": {"name": "standard"},
    "provisioner": volumes.PROVISIONER,
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Retain",
}


def claim(annotations: dict[str, str] | None = None, **spec: Any) -> dict[str, Any]:
    asked = {volumes.ASKED[0]: volumes.PROVISIONER, volumes.SELECTED_NODE: "node-a"}
    default = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    meta = {"namespace": "ns", "name": "data", "uid": "u-1", "resourceVersion": "7"}
    return {"metadata": meta | {"annotations": asked | (annotations or {})}, "spec": default | spec}


def volume(path: str, name: str = "pvc-u-1", **changes: Any) -> dict[str, Any]:
    return {"metadata": {"name": name} | changes, "spec": {"local": {"path": path}}}


def test_a_claim_waits_for_us_only_when_the_controller_says_so() -> None:
    assert volumes.is_waiting(claim())
    assert not volumes.is_waiting(claim({volumes.ASKED[0]: "someone.else/csi"}))
    assert not volumes.is_waiting(claim(volumeName="pv"))
    deleted = claim()
    deleted["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert not volumes.is_waiting(deleted)


@pytest.mark.parametrize(
    ("asks", "has", "growing"),
    [("2Gi", "1Gi", True), ("1Gi", "1Gi", False), ("1Gi", "1024Mi", False), ("1Gi", "2Gi", False)],
)
def test_a_claim_grows_that_asks_for_more_than_it_has(asks: str, has: str, growing: bool) -> None:  # noqa: FBT001
    bound = claim(volumeName="pv", resources={"requests": {"storage": asks}})
    bound["status"] = {"phase": "Bound", "capacity": {"storage": has}}
    assert volumes.is_growing(bound) is growing
    assert not volumes.is_growing(bound | {"status": {"phase": "Pending"}})
    strange = claim({volumes.ASKED[0]: "someone.else/csi"}, volumeName="pv", resources={"requests": {"storage": asks}})
    assert not volumes.is_growing(strange | {"status": bound["status"]})


@pytest.mark.parametrize(
    ("spec", "storage_class", "words"),
    [
        ({"accessModes": ["ReadWriteMany"]}, {}, "spec.accessModes: ReadWriteMany is not possible"),
        ({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"]}, {}, "spec.accessModes: ReadOnlyMany"),
        ({"volumeMode": "Block"}, {}, "spec.volumeMode: only Filesystem"),
        ({"selector": {"matchLabels": {"a": "b"}}}, {}, "spec.selector"),
        ({"dataSource": {"kind": "VolumeSnapshot", "name": "x"}}, {}, "spec.dataSource"),
        ({}, {"volumeBindingMode": "Immediate"}, "volumeBindingMode must be WaitForFirstConsumer"),
        ({}, {"parameters": {"fsType": "xfs"}}, "unknown parameters fsType"),
    ],
)
def test_what_a_directory_cannot_be_is_refused(spec: dict[str, Any], storage_class: dict[str, Any], words: str) -> None:
    assert words in (volumes.refusal(claim(**spec), CLASS | storage_class) or "")


def test_an_ordinary_claim_is_not_refused() -> None:
    assert volumes.refusal(claim(), CLASS) is None
    assert volumes.refusal(claim(accessModes=["ReadWriteOncePod"]), CLASS) is None


def test_the_volume_is_reserved_for_this_very_claim_on_this_very_node() -> None:
    made = volumes.persistent_volume(claim(), CLASS, "host-a", Path("/root/volumes/node-a/pvc-u-1"))
    assert made["metadata"]["name"] == volumes.volume_name(claim()) == "pvc-u-1"
    assert made["metadata"]["finalizers"] == []
    assert made["spec"]["claimRef"] | {"uid": "u-1", "namespace": "ns", "name": "data"} == made["spec"]["claimRef"]
    (term,) = made["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [{"key": "kubernetes.io/hostname", "operator": "In", "values": ["host-a"]}]
    deleted = volumes.persistent_volume(claim(), CLASS | {"reclaimPolicy": "Delete"}, "host-a", Path("/x"))
    assert deleted["metadata"]["finalizers"] == [volumes.FINALIZER]


def test_only_a_directory_of_ours_may_be_removed(tmp_path: Path) -> None:
    paths = SandboxPaths(tmp_path)
    ours = paths.volumes("node-a") / "pvc-u-1"
    assert volumes.directory_of(volume(str(ours)), paths) == ours
    link = paths.volumes("node-a") / "pvc-link"
    link.parent.mkdir(parents=True)
    link.symlink_to("/")
    hostile = [
        ("/", "pvc-u-1"),
        ("/etc/pvc-u-1", "pvc-u-1"),
        (str(paths.volumes("node-a")), "pvc-u-1"),
        (str(paths.volumes("node-a") / "pvc-other"), "pvc-u-1"),
        (str(paths.root / "pki" / "pvc-u-1"), "pvc-u-1"),
        (f"{paths.volumes('..')}/pvc-u-1", "pvc-u-1"),
        (str(link), "pvc-link"),
        ("", "pvc-u-1"),
    ]
    for path, name in hostile:
        with pytest.raises(volumes.UnsafePathError):
            volumes.directory_of(volume(path, name), paths)
