"""All KafkaTenants as a Directory, for every service that has to know whose something is."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from weakref import WeakKeyDictionary

from pydantic import ValidationError

from controlplane.api import kafka_tenant
from controlplane.api.group import GROUP, VERSION
from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.domain.tenants.directory import Directory, directory
from controlplane.ports import KubeApi, Object, Resource

log = logging.getLogger(__name__)

KAFKA_TENANTS = Resource(GROUP, VERSION, kafka_tenant.PLURAL, kafka_tenant.KIND, namespaced=False)


_understood: WeakKeyDictionary[KubeApi, dict[str, tuple[str, KafkaTenant | None]]] = WeakKeyDictionary()
"""What was read through an API before: by uid the resourceVersion, and what that says. To understand thousands of
tenants anew would take seconds of every pass."""


async def read_directory(kube: KubeApi) -> Directory:
    """Raises KubeError; where the kind is not installed yet, NotFoundError."""
    return (await read_tenants(kube))[1]


async def read_tenants(kube: KubeApi) -> tuple[dict[str, Object], Directory]:
    """The objects as well, by name. Raises as `read_directory` does."""
    before, now = _understood.get(kube, {}), {}
    objects = await kube.list(KAFKA_TENANTS)
    for obj in objects:
        uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        known = before.get(uid)
        now[uid] = known if known is not None and known[0] == version else (version, next(iter(readable([obj])), None))
    _understood[kube] = now
    found = directory(tenant for _, tenant in now.values() if tenant is not None)
    return {obj["metadata"]["name"]: obj for obj in objects}, found


def readable(objects: Iterable[Object]) -> list[KafkaTenant]:
    """Those that this version can read; the others are told in the log and own nothing."""
    found = []
    for obj in objects:
        try:
            found.append(KafkaTenant.model_validate(obj))
        except ValidationError as error:
            log.warning("KafkaTenant %s cannot be read: %s", obj["metadata"]["name"], error)
    return found
