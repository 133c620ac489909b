"""Who is let in: a cluster with TLS, passwords, certificates and ACLs on real brokers, seen by real clients."""

from __future__ import annotations

import base64
import json
import secrets as randomness
import subprocess
import sys
import time
from collections.abc import Callable
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
from support.audit import log_files
from support.cell import Cell, combined_cluster, topic
from support.doors import HOUR, Doors, anonymous_is_answered, doors_of, let_in, pki
from support.given import Giver
from support.leaks import key_lines, leaks, places
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

from controlplane.services.access.secrets import public_part

PASSWORD = randomness.token_urlsafe(24)
ORDINARY = {"KFLEET_CERTIFICATE_LIFETIME": "36000", "KFLEET_CERTIFICATE_RENEW_BEFORE": "7200"} | {
    "KFLEET_CERTIFICATE_RESTART_BEFORE": "600",
    "KFLEET_CERTIFICATE_WARN_BEFORE": "60",
}
"""Certificates of ten hours. With `RENEW` they are due when they are a minute old, and so are the next ones."""
RENEW = {"KFLEET_CERTIFICATE_RENEW_BEFORE": "35940"}

SCRAM = {"tls": True, "authentication": {"type": "scram-sha-512"}}
OUTSIDE = [
    {"name": "nodeport", "port": 9095, "type": "NodePort"} | SCRAM,
    {"name": "balanced", "port": 9096, "type": "LoadBalancer"} | SCRAM,
]
GIVEN = {"name": "given", "port": 9099, "certificateSecretRef": {"name": "bought"}} | SCRAM


@pytest.fixture(scope="module")
def ledger(cell: Cell, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("ledger") / "ledger.db"


@pytest.fixture(scope="module")
def giver(cell: Cell) -> Giver:
    return Giver(cell, "bought", "given")


@pytest.fixture(scope="module")
def doors(cell: Cell, ledger: Path, giver: Giver) -> Doors:
    cell.operator.stop()
    cell.operator.settings |= ORDINARY | {"KFLEET_LEDGER_URL": f"sqlite:///{ledger}"}
    cell.operator.start()
    giver.give(hosts=("nobody.example.com",))
    cell.apply(
        combined_cluster(
            version="4.3.1",
            security={"nodes": "MutualTls"},
            authorization={"type": "Standard"},
            listeners=[
                {"name": "passwords", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}},
                {"name": "certificates", "port": 9094, "tls": True, "authentication": {"type": "tls"}},
                *OUTSIDE,
                GIVEN,
            ],
        ),
        topic("orders"),
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
    return doors_of(cell)


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
    assert server == f"{giver.service()}:9099"
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
    with SecureTraffic(doors.passwords, "orders", alice) as allowed:
        wait_for(lambda: allowed.acknowledged > 10)
    assert allowed.failed == 0
    allow(doors, "bob", AclOperation.DESCRIBE)
    assert bob.list_topics("orders", timeout=SECONDS).topics["orders"].error is None


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
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


def test_certificates_are_renewed_under_traffic_and_nobody_is_restarted(cell: Cell, doors: Doors) -> None:
    first, pods = node_certificates(cell), cell.pod_uids()
    alice = scram(doors.cluster_ca, "alice", PASSWORD)
    cell.wait("every certificate seen to be served", lambda: noted(cell) == first)
    cell.operator.stop()
    cell.operator.settings |= RENEW
    cell.operator.start()
    with SecureTraffic(doors.passwords, "orders", alice) as traffic:
        cell.wait(
            "every node serves another certificate",
            lambda: all(now and now != first[node] for node, now in noted(cell).items()),
        )
        before = traffic.acknowledged
        wait_for(lambda: traffic.acknowledged > before + 100)
        # Those who come now are shown the new one.
        assert is_let_in(doors.passwords, alice)
        assert is_let_in(doors.certificates, doors.user("bob"))
    cell.operator.stop()
    cell.operator.settings |= ORDINARY
    cell.operator.start()
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
    never = {"name": "never", "port": 9097, "type": "LoadBalancer"} | SCRAM
    low = {"name": "low", "port": 9098, "type": "NodePort", "external": {"nodePort": 80}} | SCRAM
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


def test_no_secret_turns_up_elsewhere(cell: Cell, doors: Doors, ledger: Path, sandbox: Sandbox) -> None:
    """The control: what is planted in an Event, a Secret's annotation, a log and a process list is found, also in a
    file that is in base64, as Secrets hold it."""
    names = ["cell-cluster-ca-key", "cell-clients-ca-key", "cell-operator-tls"]
    names += [f"cell-nodes-{node}-tls" for node in range(3)]
    keys = [line for name in names for text in secret(cell, name).values() for line in key_lines(text)]
    number = len(keys)
    assert number >= 2 * len(names)
    files = [*ledger.parent.iterdir(), *log_files(sandbox.paths.audit_log)]
    assert ledger in files
    # What pytest shows of a failed call are its arguments.
    found = leaks(places(cell, files), [*keys, PASSWORD])
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
        where = set(leaks(places(cell, files), [planted]))
    finally:
        process.communicate(b"\n")
    log_file, cmdline = str(cell.operator.log), f"cmdline of process {process.pid}"
    assert {"objects", "metadata of Secrets", log_file, cmdline} <= where
