"""KafkaTenants and their users, in namespaces of their own, beside the cluster of support.users."""

from __future__ import annotations

from typing import Any

from support.users import KEY, SETTINGS, UserSpace, user

from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.homes import Homes
from controlplane.services.keys import HOMES
from controlplane.services.tenants.read import KAFKA_TENANTS

Object = dict[str, Any]


def tenant(name: str = "checkout", *namespaces: str, created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    """In cell kafka/cell, with its name and a dot as prefix, its namespace named like it."""
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {
            "owner": {"team": name},
            "namespaces": list(namespaces or (name,)),
            "topicPrefix": f"{name}.",
            "cells": [{"kind": "KafkaCluster", "namespace": "kafka", "name": "cell"}],
            "shard": {"size": 3},
        }
        | spec,
    }


def tenants_user(name: str, *acls: Object, of: str = "checkout", cell: str = "", **spec: Any) -> Object:
    """A user of tenant `of`; `cell` as namespace/name."""
    found = user(name, *acls, **spec)
    del found["spec"]["clusterRef"]
    where = dict(zip(("namespace", "name"), cell.split("/"), strict=True)) if cell else {}
    found["spec"]["tenantRef"] = {"name": of} | ({"cell": where} if where else {})
    return found


async def declare_tenants(space: UserSpace, *objects: Object) -> None:
    for obj in objects:
        await space.kube.create(KAFKA_TENANTS, obj)


async def change_tenant(space: UserSpace, name: str, **spec: Any) -> None:
    obj = await space.kube.get(KAFKA_TENANTS, name)
    obj["spec"] |= spec
    await space.kube.replace(KAFKA_TENANTS, obj)


async def declare_in(space: UserSpace, namespace: str, *objects: Object) -> None:
    for obj in objects:
        obj["metadata"]["namespace"] = namespace
        await space.kube.create(KAFKA_USERS, obj)


async def give_homes(space: UserSpace, **settings: Any) -> float | None:
    """When it wants to look again."""
    configured = SETTINGS.model_copy(update=settings)
    homes = Homes(space.kube, space.clock, EventRecorder(space.kube, space.clock), configured)
    return await homes.reconcile(HOMES)


async def settle(space: UserSpace) -> None:
    """All that happens by itself: homes, then the cell's users."""
    await give_homes(space)
    space.clock.seconds += 1
    await space.service().reconcile(KEY)


async def condition_in(space: UserSpace, namespace: str, name: str, kind: str = "Ready") -> Object:
    found = (await space.kube.get(KAFKA_USERS, name, namespace)).get("status", {}).get("conditions", [])
    return next((c for c in found if c["type"] == kind), {"status": "", "reason": "", "message": ""})


def layers_of(obj: Object) -> dict[str, Object]:
    return {layer["name"]: layer for layer in obj["status"].get("quotaLayers", [])}
