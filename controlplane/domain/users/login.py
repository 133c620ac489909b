"""Which of a cluster's listeners a user logs in through, and where it is. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.check import Check


@dataclass(frozen=True, slots=True)
class Entrance:
    """A listener that takes the user's credentials. No servers: it is not up yet.

    `ca_secret` names the Secret with what clients trust.
    """

    name: str
    bootstrap_servers: tuple[str, ...]
    tls: bool
    ca_secret: str = ""


def entrance(cluster: Mapping[str, Any], user: KafkaUser) -> Entrance | Check:
    """`cluster` is the KafkaCluster as the API server has it. A failed Check where no listener takes the user."""
    wanted = user.spec.authentication.type.value
    listeners = cluster["spec"].get("listeners") or []
    named = [one for one in listeners if user.spec.listener in (None, one["name"])]
    fits = [one for one in named if (one.get("authentication") or {}).get("type") == wanted]
    if user.spec.listener is not None and not named:
        known = ", ".join(one["name"] for one in listeners) or "none"
        return _refusal(f"spec.listener: the cluster has no listener {user.spec.listener!r} (it has {known}).")
    if not fits:
        field = "spec.listener" if user.spec.listener is not None else "spec.authentication.type"
        which = f"listener {user.spec.listener!r}" if user.spec.listener is not None else "no listener of the cluster"
        verb = "does not take" if user.spec.listener is not None else "takes"
        return _refusal(f"{field}: {which} {verb} {wanted}.")
    chosen = fits[0]
    status = cluster.get("status", {}).get("listeners") or []
    reached: Mapping[str, Any] = next((one for one in status if one["name"] == chosen["name"]), {})
    return Entrance(
        chosen["name"],
        tuple(reached.get("bootstrapServers") or ()),
        tls=bool(chosen.get("tls")),
        ca_secret=reached.get("caSecret", ""),
    )


def _refusal(evidence: str) -> Check:
    return Check(
        "ListenerMissing",
        ok=False,
        evidence=evidence,
        remedy="Add one with this authentication.type to the KafkaCluster's spec.listeners, or name another.",
    )
