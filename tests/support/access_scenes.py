"""One authority follows another, and one given certificate another: what `make campaign-access` and `make test` look at
in the same way. What was asked for, and whether it was so, goes to the Scene.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from support.access_stage import Place, Scene, served
from support.access_verdict import MINIMUM_ACKNOWLEDGED
from support.doors import Doors, pki
from support.following import Steady
from support.roll_witness import Stops
from support.secure_clients import is_answered, is_let_in, mutual, scram, secret

from controlplane.domain.access.pem import public_part
from controlplane.ports import KeyPair

CLUSTER_KEY, CLIENTS_KEY = BOTH = ("cell-cluster-ca-key", "cell-clients-ca-key")
"""Secrets with the keys of the authorities."""


def goes_on(place: Place, *clients: Steady) -> None:
    """Each of them writes for a while longer, and enough to count."""
    wanted = {one.name: max(len(one.acknowledged) + 60, MINIMUM_ACKNOWLEDGED) for one in clients}
    for one in clients:

        def enough(one: Steady = one) -> bool:
            return len(one.acknowledged) > wanted[one.name]

        place.cell.wait(f"{one.name} to go on ({dict(one.failed)} {dict(one.errors)})", enough, 60)


def restarts(stops: Stops) -> Counter[int]:
    return Counter(stop.node for stop in stops.all())


def stage_of(place: Place, *keys: str) -> set[str]:
    """What the Secrets of the authorities' keys hold beside ca.crt and ca.key."""
    return {key for name in keys for key in secret(place.cell, name) if key not in ("ca.crt", "ca.key")}


def succession(place: Place, *keys: str) -> None:
    """All three stages, of the authorities whose keys lie in these Secrets."""
    cell = place.cell
    cell.wait("both trusted", lambda: "next.crt" in stage_of(place, *keys), 60)
    cell.wait("the new one to sign", lambda: "old.crt" in stage_of(place, *keys), 300)
    cell.wait("the old one dropped", lambda: not stage_of(place, *keys), 300)
    cell.wait_ready()


@dataclass(frozen=True, repr=False)
class Before:
    """What counted before a succession: certificates of the authorities by Secret, what users and the operator had."""

    authorities: Mapping[str, str]
    users: Mapping[str, Mapping[str, str]]
    doors: Doors


def as_it_is(place: Place) -> Before:
    authorities = {name: secret(place.cell, name)["ca.crt"] for name in BOTH}
    return Before(authorities, {name: place.user(name) for name in ("app", "cert")}, place.doors())


def judge_cluster_authority(place: Place, scene: Scene, before: Before) -> None:
    """It is another one, to clients and between nodes: the former operator is a stranger, also to the controllers."""
    doors, app, old = place.doors(), place.user("app"), before.authorities[CLUSTER_KEY]
    scene.check("another authority signs for nodes", ok=secret(place.cell, CLUSTER_KEY)["ca.crt"] != old)
    new, password = app["ca.crt"], app["password"]
    scene.check(
        "a client that trusts the new one is served", ok=is_let_in(doors.passwords, scram(new, "app", password))
    )
    scene.check(
        "one that trusts the old one alone refuses", ok=not is_let_in(doors.passwords, scram(old, "app", password))
    )
    former = before.doors.operator | {"ssl.ca.pem": doors.cluster_ca}
    for door, asks in (("controller", is_answered), ("replication", is_let_in)):
        scene.check(f"{door}: the operator is let in", ok=asks(doors.every[door], doors.operator))
        _turned_away(place, scene, f"{door}: its former certificate", partial(asks, doors.every[door], former))
    for node, pod in place.cell.pods().items():
        held = pki.read(public_part(secret(place.cell, f"cell-nodes-{node}-tls")["node.pem"]))[0].fingerprint
        shown = {served(pod["status"]["podIP"], port) for port in (9090, 9091)}
        scene.check(f"node {node} shows its new certificate to controllers and brokers", ok=shown == {held})


def judge_clients_authority(place: Place, scene: Scene, before: Before) -> None:
    doors, now, former = place.doors(), place.user("cert"), before.users["cert"]
    another = secret(place.cell, CLIENTS_KEY)["ca.crt"] != before.authorities[CLIENTS_KEY]
    scene.check("another authority signs for users", ok=another)
    new, old = (mutual(doors.cluster_ca, held["user.crt"], held["user.key"]) for held in (now, former))
    scene.check("a user's certificate by the new one is let in", ok=is_let_in(doors.certificates, new))
    _turned_away(place, scene, "a user's certificate by the old one", lambda: is_let_in(doors.certificates, old))


def _turned_away(place: Place, scene: Scene, who: str, gets_in: Callable[[], bool]) -> None:
    """Nodes trust an authority until Kubernetes has brought them the file without it, and they have read that."""
    place.cell.wait(f"{who} to be refused", lambda: not gets_in(), 120)
    scene.check(f"{who} is refused", ok=True)


def renew_given(place: Place, scene: Scene) -> KeyPair:
    """Brokers take over what cert-manager, or whoever it is, has written anew."""
    renewed = place.giver.give()
    place.cell.wait("brokers to show the renewed one", lambda: place.serves(renewed), 120)
    scene.check("a renewed one is shown by every broker", ok=True)
    return renewed
