"""Who is let in: a cluster with TLS, passwords, certificates and ACLs on real brokers, seen by real clients."""

from __future__ import annotations

import base64
import json
import secrets as randomness
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from support.access_scenes import (
    CLIENTS_KEY,
    CLUSTER_KEY,
    as_it_is,
    goes_on,
    judge_clients_authority,
    judge_cluster_authority,
    renew_given,
    restarts,
    succession,
)
from support.access_stage import BOUGHT, GIVEN, LISTENERS, VERSION, Place, nothing_against, served
from support.cell import Cell, combined_cluster, topic
from support.doors import HOUR, Doors, anonymous_is_answered, let_in, pki
from support.following import Mounts, Steady, steady
from support.given import Giver, edit_secret
from support.hidden import Hidden
from support.leaks import key_lines
from support.sandbox import Sandbox
from support.secure_clients import (
    SECONDS,
    SecureTraffic,
    admin,
    forwarder,
    is_let_in,
    scram,
    secret,
    write_and_read,
)
from support.supervised import supervised
from support.users import rule, user

from controlplane.api import names
from controlplane.domain.access.pem import public_part

PASSWORD = randomness.token_urlsafe(24)
CA_SECONDS, CLIENTS_CA_SECONDS, YEARS = 900, 20_000, str(10 * 365 * 86_400)
ORDINARY = {
    "AUTHORITY_LIFETIME": str(CA_SECONDS),
    "AUTHORITY_RENEW_BEFORE": "1",
    "AUTHORITY_OVERLAP": "1",
    "CERTIFICATE_LIFETIME": "36000",
    "CERTIFICATE_RENEW_BEFORE": "7200",
    "CERTIFICATE_RESTART_BEFORE": "30",
    "CERTIFICATE_WARN_BEFORE": "20",
}
"""Certificates of ten hours, from an authority of a few minutes."""
RENEW = {"CERTIFICATE_RENEW_BEFORE": "35940"}
"""Certificates are due when they are a minute old, and so are the next ones."""

SCRAM = {"tls": True, "authentication": {"type": "scram-sha-512"}}
OUTSIDE = [
    {"name": "nodeport", "port": 9096, "type": "NodePort"} | SCRAM,
    {"name": "balanced", "port": 9097, "type": "LoadBalancer"} | SCRAM,
]


