"""The settings of the operator as it runs, or would run, in the cluster: from its Deployment, and from this shell.

What a pod is made from depends on some of them (addressing, images, probes). A process that plans in the operator's
place with others would find every pod out of date.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from controlplane.api import names
from controlplane.cli.cluster_settings import settings_seen
from controlplane.cli.connect import Connection
from controlplane.cli.errors import CliError, ExitCode
from controlplane.ports import NotFoundError, Object, Resource
from controlplane.settings import OperatorSettings

DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
PREFIX = "KFLEET_"
_ITS_OWN = frozenset(
    {"namespace", "watch_namespaces", "identity", "kubeconfig", "pod_root", "health_port", "health_host"}
    | {"log_format", "log_level"}
)
"""What is the operator process's own affair and says nothing about how it plans."""
LEDGER = f"{PREFIX}LEDGER_URL"


async def operator_settings(connection: Connection, home: str, cluster: str, **own: Any) -> OperatorSettings:
    """`own` first, then KFLEET_* of this shell, then the Deployment's, then the defaults.

    Where there is no Deployment the cluster's own pods say what they were made from. Raises KubeError, and
    CliError when the operator has something that cannot be read from its Deployment.
    """
    namespace = os.environ.get(f"{PREFIX}NAMESPACE") or names.OPERATOR_NAMESPACE
    try:
        deployment = await connection.kube.get(DEPLOYMENTS, names.OPERATOR, namespace)
    except NotFoundError:
        seen = await settings_seen(connection.kube, home, cluster)
        return seen.model_copy(update={"namespace": namespace} | own)
    declared = _declared(deployment, os.environ)
    try:
        return OperatorSettings(**(declared | {"namespace": namespace} | own))
    except ValidationError as error:
        fields = "; ".join(f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors() if e["loc"])
        raise CliError(f"the operator's settings cannot be used here: {fields or error}", ExitCode.USAGE) from error


def _declared(deployment: Object, shell: Mapping[str, str]) -> dict[str, str]:
    """Field to text, of what the Deployment sets and this shell does not."""
    found: dict[str, str] = {}
    for container in deployment["spec"]["template"]["spec"]["containers"]:
        for entry in container.get("env") or []:
            name = entry["name"]
            field = name.removeprefix(PREFIX).lower()
            if not name.startswith(PREFIX) or name in shell or field in _ITS_OWN:
                continue
            if field not in OperatorSettings.model_fields:
                continue
            if "value" not in entry:
                raise CliError(
                    f"the operator has {name} from elsewhere than its Deployment; set it in this shell as it is there"
                )
            found[field] = entry["value"]
    return found
