"""A container's environment and command line, as pkg/kubelet's makeEnvironmentVariables builds them.

Starts from nothing: base variables (PATH, HOME, ...), the image's, then envFrom, then env in order; a value may refer
with $(NAME) to what came before. KFLEET_POD_ROOT and KFLEET_TERMINATION_LOG are the node's and cannot be overridden, so
that a spec may declare KFLEET_POD_ROOT="" for real containers and use $(KFLEET_POD_ROOT) in both.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS, SECRETS
from controlplane.ports import Object, Resource
from controlplane.sandbox.node import objects
from controlplane.sandbox.node.errors import ConfigError, MissingError
from controlplane.sandbox.node.expansion import divide, expand

HOST_IP = "127.0.0.1"
_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['(.*)'\]")


class Reader(Protocol):
    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object: ...


@dataclass(frozen=True, slots=True)
class Place:
    """What the downward API knows beside the pod: its address, its node and what the node can allocate."""

    node: str
    pod_ip: str
    allocatable: Mapping[str, str]


def data_bytes(resource: Resource, item: Object) -> dict[str, bytes]:
    """The keys of a ConfigMap (data, binaryData) or Secret (data), decoded."""
    if resource is SECRETS:
        return {key: base64.b64decode(value) for key, value in (item.get("data") or {}).items()}
    binary = {key: base64.b64decode(value) for key, value in (item.get("binaryData") or {}).items()}
    return {key: value.encode() for key, value in (item.get("data") or {}).items()} | binary


def field_value(pod: Object, place: Place, path: str) -> str:
    """A fieldRef. Raises ConfigError for a field no kubelet offers."""
    if match := _SUBSCRIPT.fullmatch(path):
        return str((pod["metadata"].get(match.group(1)) or {}).get(match.group(2), ""))
    fixed = {
        "metadata.name": objects.name(pod),
        "metadata.namespace": objects.namespace(pod),
        "metadata.uid": objects.uid(pod),
        "metadata.labels": _listed(pod["metadata"].get("labels")),
        "metadata.annotations": _listed(pod["metadata"].get("annotations")),
        "spec.nodeName": place.node,
        "spec.serviceAccountName": pod["spec"].get("serviceAccountName", ""),
        "status.hostIP": HOST_IP,
        "status.hostIPs": HOST_IP,
        "status.podIP": place.pod_ip,
        "status.podIPs": place.pod_ip,
    }
    if path not in fixed:
        raise ConfigError(f"fieldRef.fieldPath {path!r} is not supported")
    return str(fixed[path])


def resource_value(pod: Object, place: Place, reference: Object, container: Object | None) -> str:
    """A resourceFieldRef; a limit that is not set is what the node can allocate. Raises ConfigError."""
    if wanted := reference.get("containerName"):
        every = objects.containers(pod) + objects.init_containers(pod)
        container = next((entry for entry in every if entry["name"] == wanted), None)
    kind, _, resource = reference["resource"].partition(".")
    amount = objects.dig(container, "resources", kind, resource)
    if amount is None:
        amount = place.allocatable.get(resource) if kind == "limits" else "0"
    if amount is None:
        raise ConfigError(f"resourceFieldRef.resource {reference['resource']!r} is not supported")
    return divide(str(amount), str(reference.get("divisor") or "0"))


async def environment(
    pod: Object, container: Object, place: Place, reader: Reader, *, base: Mapping[str, str], own: Mapping[str, str]
) -> dict[str, str]:
    """All variables; `own` wins over everything. Raises ConfigError naming what is missing, or KubeError."""
    values = dict(base) | dict(own)
    for source in container.get("envFrom") or []:
        values |= await _env_from(objects.namespace(pod), source, reader)
    for entry in container.get("env") or []:
        if (value := await _value(pod, container, place, reader, entry=entry, values=values)) is not None:
            values[entry["name"]] = own.get(entry["name"], value)
    return values | dict(own)


def command_line(container: Object, values: Mapping[str, str]) -> list[str]:
    return [expand(part, values) for part in (container.get("command") or []) + (container.get("args") or [])]


async def _env_from(namespace: str, source: Object, reader: Reader) -> dict[str, str]:
    resource = SECRETS if "secretRef" in source else CONFIG_MAPS
    reference = source.get("secretRef") or source.get("configMapRef") or {}
    try:
        item = await reader.get(resource, namespace, reference["name"])
    except MissingError as error:
        if reference.get("optional"):
            return {}
        raise ConfigError(str(error)) from error
    prefix = source.get("prefix", "")
    return {prefix + key: value.decode(errors="replace") for key, value in data_bytes(resource, item).items()}


async def _value(
    pod: Object, container: Object, place: Place, reader: Reader, *, entry: Object, values: Mapping[str, str]
) -> str | None:
    source = entry.get("valueFrom")
    if source is None:
        return expand(entry.get("value", ""), values)
    if reference := source.get("fieldRef"):
        return field_value(pod, place, reference["fieldPath"])
    if reference := source.get("resourceFieldRef"):
        return resource_value(pod, place, reference, container)
    for key, resource in (("secretKeyRef", SECRETS), ("configMapKeyRef", CONFIG_MAPS)):
        if reference := source.get(key):
            return await _key(objects.namespace(pod), resource, reference, reader)
    raise ConfigError(f"env {entry['name']}: valueFrom.{next(iter(source), '')} is not supported")


async def _key(namespace: str, resource: Resource, reference: Object, reader: Reader) -> str | None:
    """None for an optional reference whose object or key is missing: the variable is then not set at all."""
    try:
        found = data_bytes(resource, await reader.get(resource, namespace, reference["name"])).get(reference["key"])
    except MissingError as error:
        if reference.get("optional"):
            return None
        raise ConfigError(f"{error} (key {reference['key']!r} of it was asked for)") from error
    if found is not None:
        return found.decode(errors="replace")
    if reference.get("optional"):
        return None
    where = f"{resource.kind} {namespace}/{reference['name']}"
    raise ConfigError(f"couldn't find key {reference['key']} in {where}")


def _listed(values: Mapping[str, str] | None) -> str:
    """Labels or annotations as the downward API writes them: key="value", escaped, one a line, sorted."""
    escape = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"})
    return "".join(f'{key}="{value.translate(escape)}"\n' for key, value in sorted((values or {}).items()))
