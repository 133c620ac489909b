"""Secrets that hold certificates: read one by one by name, never listed or watched, and what they hold as values."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping

from controlplane.api import names
from controlplane.domain.access.enrolment import not_enrolled
from controlplane.domain.access.pem import public_part
from controlplane.domain.access.values import ClientTls
from controlplane.domain.check import Check
from controlplane.domain.cluster.access import CA_CRT, NEXT_CRT, OLD_CRT, TLS_CRT, TLS_KEY
from controlplane.ports import ForbiddenError, KubeApi, NotFoundError, Object, Resource

SECRETS = Resource("", "v1", "secrets", "Secret")
PROBE = "kfleet-enrolment"
"""A Secret that nobody makes: what is asked about is the right to ask."""


async def read(kube: KubeApi, name: str, namespace: str) -> Object | None:
    """None where there is none."""
    try:
        return await kube.get(SECRETS, name, namespace)
    except NotFoundError:
        return None


async def unenrolled(kube: KubeApi, namespace: str) -> Check | None:
    """Why this account may have no Secrets in a namespace, None where it may. Raises KubeError."""
    try:
        await read(kube, PROBE, namespace)
    except ForbiddenError as error:
        return not_enrolled(namespace, error.message)
    return None


def texts(secret: Object) -> dict[str, str]:
    """Its data as text; what is no text is left out, which then counts as missing."""
    found = {}
    for key, value in (secret.get("data") or {}).items():
        try:
            found[key] = base64.b64decode(value, validate=True).decode()
        except (binascii.Error, UnicodeDecodeError):
            continue
    return found


def is_ours(secret: Object, cluster: str) -> bool:
    """Whether it was made by kfleet for this cluster."""
    labels = secret["metadata"].get("labels") or {}
    return labels.get(names.APP_MANAGED_BY) == names.MANAGED_BY_KFLEET and labels.get(names.CLUSTER) == cluster


def trusted(data: Mapping[str, str]) -> str:
    """What is to be trusted (PEM) by the Secret with an authority's key: also the one to follow, and the former one."""
    return "".join(public_part(data.get(key, "")) for key in (CA_CRT, NEXT_CRT, OLD_CRT))


def client_tls(data: Mapping[str, str]) -> ClientTls | None:
    """From a Secret in Kubernetes' own layout; None where something is missing."""
    parts = [data.get(key, "") for key in (CA_CRT, TLS_CRT, TLS_KEY)]
    return ClientTls(*parts) if all(parts) else None
