"""Carry out one step of a change of members. Every step may be repeated; what it finds done it leaves alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from controlplane.api import names
from controlplane.domain.cluster.observe import identity_mark
from controlplane.domain.cluster.world import World
from controlplane.domain.membership.values import (
    Action,
    AddVoter,
    RemoveVoter,
    RenewVolume,
    RetireNode,
    ReturnLeaders,
    StopMember,
)
from controlplane.ports import ConflictError, KafkaAdmin, KafkaError, KubeApi, NotFoundError
from controlplane.services.cluster.observe import CLAIMS, PODS

ALREADY = frozenset({"DUPLICATE_VOTER", "VOTER_NOT_FOUND", "BROKER_ID_NOT_REGISTERED"})
"""What Kafka says of a step that was carried out before: the next observation shows whether it was this one."""


async def change_members(kube: KubeApi, action: Action, admin: KafkaAdmin | None, world: World) -> bool:
    """True when something was done and the world should be observed at once. Raises KubeError or KafkaError."""
    namespace = world.cluster.metadata.namespace
    match action:
        case AddVoter() | RemoveVoter() | ReturnLeaders():
            if admin is None:
                return False
            with _unless_done():
                await _in_kafka(admin, action)
        case StopMember(pod_name=pod, pod_uid=uid, resource_version=version):
            # Gone, replaced or changed since it was observed: the next observation says which.
            with contextlib.suppress(NotFoundError, ConflictError):
                await kube.delete(PODS, pod, namespace, uid=uid, resource_version=version)
        case RetireNode(node=node, broker=broker, claims=claims):
            if broker and admin is None:
                return False
            if broker and admin is not None:
                known = await admin.registered_brokers()
                if known is None or node in known:
                    with _unless_done():
                        await admin.unregister_broker(node)
            # What is marked is not marked again: an operator that dies after each write still comes to the next one.
            for claim, uid in claims:
                if claim not in world.retired_claims:
                    await _mark(kube, claim, namespace, uid, {names.RETIRED: "true"})
        case RenewVolume(claim=claim, uid=uid, identity=identity):
            await _mark(kube, claim, namespace, uid, {names.IDENTITY: identity_mark(identity), names.FORMATTED: None})
        case _:
            return False
    return True


async def _in_kafka(admin: KafkaAdmin, action: AddVoter | RemoveVoter | ReturnLeaders) -> None:
    match action:
        case AddVoter(node, directory_id, host, port):
            await admin.add_voter(node, directory_id, host, port)
        case RemoveVoter(node, directory_id):
            await admin.remove_voter(node, directory_id)
        case ReturnLeaders(partitions=partitions):
            await admin.elect_preferred_leaders(partitions)


@contextlib.contextmanager
def _unless_done() -> Iterator[None]:
    try:
        yield
    except KafkaError as error:
        if error.code not in ALREADY:
            raise


async def _mark(kube: KubeApi, claim: str, namespace: str, uid: str, marks: Mapping[str, str | None]) -> None:
    """Of this very claim: another one of its name is refused."""
    await kube.patch(CLAIMS, claim, namespace, {"metadata": {"uid": uid, "annotations": dict(marks)}})