@pytest.fixture(scope="module")
def ledger(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.db"


@pytest.fixture(scope="module")
def giver(cell: Cell) -> Giver:
    return Giver(cell, BOUGHT, "given")


@pytest.fixture(scope="module")
def place(cell: Cell, ledger: Path, giver: Giver, sandbox: Sandbox) -> Iterator[Place]:
    """With a user of each listener inside. The authority of users is one that kfleet is known to have made before, and
    ends at another time than the cluster's, so that one can be followed without the other."""
    cell.operator.settings["KFLEET_LEDGER_URL"] = f"sqlite:///{ledger}"
    with supervised(cell.operator) as supervisor:
        made = Place(cell, sandbox, supervisor, Mounts(cell), ledger, giver)
        made.operate(**ORDINARY)
        authority = pki.make_authority("cell clients CA", CLIENTS_CA_SECONDS)
        edit_secret(cell, CLIENTS_KEY, {"ca.crt": authority.certificate, "ca.key": authority.key})
        ours = {names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET, names.CLUSTER: "cell"}
        cell.kubectl("label", "secret", CLIENTS_KEY, *(f"{key}={value}" for key, value in ours.items()))
        giver.give(hosts=("nobody.example.com",))
        may_write = rule("orders", "Write")
        cell.apply(
            combined_cluster(
                version=VERSION,
                security={"nodes": "MutualTls"},
                authorization={"type": "Standard"},
                listeners=[*LISTENERS, *OUTSIDE, GIVEN],
            ),
            topic("orders"),
            user("app", may_write, listener="passwords"),
            user("cert", may_write, kind="tls"),
            user("shop", may_write, listener="given"),
        )
        # What it has to be for is known once there are pods and Services, and is told then.
        cell.wait("three addresses", lambda: len(giver.pods()) == 3)
        lacking = ", ".join(sorted((*giver.pods(), giver.service())))
        cell.wait(
            "what the given certificate lacks", lambda: f"is not for {lacking}, " in cell.condition("Ready")["message"]
        )
        giver.give()
        cell.wait_ready()
        cell.wait_topic("orders")
        made.wait_users("app", "cert", "shop")
        yield made


@pytest.fixture(scope="module")
def doors(place: Place) -> Doors:
    """As they are after the successions, which come first: the cluster's first authority lives for minutes."""
    return place.doors()


def test_another_authority_follows_one_of_a_few_minutes_life_under_traffic(cell: Cell, place: Place) -> None:
    """In two rolls, in which nodes of both kinds are about."""
    before, stops = as_it_is(place), place.stops()
    app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
    with nothing_against() as scene:
        with place.mounts, steady(cell, app, cert):
            place.operate(AUTHORITY_LIFETIME=YEARS, AUTHORITY_RENEW_BEFORE=str(CA_SECONDS - 10))
            succession(place, CLUSTER_KEY)
            goes_on(place, app, cert)
        scene.fared(place.read(), app, cert)
        judge_cluster_authority(place, scene, before)
    assert restarts(stops) == dict.fromkeys(range(3), 2)
    assert as_it_is(place).authorities[CLIENTS_KEY] == before.authorities[CLIENTS_KEY], "the other one stays"


def test_another_authority_of_users_follows_under_traffic_and_nobody_is_restarted(cell: Cell, place: Place) -> None:
    before, pods = as_it_is(place), cell.pod_uids()
    app, cert = Steady(place.mounts, "app", "orders"), Steady(place.mounts, "cert", "orders")
    with nothing_against() as scene:
        with place.mounts, steady(cell, app, cert):
            place.operate(AUTHORITY_RENEW_BEFORE=str(CLIENTS_CA_SECONDS + 3600))
            succession(place, CLIENTS_KEY)
            goes_on(place, app, cert)
        scene.fared(place.read(), app, cert)
        judge_clients_authority(place, scene, before)
    assert cell.pod_uids() == pods
    assert as_it_is(place).authorities[CLUSTER_KEY] == before.authorities[CLUSTER_KEY], "the other one stays"


def test_a_given_certificate_is_renewed_under_traffic_and_nobody_is_restarted(cell: Cell, place: Place) -> None:
    pods, shop = cell.pod_uids(), Steady(place.mounts, "shop", "orders")
    with nothing_against() as scene:
        with place.mounts, steady(cell, shop):
            renew_given(place, scene)
            goes_on(place, shop)
        scene.fared(place.read(), shop)
        server, login = place.doors().more["given"], place.login("shop")
        scene.check("who comes now is served too", ok=is_let_in(server, login))
        other = pki.make_authority("x", HOUR).certificate
        scene.check("who trusts another authority refuses", ok=not is_let_in(server, login | {"ssl.ca.pem": other}))
    assert cell.pod_uids() == pods


def allow(doors: Doors, user: str, *operations: AclOperation) -> None:
    acls = [
        AclBinding(
            ResourceType.TOPIC,
            "orders",
            ResourcePatternType.LITERAL,
            f"User:{user}",
            "*",
            operation,
            AclPermissionType.ALLOW,
        )
        for operation in operations
    ]
    client = admin(doors.replication, doors.operator)
    for future in client.create_acls(acls).values():
        future.result(SECONDS)


def make_user(doors: Doors, name: str, password: str) -> None:
    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    asked = [UserScramCredentialUpsertion(name, info, password.encode())]
    client = admin(doors.replication, doors.operator)
    for future in client.alter_user_scram_credentials(asked).values():
        future.result(SECONDS)
    # Each broker learns of it a moment after the controller has answered.
    login, port = scram(doors.cluster_ca, name, password), doors.passwords.rpartition(":")[2]
    for broker in client.list_topics(timeout=SECONDS).brokers.values():
        wait_for(partial(is_let_in, f"{broker.host}:{port}", login))


def test_who_is_not_known_is_refused_on_every_listener(doors: Doors) -> None:
    """Each attempt by a real client; those that are known are its control."""
    make_user(doors, "alice", PASSWORD)
    alice = scram(doors.cluster_ca, "alice", PASSWORD)
    known = {
        "controller": doors.operator,
        "replication": doors.operator,
        "passwords": alice,
        "certificates": doors.user("bob"),
        "nodeport": alice,
        "balanced": alice,
        "given": alice,
    }
    assert known.keys() == doors.every.keys()
    found = let_in(doors, known, user="alice", password=PASSWORD)
    assert found == {("known", door) for door in known}
    assert anonymous_is_answered(doors), "the control of what is asked of a controller"


def test_clients_trust_no_other_broker_than_ours(doors: Doors) -> None:
    """Another authority's certificate is not taken for ours, nor ours under another address; with that check off it is:
    the same client, the same wire."""
    alice = scram(doors.cluster_ca, "alice", PASSWORD)
    assert is_let_in(doors.passwords, alice)
    assert not is_let_in(doors.passwords, alice | {"ssl.ca.pem": pki.make_authority("x", HOUR).certificate})
    with forwarder(doors.passwords) as elsewhere:
        assert not is_let_in(elsewhere, alice)
        assert is_let_in(elsewhere, alice | {"ssl.endpoint.identification.algorithm": "none"})


def test_clients_begin_at_the_service_with_a_certificate_that_was_given(cell: Cell, doors: Doors, giver: Giver) -> None:
    """Host names are verified on the way: at the Service first, then at every broker."""
    make_user(doors, "dora", PASSWORD)
    allow(doors, "dora", AclOperation.DESCRIBE, AclOperation.WRITE, AclOperation.READ)
    dora, server = scram(doors.given["given"], "dora", PASSWORD), doors.more["given"]
    assert server == f"{giver.service()}:{GIVEN['port']}"
    wait_for(lambda: all_go_through(server, dora))
    write_and_read(server, "orders", dora)
    assert not is_let_in(server, scram(doors.cluster_ca, "dora", PASSWORD)), "it is the given one"
    with forwarder(server) as elsewhere:
        assert not is_let_in(elsewhere, dora)
        assert is_let_in(elsewhere, dora | {"ssl.endpoint.identification.algorithm": "none"})
    giver.give(hosts=giver.pods())

    def told() -> str:
        return str(cell.condition("CertificatesCurrent")["message"])

    cell.wait("one without the Service to be told", lambda: f"is not for {giver.service()}, where" in told())
    write_and_read(server, "orders", dora)
    giver.give()
    cell.wait("it to be put right", lambda: not told())


def test_nothing_is_allowed_that_no_acl_allows(doors: Doors) -> None:
    alice = scram(doors.cluster_ca, "alice", PASSWORD)
    assert "orders" not in admin(doors.passwords, alice).list_topics(timeout=SECONDS).topics
    allow(doors, "alice", AclOperation.DESCRIBE)
    with SecureTraffic(doors.passwords, "orders", alice) as denied:
        wait_for(lambda: denied.failed > 0)
    assert denied.acknowledged == 0
    assert "authorization" in denied.errors[0].lower()
    bob = admin(doors.certificates, doors.user("bob"))
    with pytest.raises(KafkaException, match="uthoriz"):
        bob.create_topics([NewTopic("x", 1, 1)])["x"].result(SECONDS)
    allow(doors, "alice", AclOperation.WRITE)
    # Brokers may learn of a rule a moment after the controller has answered.
    wait_for(lambda: all_go_through(doors.passwords, alice))
    allow(doors, "bob", AclOperation.DESCRIBE)
    wait_for(lambda: bob.list_topics("orders", timeout=SECONDS).topics["orders"].error is None)


def all_go_through(server: str, settings: Hidden) -> bool:
    """Of a hundred records, to every partition."""
    with SecureTraffic(server, "orders", settings) as traffic:
        wait_for(lambda: traffic.acknowledged > 100 or traffic.failed > 0)
    return traffic.failed == 0


def wait_for(condition: Callable[[], bool], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def node_certificates(cell: Cell) -> dict[int, str]:
    """Fingerprints by node, of what its Secret holds."""
    found = {}
    for node in range(3):
        data = secret(cell, f"cell-nodes-{node}-tls")
        found[node] = pki.read(public_part(data["node.pem"]))[0].fingerprint
    return found


def noted(cell: Cell) -> dict[int, str]:
    """Fingerprints by node, of what it was seen to serve."""
    marks = {node: cell.get("secret", f"cell-nodes-{node}-tls")["metadata"]["annotations"] for node in range(3)}
    return {node: found.get("kfleet.dev/certificate-loaded", "") for node, found in marks.items()}


def shown_to_controllers(cell: Cell) -> dict[int, str]:
    """Fingerprints by node, of what it shows at the port of controllers; empty where it does not answer."""
    return {node: served(pod["status"]["podIP"], 9090) for node, pod in cell.pods().items()}


def test_certificates_are_renewed_under_traffic_and_nobody_is_restarted(cell: Cell, place: Place, doors: Doors) -> None:
    first, pods = node_certificates(cell), cell.pod_uids()
    alice = scram(doors.cluster_ca, "alice", PASSWORD)
    cell.wait("every certificate seen to be served", lambda: noted(cell) == first)
    place.operate(**RENEW)
    with SecureTraffic(doors.passwords, "orders", alice) as traffic:
        cell.wait(
            "every node serves another certificate",
            lambda: all(now and now != first[node] for node, now in noted(cell).items()),
        )
        cell.wait(
            "to controllers too",
            lambda: all(now not in ("", first[node]) for node, now in shown_to_controllers(cell).items()),
        )
        before = traffic.acknowledged
        wait_for(lambda: traffic.acknowledged > before + 100)
        # Those who come now are shown the new one.
        assert is_let_in(doors.passwords, alice)
        assert is_let_in(doors.certificates, doors.user("bob"))
    place.operate(CERTIFICATE_RENEW_BEFORE=ORDINARY["CERTIFICATE_RENEW_BEFORE"])
    cell.wait_ready()
    assert (traffic.failed, traffic.errors) == (0, [])
    assert cell.pod_uids() == pods


def outside(cell: Cell) -> dict[str, dict[str, Any]]:
    """status.listeners of those for clients outside, by name."""
    names = {item["name"] for item in OUTSIDE}
    return {item["name"]: item for item in cell.cluster()["status"]["listeners"] if item["name"] in names}


def test_clients_outside_reach_every_broker_at_addresses_that_stay(cell: Cell, doors: Doors) -> None:
    """Host names are verified; the leaders of the topic are on every broker, so that each is reached."""
    make_user(doors, "carol", PASSWORD)
    allow(doors, "carol", AclOperation.DESCRIBE, AclOperation.WRITE, AclOperation.READ)
    carol, before = scram(doors.cluster_ca, "carol", PASSWORD), outside(cell)
    assert len({one["address"] for item in before.values() for one in item["brokers"]}) == 6
    wait_for(lambda: all_go_through(doors.passwords, carol))
    nodes = {one["address"].partition(":")[0] for one in before["nodeport"]["brokers"]}
    assert len(nodes) == 3, "each on a node of its own"

    def used() -> None:
        for item in before.values():
            told = {one["id"]: one["address"] for one in item["brokers"]}
            for server in item["bootstrapServers"]:
                found = admin(server, carol).list_topics(timeout=SECONDS).brokers
                assert {node: f"{one.host}:{one.port}" for node, one in found.items()} == told
            write_and_read(",".join(item["bootstrapServers"]), "orders", carol)

    used()
    with forwarder(before["nodeport"]["bootstrapServers"][0]) as elsewhere:
        assert not is_let_in(elsewhere, carol), "the control: an address that no certificate is for"
    pods = cell.pod_uids()
    with SecureTraffic(before["nodeport"]["bootstrapServers"][0], "orders", carol) as traffic:
        cell.kubectl("delete", "pod", "cell-nodes-1", "--wait=false")
        cell.wait("another pod of node 1", lambda: cell.pod_uids().get(1) not in (None, pods[1]))
        cell.wait_ready()
        enough = traffic.acknowledged + 100
        wait_for(lambda: traffic.acknowledged > enough)
    assert (traffic.failed, traffic.errors) == (0, [])
    assert outside(cell) == before
    used()
    assert {node for node, uid in cell.pod_uids().items() if uid != pods[node]} == {1}


def test_listeners_that_cannot_be_touch_no_broker_and_can_be_taken_out(cell: Cell, doors: Doors) -> None:
    make_user(doors, "carol", PASSWORD)
    pods, good = cell.pod_uids(), cell.cluster()["spec"]["listeners"]
    never = {"name": "never", "port": 9098, "type": "LoadBalancer"} | SCRAM
    low = {"name": "low", "port": 9099, "type": "NodePort", "external": {"nodePort": 80}} | SCRAM
    never["external"] = {"loadBalancerClass": "example.com/none"}
    cell.patch({"listeners": [*good, never, low]})

    def said(*words: str) -> bool:
        message = cell.condition("Ready")["message"]
        return all(text in message for text in words)

    field = "spec.listeners[low].external.nodePort: Kubernetes refuses Service cell-low"
    cell.wait("the refusal of the node port", lambda: said(field, "not in the valid range"))
    cell.wait("what is waited for", lambda: said("spec.listeners[never]: Service cell-never-0 (and 3 more)"))
    assert is_let_in(doors.passwords, scram(doors.cluster_ca, "carol", PASSWORD))
    cell.patch({"listeners": good})
    cell.wait_ready()
    names = {item["metadata"]["name"] for item in cell.get("services")["items"]}
    assert not {name for name in names if "never" in name or "low" in name}
    assert {"cell-nodeport", "cell-nodeport-0", "cell-balanced-2"} <= names
    assert cell.pod_uids() == pods


def test_no_secret_turns_up_elsewhere(cell: Cell, place: Place, ledger: Path) -> None:
    """The control: what is planted in an Event, a Secret's annotation, a log and a process list is found, also in a
    file that is in base64, as Secrets hold it."""
    place.mounts.look()
    known = len(place.mounts.seen)
    nodes = {line for node in range(3) for line in key_lines(secret(cell, f"cell-nodes-{node}-tls")["node.pem"])}
    assert len(nodes) >= 6
    assert nodes <= place.mounts.seen
    assert known > 30, "keys of authorities and certificates, also former ones, and passwords"
    assert ledger.exists()
    # What pytest shows of a failed call are its arguments.
    found = place.leaks([*place.mounts.seen, PASSWORD])
    assert found == []
    planted = randomness.token_urlsafe(24)
    config = base64.b64encode(f"sasl.password={planted}\nacks=all\n".encode()).decode()
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": "planted"},
        "involvedObject": {"kind": "KafkaCluster", "name": "cell", "namespace": cell.namespace},
        "message": json.dumps({"data": {"client.properties": config}}),
    }
    notes = {"name": "planted", "annotations": {"example.com/note": planted}}
    cell.apply(event, {"apiVersion": "v1", "kind": "Secret", "metadata": notes})
    with cell.operator.log.open("a") as log:
        log.write(f"planted {planted}\n")
    process = subprocess.Popen([sys.executable, "-c", "input()", planted], stdin=subprocess.PIPE)
    try:
        where = set(place.leaks([planted]))
    finally:
        process.communicate(b"\n")
    log_file, cmdline = str(cell.operator.log), f"cmdline of process {process.pid}"
    assert {"objects", "metadata of Secrets", log_file, cmdline} <= where
