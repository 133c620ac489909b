"""Every port of a cluster with TLS, and every kind of client that must not get in at any of them."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from support.cell import Cell
from support.secure_clients import is_answered, is_let_in, mutual, scram, secret

from controlplane.adapters.clock import SystemClock
from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.ports import KeyPair

pki = CryptographyPki(SystemClock())
HOUR = 3600
OPERATOR = Leaf("operator", UNIT)


@dataclass(repr=False)
class Doors:
    """The addresses of a cluster's listeners, and the authorities."""

    controller: str
    replication: str
    passwords: str
    certificates: str
    cluster_ca: str
    clients_ca: KeyPair
    operator: dict[str, Any]
    more: Mapping[str, str] = field(default_factory=dict)
    """Other listeners by name."""
    of_certificates: tuple[str, ...] = ("certificates",)
    """Those that let users in by their certificates."""
    given: Mapping[str, str] = field(default_factory=dict)
    """What brokers are trusted by on listeners whose certificate was given, by name."""

    def user(self, name: str) -> dict[str, Any]:
        """Settings of a user with a certificate of the right authority."""
        pair = pki.issue(self.clients_ca, Leaf(name), HOUR)
        return mutual(self.cluster_ca, pair.certificate, pair.key)

    @property
    def every(self) -> dict[str, str]:
        own = {name: getattr(self, name) for name in ("controller", "replication", "passwords", "certificates")}
        return own | dict(self.more)

    def at(self, door: str, config: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Where this client has to go, and the client trusting the brokers there: what it lacks is something else."""
        trusted = self.given.get(door)
        return self.every[door], dict(config) | ({"ssl.ca.pem": trusted} if trusted and "ssl.ca.pem" in config else {})


def doors_of(cell: Cell) -> Doors:
    """Of a cluster with listeners `passwords` and `certificates`, as it is now."""
    cluster = cell.cluster()
    asked = {item["name"]: item["authentication"]["type"] for item in cluster["spec"]["listeners"]}
    found = {item["name"]: item for item in cluster["status"]["listeners"]}
    labels = {node: pod["metadata"]["labels"] for node, pod in cell.pods().items()}
    servers = {name: item["bootstrapServers"][0] for name, item in found.items()}
    by_name = ".svc:" in servers["passwords"]
    address = {
        node: f"{pod['metadata']['name']}.cell-nodes.{cell.namespace}.svc" if by_name else pod["status"]["podIP"]
        for node, pod in cell.pods().items()
    }
    controller = min(node for node, one in labels.items() if one["kfleet.dev/controller"] == "true")
    broker = min(node for node, one in labels.items() if one["kfleet.dev/broker"] == "true")
    own, authority = secret(cell, "cell-operator-tls"), secret(cell, "cell-clients-ca-key")
    return Doors(
        controller=f"{address[controller]}:9090",
        replication=f"{address[broker]}:9091",
        passwords=servers.pop("passwords"),
        certificates=servers.pop("certificates"),
        cluster_ca=secret(cell, found["passwords"]["caSecret"])["ca.crt"],
        clients_ca=KeyPair(authority["ca.crt"], authority["ca.key"]),
        operator=mutual(own["ca.crt"], own["tls.crt"], own["tls.key"]),
        more=servers,
        of_certificates=tuple(name for name, kind in asked.items() if kind == "tls"),
        given={name: secret(cell, found[name]["caSecret"])["ca.crt"] for name in servers},
    )


def let_in(doors: Doors, known: Mapping[str, dict[str, Any]], *, user: str, password: str) -> set[tuple[str, str]]:
    """(who, door) of all that got in: strangers at every door, and as the control `known` by door.

    `user` is one with this password; what strangers lack is one thing each.
    """
    other = pki.make_authority("cell cluster CA", HOUR)
    strangers = {
        "anonymous, in plaintext": {},
        "anonymous, with TLS": {"security.protocol": "SSL", "ssl.ca.pem": doors.cluster_ca},
        "wrong password": scram(doors.cluster_ca, user, "wrong"),
        "no such user": scram(doors.cluster_ca, "mallory", password),
        "the operator's certificate, of another authority": _mutual(doors, pki.issue(other, OPERATOR, HOUR)),
        "a user's certificate, of another authority": _mutual(doors, pki.issue(other, Leaf(user), HOUR)),
        "a user's certificate that says it is the operator's": _mutual(
            doors, pki.issue(doors.clients_ca, OPERATOR, HOUR)
        ),
    }
    cases = {(who, door): doors.at(door, config) for who, config in strangers.items() for door in doors.every}
    cases |= {
        ("a user's certificate", door): doors.at(door, doors.user("bob")) for door in ("controller", "replication")
    }
    cases |= {("the operator's, for users", door): doors.at(door, doors.operator) for door in doors.of_certificates}
    cases |= {("known", door): doors.at(door, config) for door, config in known.items()}

    def tried(case: tuple[str, str]) -> bool:
        return (is_answered if case[1] == "controller" else is_let_in)(*cases[case])

    with ThreadPoolExecutor(len(cases)) as threads:
        found = dict(zip(cases, threads.map(tried, cases), strict=True))
    return {case for case, got_in in found.items() if got_in}


def anonymous_is_answered(doors: Doors) -> bool:
    """The control of what is tried at a controller's port: where no certificate is asked for, before the password is,
    the same client gets the same answer."""
    return is_answered(doors.passwords, {"security.protocol": "SSL", "ssl.ca.pem": doors.cluster_ca})


def _mutual(doors: Doors, pair: KeyPair) -> dict[str, Any]:
    return mutual(doors.cluster_ca, pair.certificate, pair.key)
