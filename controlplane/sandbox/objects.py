"""What `up` puts into a fresh API server: the parts' roles, the StorageClass, and kfleet's own chart."""

from __future__ import annotations

from pathlib import Path

import yaml

from controlplane.ports import Object
from controlplane.sandbox.control_plane import installation
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.rbac import KUBELET_CLIENT, OBJECTS

OPERATOR_ENV = [
    # There is no cluster DNS in a sandbox, and its pods' addresses stick to their names.
    {"name": "KFLEET_ADDRESSING", "value": "PodIP"},
    # Everything is near: a node that is ready is seen at once, and a roll waits for that once a node.
    {"name": "KFLEET_PROBE_PERIOD", "value": "1"},
    # Upgrades that people wait for: three brokers' canary has probes enough for a level after some ten seconds.
    {"name": "KFLEET_LEARN_SECONDS", "value": "5"},
    {"name": "KFLEET_LEARN_LONGEST", "value": "15"},
]

INSTALLATION = "kfleet.dev/installation"
"""Pod template annotation: the operator runs from this very installation, so new code must roll it."""

STORAGE_CLASS: Object = {
    "apiVersion": "storage.k8s.io/v1",
    "kind": "StorageClass",
    "metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
    "provisioner": "kfleet.dev/local",
    "volumeBindingMode": "WaitForFirstConsumer",
    "reclaimPolicy": "Retain",
    "allowVolumeExpansion": True,
}
KUBELET_ACCESS: Object = {
    "apiVersion": "rbac.authorization.k8s.io/v1",
    "kind": "ClusterRoleBinding",
    "metadata": {"name": KUBELET_CLIENT},
    "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:kubelet-api-admin"},
    "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": KUBELET_CLIENT}],
}


def sandbox_objects() -> list[Object]:
    return [STORAGE_CLASS, KUBELET_ACCESS, *OBJECTS]


def chart_objects(ledger_url: str, *, operator: bool = True) -> list[Object]:
    """charts/kfleet as the sandbox wants it. Raises SandboxError when a file is not YAML or the chart is not there.

    The operator keeps its ledger at `ledger_url`. Without `operator` its Deployment has no replicas.
    """
    directory = _chart()
    found: list[Object] = []
    for file in sorted(directory.glob("*.yaml")):
        try:
            found += [document for document in yaml.safe_load_all(file.read_text()) if document]
        except yaml.YAMLError as error:
            raise SandboxError(f"{file} is not YAML: {error}") from error
    if not found:
        raise SandboxError(f"no manifests in {directory}; reinstall kfleet, or in a checkout run: make crds")
    for body in found:
        if body["kind"] == "Deployment":
            _suit(body, ledger_url)
            if not operator:
                body["spec"]["replicas"] = 0
    return found


def _suit(deployment: Object, ledger_url: str) -> None:
    template = deployment["spec"]["template"]
    template["metadata"].setdefault("annotations", {})[INSTALLATION] = installation()
    for container in template["spec"]["containers"]:
        ours = [*OPERATOR_ENV, {"name": "KFLEET_LEDGER_URL", "value": ledger_url}]
        named = {entry["name"] for entry in ours}
        others = [entry for entry in container.get("env") or [] if entry["name"] not in named]
        container["env"] = [*others, *ours]


def _chart() -> Path:
    """Inside the package when installed from a wheel, beside it in a checkout."""
    package = Path(__file__).parents[1]
    inside = package / "charts" / "kfleet"
    return inside if inside.is_dir() else package.parent / "charts" / "kfleet"
