"""A user's Secret in Kubernetes: read and written by name, never listed or watched; what is in it is told to nobody.

Only a Secret that the user owns is ever written or deleted. Keys that are not kfleet's stay as they are.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import SecretStr

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_user import KIND, KafkaUser
from controlplane.domain.users import secret as files
from controlplane.domain.users.credentials import Stored
from controlplane.ports import KubeApi, NotFoundError, Object
from controlplane.services.access.secrets import SECRETS, texts

OURS = frozenset(
    {
        "type",
        "provider",
        "bootstrap.servers",
        "security.protocol",
        "username",
        "sasl.mechanism",
        "sasl.jaas.config",
        files.PASSWORD,
        files.NEXT_PASSWORD,
        files.CERTIFICATE,
        files.KEY,
        files.CA,
        files.CLIENT_PROPERTIES,
        files.LIBRDKAFKA,
    }
)
"""Keys that kfleet writes, one user more and another fewer of them."""


@dataclass(frozen=True, slots=True)
class Held:
    """A Secret as it was found. `obj` None: there is none. `ours`: it may be written, or made."""

    obj: Object | None = field(repr=False)
    ours: bool
    stored: Stored
    data: Mapping[str, str] = field(repr=False)

    @property
    def certificate(self) -> str:
        return self.data.get(files.CERTIFICATE, "")

    @property
    def key(self) -> str:
        return self.data.get(files.KEY, "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a Secret is to hold. `data` without the next password."""

    data: Mapping[str, str] = field(repr=False)
    issued_at: float
    rotation: str
    next: SecretStr | None = None


async def read(kube: KubeApi, user: KafkaUser) -> Held:
    """Raises KubeError other than NotFoundError."""
    try:
        return held(await kube.get(SECRETS, user.secret_name, user.metadata.namespace), user)
    except NotFoundError:
        return Held(None, ours=True, stored=Stored(), data={})


async def write(kube: KubeApi, user: KafkaUser, found: Held, wanted: Wanted) -> tuple[Held, frozenset[str]]:
    """The Secret as it is then, and the keys that were not as wanted; writes only if there are any.

    Raises ConflictError (also AlreadyExistsError) if it moved meanwhile.
    """
    data = dict(wanted.data)
    if wanted.next is not None:
        data[files.NEXT_PASSWORD] = wanted.next.get_secret_value()
    meta = _meta(user, wanted)
    namespace = user.metadata.namespace
    if found.obj is None:
        body = {"metadata": meta, "type": files.SECRET_TYPE, "data": _encoded(data)}
        made = await kube.create(SECRETS, body, namespace)
        return held(made, user), frozenset(data)
    keys = {key for key in data.keys() | (OURS & found.data.keys()) if data.get(key) != found.data.get(key)}
    annotations = found.obj["metadata"].get("annotations") or {}
    if not keys and meta["annotations"].items() <= annotations.items():
        return found, frozenset()
    changes: dict[str, Any] = {key: _base64(data[key]) if key in data else None for key in keys}
    mark = {key: found.obj["metadata"][key] for key in ("uid", "resourceVersion")}
    body = {"metadata": {"annotations": meta["annotations"], "labels": meta["labels"]} | mark, "data": changes}
    changed = await kube.patch(SECRETS, user.secret_name, namespace, body)
    return held(changed, user), frozenset(keys)


async def delete(kube: KubeApi, user: KafkaUser, found: Held) -> bool:
    """True if there was one of ours."""
    if found.obj is None or not found.ours:
        return False
    meta = found.obj["metadata"]
    try:
        await kube.delete(SECRETS, meta["name"], user.metadata.namespace, uid=meta["uid"])
    except NotFoundError:
        return False
    return True


def held(obj: Object, user: KafkaUser) -> Held:
    """Pure. What cannot be decoded reads as absent."""
    meta, data = obj["metadata"], texts(obj)
    annotations = meta.get("annotations") or {}
    owners = {owner.get("uid") for owner in meta.get("ownerReferences") or []}
    return Held(
        obj=obj,
        ours=user.metadata.uid in owners,
        stored=Stored(
            password=_secret(data, files.PASSWORD),
            next=_secret(data, files.NEXT_PASSWORD),
            issued_at=_seconds(annotations.get(names.ISSUED_AT)),
            rotation=annotations.get(names.ROTATION, ""),
        ),
        data=data,
    )


def _meta(user: KafkaUser, wanted: Wanted) -> dict[str, Any]:
    return {
        "name": user.secret_name,
        "namespace": user.metadata.namespace,
        "labels": {
            names.APP_NAME: "kafka-user",
            names.APP_INSTANCE: user.metadata.name[:63].rstrip("-."),
            names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET,
            names.CLUSTER: user.cluster_name,
        },
        "annotations": {names.ISSUED_AT: timestamp(wanted.issued_at), names.ROTATION: wanted.rotation},
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": user.metadata.name,
                "uid": user.metadata.uid,
                "controller": True,
            }
        ],
    }


def _encoded(data: Mapping[str, str]) -> dict[str, str]:
    return {key: _base64(text) for key, text in data.items()}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _secret(data: Mapping[str, str], key: str) -> SecretStr | None:
    return SecretStr(data[key]) if key in data else None


def _seconds(text: str | None) -> float | None:
    try:
        return datetime.fromisoformat(text).timestamp() if text else None
    except ValueError:
        return None
