"""A cluster whose nodes know one another by certificates, on fakes: made, renewed, restored, and refused."""

from __future__ import annotations

import base64
import copy
import datetime as dt
import ipaddress
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.fake_kube import FakeKube
from support.fake_tls import signed
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, passes, run_until_ready, service, some_topic
from support.users import KEY as USERS_KEY
from support.users import UserSpace, beside, rule, user

from controlplane.adapters.pki import CryptographyPki
from controlplane.adapters.tls import context
from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.listeners import ALLOWS_UNLISTED
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.domain.access.values import ClientTls, Lifetimes
from controlplane.ports import ForbiddenError, KafkaAdmin, KeyPair, Object, Resource
from controlplane.services.access.secrets import SECRETS, public_part
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import observe_world

SCRAM = {"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}
MTLS = {"name": "users", "port": 9094, "tls": True, "authentication": {"type": "tls"}}
SECURE: dict[str, Any] = {
    "security": {"nodes": "MutualTls"},
    "authorization": {"type": "Standard"},
    "listeners": [SCRAM, MTLS],
}
DAY = 86400.0
ALL = {
    "cell-cluster-ca",
    "cell-cluster-ca-key",
    "cell-clients-ca",
    "cell-clients-ca-key",
    "cell-operator-tls",
    *(f"cell-nodes-{node}-tls" for node in range(3)),
}


def secrets(namespace: Namespace) -> dict[str, dict[str, str]]:
    """Data of every Secret by its name, as text."""
    return {
        name: {key: base64.b64decode(value).decode() for key, value in obj.get("data", {}).items()}
        for (kind, _, name), obj in namespace.kube.objects.items()
        if kind == "secrets"
    }


def pod_uids(namespace: Namespace) -> dict[str, str]:
    return {name: obj["metadata"]["uid"] for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}


def leaf(namespace: Namespace, node: int = 0) -> Any:
    pem = secrets(namespace)[f"cell-nodes-{node}-tls"]["node.pem"]
    return namespace.certificates.pki.read(public_part(pem))[0]


async def secured(**spec: Any) -> Namespace:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | spec))
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 5)
    return namespace


async def condition(namespace: Namespace, kind: str) -> dict[str, Any]:
    return next((c for c in (await namespace.status())["conditions"] if c["type"] == kind), {})


async def test_everything_a_node_needs_lies_in_its_secret() -> None:
    namespace = await secured()
    found = secrets(namespace)
    assert found.keys() == ALL
    own = found["cell-nodes-1-tls"]
    pki = namespace.certificates.pki
    seen = pki.inspect(KeyPair(public_part(own["node.pem"]), own["node.pem"]), found["cell-cluster-ca"]["ca.crt"])
    assert (seen.key_matches, seen.trusted, seen.leaf.subject) == (True, True, "CN=nodes,OU=kfleet")
    assert {"127.9.1.1", "cell-nodes-1.cell-nodes.kafka.svc", "cell-clients.kafka.svc", "127.9.0.1"} <= set(
        seen.leaf.hosts
    )
    assert own["cluster-ca.crt"] == found["cell-cluster-ca"]["ca.crt"]
    assert own["clients-ca.crt"] == found["cell-clients-ca"]["ca.crt"]
    assert own["cluster-ca.crt"] != own["clients-ca.crt"], "who is let in as a user is never taken for a node"


async def test_private_keys_of_authorities_lie_apart_from_what_clients_mount() -> None:
    namespace = await secured()
    found = secrets(namespace)
    assert all(
        "PRIVATE KEY" not in text for name in ("cell-cluster-ca", "cell-clients-ca") for text in found[name].values()
    )
    assert "PRIVATE KEY" in found["cell-cluster-ca-key"]["ca.key"]
    owners = {
        name: bool(obj["metadata"].get("ownerReferences"))
        for (kind, _, name), obj in namespace.kube.objects.items()
        if kind == "secrets"
    }
    kept = {name for name in ALL if "-ca" in name}
    assert owners == {name: name not in kept for name in ALL}, "authorities outlive the object, leaves are signed anew"


async def test_the_status_says_how_to_connect_and_when_certificates_end() -> None:
    namespace = await secured()
    status = await namespace.status()
    assert status["listeners"] == [
        {"name": "clients", "bootstrapServers": ["127.9.0.1:9093"], "caSecret": "cell-cluster-ca"},
        {"name": "users", "bootstrapServers": ["127.9.0.1:9094"], "caSecret": "cell-cluster-ca"},
    ]
    assert {entry["name"] for entry in status["certificates"]} == ALL - {
        "cell-cluster-ca-key",
        "cell-clients-ca-key",
        "cell-nodes-1-tls",
        "cell-nodes-2-tls",
    }
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"


async def test_a_cluster_in_plaintext_has_no_secret_and_no_mark() -> None:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    status = await namespace.status()
    assert secrets(namespace) == {}
    assert status["certificates"] == []
    assert await condition(namespace, "CertificatesCurrent") == {}
    pod = namespace.kube.objects["pods", "kafka", "cell-nodes-0"]
    assert names.CERTIFICATES not in pod["metadata"]["annotations"]
    assert all("secret" not in volume for volume in pod["spec"]["volumes"])


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_anywhere_each_authority_is_made_once_and_each_pod_started_once(phase: str) -> None:
    calls = DieAt()
    whole = Namespace()
    await whole.declare(rollout={"soak": "2s"}, **SECURE)
    await run_until_ready(whole, calls)
    for number in range(1, len(calls.calls) + 1):
        namespace = Namespace()
        await namespace.declare(rollout={"soak": "2s"}, **SECURE)
        authorities: set[str] = set()
        die = DieAt(number, phase)
        one = service(namespace, die)
        for _ in range(60):
            namespace.turn()
            with suppress(Killed):
                await one.reconcile(KEY)
            if (found := secrets(namespace).get("cell-cluster-ca-key")) is not None:
                authorities.add(found["ca.crt"])
            if die.number == len(die.calls) + (phase == "before"):
                one = service(namespace, DieAt())
            if await namespace.ready():
                break
        assert await namespace.ready(), (number, await namespace.status())
        assert len(authorities) == 1
        assert all(len(uids) == 1 for uids in namespace.uids.values())


async def test_a_leaf_is_renewed_in_time_and_nobody_is_restarted() -> None:
    namespace = await secured()
    before, pods, served = leaf(namespace), pod_uids(namespace), dict(namespace.serving.now)
    namespace.clock.seconds += SETTINGS.certificate_lifetime - SETTINGS.certificate_renew_before - DAY
    await passes(namespace, 5)
    assert leaf(namespace) == before, "not yet due"
    namespace.clock.seconds += 2 * DAY
    await passes(namespace, 40)
    assert leaf(namespace).not_after > before.not_after + 200 * DAY
    assert namespace.serving.now[0] == leaf(namespace).fingerprint != served[0]
    assert pod_uids(namespace) == pods
    assert await namespace.ready()


async def test_a_node_that_was_never_restarted_is_before_what_it_started_with_ends() -> None:
    """It shows that to the controllers: they read it at their start only."""
    namespace = await secured()
    first = leaf(namespace)
    pods = pod_uids(namespace)
    namespace.clock.seconds += SETTINGS.certificate_lifetime - SETTINGS.certificate_renew_before + DAY
    await passes(namespace, 40)
    assert pod_uids(namespace) == pods
    namespace.clock.seconds += SETTINGS.certificate_renew_before - SETTINGS.certificate_restart_before
    await passes(namespace, 120)
    after = pod_uids(namespace)
    assert all(after[name] != pods[name] for name in pods)
    assert all(len(uids) == 2 for uids in namespace.uids.values()), "each once"
    assert namespace.clock.now() < first.not_after
    assert await namespace.ready()


async def test_a_public_secret_that_was_edited_or_deleted_is_restored() -> None:
    namespace = await secured()
    right = secrets(namespace)["cell-cluster-ca"]["ca.crt"]
    foreign = CryptographyPki(namespace.clock).make_authority("cell cluster CA", DAY).certificate
    namespace.kube.objects["secrets", "kafka", "cell-cluster-ca"]["data"]["ca.crt"] = _base64(foreign)
    await passes(namespace, 5)
    assert secrets(namespace)["cell-cluster-ca"]["ca.crt"] == right
    await namespace.kube.delete(SECRETS, "cell-cluster-ca", "kafka")
    await passes(namespace, 5)
    assert secrets(namespace)["cell-cluster-ca"]["ca.crt"] == right


@pytest.mark.parametrize("edit", ["deleted", "another key", "nonsense"])
async def test_a_node_s_secret_that_is_of_no_use_is_signed_anew(edit: str) -> None:
    namespace = await secured()
    before = leaf(namespace)
    if edit == "deleted":
        await namespace.kube.delete(SECRETS, "cell-nodes-0-tls", "kafka")
    else:
        own = secrets(namespace)["cell-nodes-0-tls"]["node.pem"]
        other = CryptographyPki(namespace.clock).make_authority("x", DAY).key
        wrong = other + public_part(own) if edit == "another key" else "hello"
        namespace.kube.objects["secrets", "kafka", "cell-nodes-0-tls"]["data"]["node.pem"] = _base64(wrong)
    await passes(namespace, 60)
    assert leaf(namespace).fingerprint != before.fingerprint
    assert namespace.serving.now[0] == leaf(namespace).fingerprint
    assert await namespace.ready()


@pytest.mark.parametrize("edit", ["hello", "", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
async def test_what_the_operator_trusts_is_put_right_when_it_was_edited(
    edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace = await secured()
    right = secrets(namespace)["cell-operator-tls"]["ca.crt"]
    get = namespace.admins.get

    def connecting(key: str, servers: Sequence[str], tls: ClientTls | None = None) -> KafkaAdmin:
        assert tls is not None
        context(tls)
        return get(key, servers, tls)

    monkeypatch.setattr(namespace.admins, "get", connecting)
    namespace.kube.objects["secrets", "kafka", "cell-operator-tls"]["data"]["ca.crt"] = _base64(edit)
    await passes(namespace, 5)
    assert secrets(namespace)["cell-operator-tls"]["ca.crt"] == right
    assert await namespace.ready()


@pytest.mark.parametrize("both", [False, True])
async def test_an_authority_whose_key_is_gone_is_told_and_no_other_made_in_its_place(both: bool) -> None:  # noqa: FBT001
    namespace = await secured()
    right, before = secrets(namespace)["cell-nodes-0-tls"], pod_uids(namespace)
    kept = namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]
    await namespace.kube.delete(SECRETS, "cell-cluster-ca-key", "kafka")
    if both:
        await namespace.kube.delete(SECRETS, "cell-cluster-ca", "kafka")
    await passes(namespace, 10)
    told = await condition(namespace, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "AuthorityKeyMissing")
    assert "cell-cluster-ca-key" in told["message"]
    assert "cell-cluster-ca-key" not in secrets(namespace)
    assert secrets(namespace)["cell-nodes-0-tls"] == right
    assert pod_uids(namespace) == before
    namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"] = kept
    await passes(namespace, 5)
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"
    assert secrets(namespace).keys() == ALL


async def test_a_secret_that_is_somebody_else_s_is_left_alone() -> None:
    namespace = Namespace()
    theirs = {"metadata": {"name": "cell-clients-ca-key", "namespace": "kafka"}, "data": {"x": _base64("mine")}}
    await namespace.kube.create(SECRETS, theirs)
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await passes(namespace, 10)
    assert secrets(namespace)["cell-clients-ca-key"] == {"x": "mine"}
    for kind in ("Ready", "CertificatesCurrent"):
        told = await condition(namespace, kind)
        assert (told["status"], told["reason"]) == ("False", "NameTaken")
        assert "cell-clients-ca-key" in told["message"]


async def test_certificates_that_end_are_told_weeks_before() -> None:
    """The authority's key is gone, so that nothing can be renewed."""
    namespace = await secured()
    end = leaf(namespace).not_after
    await namespace.kube.delete(SECRETS, "cell-cluster-ca-key", "kafka")
    namespace.clock.seconds += end - namespace.clock.now() - SETTINGS.certificate_warn_before + DAY
    await passes(namespace, 5)
    assert "ends at" in (await condition(namespace, "CertificatesCurrent"))["message"]
    namespace.clock.seconds += SETTINGS.certificate_warn_before
    await passes(namespace, 15)
    assert "ended at" in (await condition(namespace, "CertificatesCurrent"))["message"]


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"security": None, "authorization": None, "listeners": [{"name": "clients", "port": 9093}]},
         "SecurityChangeRefused", "spec.security.nodes"),
        ({"listeners": [SCRAM | {"authentication": {"type": "tls"}}, MTLS]},
         "ListenerChangeRefused", "spec.listeners[clients]"),
        ({"listeners": [SCRAM, MTLS | {"authentication": {"type": "scram-sha-512"}}]},
         "ListenerChangeRefused", "spec.listeners[users]"),
        ({"security": None}, "InvalidSpec", "spec.security.nodes"),
        ({"listeners": [SCRAM | {"tls": False}, MTLS]}, "InvalidSpec", "spec.listeners[clients].tls"),
        ({"listeners": [SCRAM, {"name": "open", "port": 9099, "tls": True}]},
         "InvalidSpec", "spec.listeners[open].authentication"),
    ],
)  # fmt: skip
async def test_what_was_chosen_for_good_is_refused_by_reconcile_too(
    spec: dict[str, Any], reason: str, says: str
) -> None:
    namespace = await secured()
    before = pod_uids(namespace)
    obj = namespace.kube.objects["kafkaclusters", "kafka", "cell"]
    obj["spec"] |= {key: value for key, value in spec.items() if value is not None}
    for key, value in spec.items():
        if value is None:
            del obj["spec"][key]
    obj["metadata"]["generation"] += 1
    await passes(namespace, 5)
    ready = await condition(namespace, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", reason)
    assert says in ready["message"]
    assert pod_uids(namespace) == before


async def test_for_a_new_cluster_that_is_refused_nothing_is_made() -> None:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [SCRAM | {"tls": False}]}))
    await passes(namespace, 5)
    assert (await condition(namespace, "Ready"))["reason"] == "InvalidSpec"
    assert secrets(namespace) == {}


async def test_certificates_are_renewed_while_a_spec_is_refused() -> None:
    namespace = await secured()
    before = leaf(namespace)
    namespace.kube.objects["kafkaclusters", "kafka", "cell"]["spec"]["version"] = "1.2.3"
    namespace.clock.seconds += SETTINGS.certificate_lifetime - SETTINGS.certificate_renew_before + DAY
    await passes(namespace, 40)
    assert (await condition(namespace, "Ready"))["reason"] == "UnknownVersion"
    assert leaf(namespace).fingerprint != before.fingerprint
    assert namespace.serving.now[0] == leaf(namespace).fingerprint


async def test_a_listener_is_added_and_removed_by_a_roll() -> None:
    """Which is how its protocol changes: another one beside it, the clients moved, the first one removed."""
    namespace = await secured()
    more = {"name": "more", "port": 9095, "tls": True, "authentication": {"type": "tls"}}
    await namespace.change(listeners=[SCRAM, MTLS, more])
    await run_until_ready(namespace, DieAt())
    assert all("cell-more.kafka.svc" in leaf(namespace, node).hosts for node in range(3))
    await namespace.change(listeners=[MTLS, more])
    await run_until_ready(namespace, DieAt())
    assert [item["name"] for item in (await namespace.status())["listeners"]] == ["users", "more"]


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


# How brokers are reached by whom.


async def test_brokers_are_asked_with_the_operator_s_certificate_and_never_without() -> None:
    namespace = await secured()
    cluster = KafkaCluster.model_validate(await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    world = await observe_world(namespace.kube, namespace.admins, namespace.clock, cluster)
    assert world.observation.kafka is not None
    way = await way_to(namespace.kube, cluster, by_name=False)
    assert way.bootstrap(world.observation.nodes) == [f"127.9.1.{node}:9091" for node in range(3)]
    named = await way_to(namespace.kube, cluster, by_name=True)
    assert named.bootstrap(world.observation.nodes)[0] == "cell-nodes-0.cell-nodes.kafka.svc:9091"
    del namespace.kube.objects["secrets", "kafka", "cell-operator-tls"]
    assert not (await way_to(namespace.kube, cluster, by_name=False)).is_open
    blind = await observe_world(namespace.kube, namespace.admins, namespace.clock, cluster)
    assert blind.observation.kafka is None


async def test_who_may_not_read_the_operator_s_certificate_is_told_nothing_of_kafka() -> None:
    """A user of `kfleet cluster plan`; without that right it is no error."""
    namespace = await secured()

    class Restricted(FakeKube):
        async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
            if resource.plural == "secrets":
                raise ForbiddenError(403, "Forbidden", "secrets is forbidden")
            return await super().get(resource, name, namespace)

    kube = Restricted()
    kube.objects = namespace.kube.objects
    cluster = KafkaCluster.model_validate(await kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    world = await observe_world(kube, namespace.admins, namespace.clock, cluster)
    assert world.observation.kafka is None
    assert len(world.observation.nodes) == 3


# A certificate that people give for a listener, in cert-manager's layout.

GIVEN = SCRAM | {"certificateSecretRef": {"name": "bought"}}
HOSTS = ("*.cell-nodes.kafka.svc", *(f"127.9.1.{node}" for node in range(3)))


def bought(namespace: Namespace, **change: Any) -> dict[str, str]:
    """tls.crt, tls.key and ca.crt of a certificate that is right, but for what is changed."""
    pki: Any = namespace.certificates.pki
    authority = pki.make_authority("another company", 400 * DAY)
    pair = pki.issue(
        authority, Leaf("kafka.example.com", None, change.get("hosts", HOSTS)), change.get("days", 90) * DAY
    )
    files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate}
    return {key: _base64(value) for key, value in (files | change.get("files", {})).items() if value}


def signed_with(key: Any, usage: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH) -> dict[str, str]:
    """As `bought`, of an authority that kfleet has not made, with this key in the form that others write."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "another company")])
    signer = ec.generate_private_key(ec.SECP256R1())
    now = dt.datetime.fromtimestamp(Namespace().clock.now(), dt.UTC)
    base = x509.CertificateBuilder().issuer_name(name).not_valid_before(now).not_valid_after(now + dt.timedelta(900))
    authority = (
        base.subject_name(name)
        .public_key(signer.public_key())
        .serial_number(1)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(signer, hashes.SHA256())
    )
    hosts = [x509.DNSName(HOSTS[0]), *(x509.IPAddress(ipaddress.ip_address(host)) for host in HOSTS[1:])]
    certificate = (
        base.subject_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(2)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .sign(signer, hashes.SHA256())
    )
    form = serialization.PrivateFormat
    kind = form.PKCS8 if isinstance(key, ed25519.Ed25519PrivateKey) else form.TraditionalOpenSSL
    pem = serialization.Encoding.PEM
    files = {
        "tls.crt": certificate.public_bytes(pem),
        "tls.key": key.private_bytes(pem, kind, serialization.NoEncryption()),
        "ca.crt": authority.public_bytes(pem),
    }
    return {name: base64.b64encode(content).decode() for name, content in files.items()}


async def given(namespace: Namespace, data: dict[str, str]) -> None:
    body = {"metadata": {"name": "bought", "namespace": "kafka"}, "data": data}
    namespace.kube.objects.pop(("secrets", "kafka", "bought"), None)
    await namespace.kube.create(SECRETS, body)


async def test_a_given_certificate_is_shown_on_its_listener_alone() -> None:
    namespace = Namespace()
    await given(namespace, data := bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    own = secrets(namespace)["cell-nodes-0-tls"]
    assert public_part(own["listener-clients.pem"]) == base64.b64decode(data["tls.crt"]).decode()
    assert "PRIVATE KEY" in own["listener-clients.pem"]
    assert (await namespace.status())["listeners"][0]["caSecret"] == "bought"
    config = namespace.kube.objects["configmaps", "kafka", "cell-nodes-0-config"]["data"]["server.properties"]
    assert (
        "listener.name.clients.ssl.keystore.location=${env:KFLEET_POD_ROOT}/etc/kafka/tls/listener-clients.pem"
        in config
    )
    assert "listener.name.users.ssl.keystore.location=${env:KFLEET_POD_ROOT}/etc/kafka/tls/node.pem" in config


@pytest.mark.parametrize("made", ["RSA", "EC"])
async def test_a_key_as_cert_manager_writes_it_reaches_brokers_as_they_read_it(made: str) -> None:
    """PKCS#1 and SEC 1 there by default; Kafka reads PKCS#8 alone (KIP-651)."""
    namespace = Namespace()
    key = rsa.generate_private_key(65537, 2048) if made == "RSA" else ec.generate_private_key(ec.SECP256R1())
    await given(namespace, data := signed_with(key))
    assert b"BEGIN %b PRIVATE KEY" % made.encode() in base64.b64decode(data["tls.key"])
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    file = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"]
    assert file.startswith("-----BEGIN PRIVATE KEY-----")
    assert namespace.certificates.pki.inspect(KeyPair(public_part(file), file), public_part(file)).key_matches
    await passes(namespace, 5)
    assert secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"] == file, "written once"


async def test_one_that_changes_between_look_and_use_is_not_used() -> None:
    """What was looked at is what brokers get, or nothing."""
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    right = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"]
    await given(namespace, renewed := bought(namespace))
    real, bad, reads = FakeKube.get, wrong(namespace)["another host"][0], []

    class Moving(FakeKube):
        async def get(self, resource: Resource, name: str, namespace: str | None = None) -> Object:
            found = await real(self, resource, name, namespace)
            if name == "bought":
                reads.append(found)
                return found if len(reads) % 2 else found | {"data": bad}
            return found

    namespace.kube.__class__ = Moving
    await passes(namespace, 6)
    assert len(reads) > 2
    assert secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"] == right
    namespace.kube.__class__ = FakeKube
    await passes(namespace, 6)
    taken = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"]
    assert public_part(taken) == base64.b64decode(renewed["tls.crt"]).decode()


async def test_a_renewed_one_is_taken_over_without_a_restart() -> None:
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    before = pod_uids(namespace)
    await given(namespace, data := bought(namespace))
    await passes(namespace, 20)
    own = secrets(namespace)["cell-nodes-0-tls"]
    assert public_part(own["listener-clients.pem"]) == base64.b64decode(data["tls.crt"]).decode()
    assert namespace.serving.now[0] == leaf(namespace).fingerprint
    assert pod_uids(namespace) == before


@pytest.mark.parametrize("left", [[MTLS], [SCRAM, MTLS]], ids=["listener", "certificateSecretRef"])
async def test_what_is_taken_out_keeps_its_given_certificate_until_its_node_is_restarted(left: list[Object]) -> None:
    """Without the file a node could neither read its certificates again nor start."""
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await namespace.change(listeners=left)
    one, waited = service(namespace, DieAt()), 0
    for _ in range(100):
        namespace.turn()
        await one.reconcile(KEY)
        if pod_uids(namespace).get("cell-nodes-2") == namespace.uids["cell-nodes-2"][0]:
            waited += 1
            assert "listener-clients.pem" in secrets(namespace)["cell-nodes-2-tls"]
    assert waited > 2
    assert await namespace.ready()
    assert all(len(uids) == 2 for uids in namespace.uids.values())
    assert all("listener-clients.pem" not in secrets(namespace)[f"cell-nodes-{node}-tls"] for node in range(3))


def wrong(namespace: Namespace) -> dict[str, tuple[dict[str, str] | None, str]]:
    other = CryptographyPki(namespace.clock).make_authority("x", DAY)
    return {
        "missing": (None, "is not there"),
        "no key": (bought(namespace, files={"tls.key": ""}), "has no tls.key"),
        "no authority": (bought(namespace, files={"ca.crt": ""}), "has no ca.crt"),
        "nonsense": (bought(namespace, files={"tls.crt": "hello"}), "cannot be read"),
        "another key": (bought(namespace, files={"tls.key": other.key}), "is not the key of tls.crt"),
        "another authority": (bought(namespace, files={"ca.crt": other.certificate}), "has not signed"),
        "another host": (bought(namespace, hosts=("kafka.example.com",)), "is not for 127.9.1.0"),
        "ended": (bought(namespace, days=-0.001), "ended at"),
        "another kind of key": (signed_with(ed25519.Ed25519PrivateKey.generate()), "of the kind Ed25519"),
        "another curve": (signed_with(ec.generate_private_key(ec.SECP256K1())), "of the kind EC secp256k1"),
        "a client's": (
            signed_with(ec.generate_private_key(ec.SECP256R1()), ExtendedKeyUsageOID.CLIENT_AUTH),
            "is not for a server",
        ),
    }


@pytest.mark.parametrize("case", sorted(wrong(Namespace())))
async def test_a_given_certificate_that_cannot_be_used_is_refused_by_field(case: str) -> None:
    namespace = await secured()
    data, says = wrong(namespace)[case]
    if data is not None:
        await given(namespace, data)
    await namespace.change(listeners=[GIVEN, MTLS])
    before = pod_uids(namespace)
    await passes(namespace, 10)
    ready = await condition(namespace, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "ListenerCertificateInvalid")
    assert ready["message"].startswith("spec.listeners[clients].certificateSecretRef: Secret bought ")
    assert says in ready["message"]
    assert pod_uids(namespace) == before
    await given(namespace, bought(namespace))
    await run_until_ready(namespace, DieAt())


@pytest.mark.parametrize("case", ["missing", "another host", "ended", "another key"])
async def test_one_that_goes_bad_later_is_told_and_what_is_served_stays(case: str) -> None:
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    before, own = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"], leaf(namespace)
    await namespace.kube.delete(SECRETS, "bought", "kafka")
    if (data := wrong(namespace)[case][0]) is not None:
        await given(namespace, data)
    await passes(namespace, 10)
    told = await condition(namespace, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "ListenerCertificateInvalid")
    assert secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"] == before
    assert leaf(namespace).fingerprint == own.fingerprint, "nothing is due for it"
    assert await namespace.ready()


async def test_while_a_given_one_is_bad_a_node_s_own_is_renewed_and_the_given_one_stays_beside_it() -> None:
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    before, own = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"], leaf(namespace)
    await namespace.kube.delete(SECRETS, "bought", "kafka")
    namespace.clock.seconds += SETTINGS.certificate_lifetime - SETTINGS.certificate_renew_before + DAY
    await passes(namespace, 10)
    assert leaf(namespace).fingerprint != own.fingerprint
    assert secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"] == before
    await given(namespace, data := bought(namespace))
    await passes(namespace, 5)
    taken = secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"]
    assert public_part(taken) == base64.b64decode(data["tls.crt"]).decode(), "put right, it is taken over"


async def test_addressing_by_name_needs_no_address_in_a_certificate(monkeypatch: pytest.MonkeyPatch) -> None:
    namespace = Namespace()
    namespace.certificates = replace(namespace.certificates, by_name=True)
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await passes(namespace, 3)
    assert "127.9.1.0" not in leaf(namespace).hosts
    assert "cell-nodes-0.cell-nodes.kafka.svc" in leaf(namespace).hosts
    assert UNIT in leaf(namespace).subject


# Authorization of a cluster in use.


async def test_authorization_is_turned_on_in_stages_and_never_off() -> None:
    namespace = Namespace()
    open_to_all = {key: value for key, value in SECURE.items() if key != "authorization"}
    await namespace.declare(rollout={"soak": "2s"}, **open_to_all)
    await run_until_ready(namespace, DieAt())
    before = pod_uids(namespace)
    await namespace.change(authorization={"type": "Standard"})
    await passes(namespace, 5)
    ready = await condition(namespace, "Ready")
    assert (ready["reason"], pod_uids(namespace)) == ("AuthorizationWouldCutOff", before)
    assert "whenNoAcl: Deny" in ready["message"]
    for stage, setting in (("Allow", "true"), ("Deny", "false")):
        await namespace.change(authorization={"type": "Standard", "whenNoAcl": stage})
        await run_until_ready(namespace, DieAt())
        config = namespace.kube.objects["configmaps", "kafka", "cell-nodes-0-config"]["data"]["server.properties"]
        assert f"allow.everyone.if.no.acl.found={setting}" in config
    assert all(len(uids) == 3 for uids in namespace.uids.values())


# One authority follows another.

TIMES = Lifetimes(
    authority=100 * DAY,
    authority_renew_before=60 * DAY,
    overlap=2 * DAY,
    leaf=90 * DAY,
    renew_before=30 * DAY,
    restart_before=10 * DAY,
    warn_before=5 * DAY,
)


async def short_lived() -> Namespace:
    """A cluster whose authorities are due in a day."""
    namespace = Namespace()
    namespace.certificates = replace(namespace.certificates, lifetimes=TIMES)
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 20)
    namespace.clock.seconds += 39 * DAY
    await passes(namespace, 5)
    return namespace


def strangers(namespace: Namespace) -> list[str]:
    found = secrets(namespace)
    return namespace.serving.strangers(found["cell-cluster-ca"]["ca.crt"], found["cell-operator-tls"]["tls.crt"])


def authorities(namespace: Namespace) -> int:
    return len(namespace.certificates.pki.read(secrets(namespace)["cell-cluster-ca"]["ca.crt"]))


async def follow(namespace: Namespace, die: DieAt, limit: int = 400) -> list[int]:
    """Until one authority is left that is another one, looking at every moment whether somebody is locked out; how many
    were trusted, in turn. An operator that dies is followed by another one."""
    first, seen, one = secrets(namespace)["cell-cluster-ca-key"]["ca.crt"], [1], service(namespace, die)
    for passed in range(limit):
        namespace.turn()
        if passed % 40 == 39:
            namespace.clock.seconds += DAY
        try:
            await one.reconcile(KEY)
        except Killed:
            one = service(namespace, DieAt())
        assert strangers(namespace) == []
        seen += [authorities(namespace)] * (authorities(namespace) != seen[-1])
        if seen[-1] == 1 and secrets(namespace)["cell-cluster-ca-key"]["ca.crt"] != first:
            return seen
    raise AssertionError(f"not over after {limit} passes: {seen}, {await namespace.status()}")


async def test_one_authority_follows_another_and_nobody_is_ever_locked_out() -> None:
    namespace = await short_lived()
    before, began = secrets(namespace), namespace.clock.now()
    namespace.clock.seconds += 2 * DAY
    assert await follow(namespace, DieAt()) == [1, 2, 1]
    assert namespace.clock.now() - began > 2 * TIMES.overlap, "clients had their time, twice"
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 20)
    after = secrets(namespace)
    for name in ("cell-cluster-ca", "cell-clients-ca", "cell-operator-tls", "cell-nodes-0-tls"):
        assert after[name] != before[name]
    assert set(after["cell-cluster-ca-key"]) == {"ca.crt", "ca.key"}
    assert after["cell-nodes-0-tls"]["cluster-ca.crt"] == after["cell-cluster-ca"]["ca.crt"]
    assert all(len(uids) == 3 for uids in namespace.uids.values()), "restarted twice: to trust it, to be signed by it"
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"


@pytest.mark.parametrize("number", [1, 3, 5, 9, 20])
@pytest.mark.parametrize("phase", ["before", "after"])
async def test_killed_in_the_middle_it_goes_on(number: int, phase: str) -> None:
    namespace = await short_lived()
    namespace.clock.seconds += 2 * DAY
    assert await follow(namespace, DieAt(number, phase)) == [1, 2, 1]


async def test_a_hasty_succession_would_be_seen_to_lock_somebody_out() -> None:
    """The control: the same look at a cluster where another authority signs before anybody trusts it."""
    namespace = await short_lived()
    assert strangers(namespace) == []
    pki: Any = namespace.certificates.pki
    own = pki.issue(pki.make_authority("cell cluster CA", 100 * DAY), Leaf("operator", UNIT), DAY)
    namespace.kube.objects["secrets", "kafka", "cell-operator-tls"]["data"]["tls.crt"] = _base64(own.certificate)
    assert any("refuses the operator" in one for one in strangers(namespace))


@pytest.mark.parametrize("which", ["cluster-ca", "clients-ca"])
@pytest.mark.parametrize("public_too", [False, True])
async def test_an_authority_s_key_from_before_a_succession_signs_nothing(which: str, *, public_too: bool) -> None:
    """What was backed up too early is put back: nobody trusts that authority any more."""
    namespace = await short_lived()
    objects = namespace.kube.objects
    names_of = [f"cell-{which}-key"] + [f"cell-{which}"] * public_too
    early = {name: copy.deepcopy(objects["secrets", "kafka", name]) for name in names_of}
    namespace.clock.seconds += 2 * DAY
    await follow(namespace, DieAt())
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 20)
    late, before = secrets(namespace), pod_uids(namespace)
    kept = {name: copy.deepcopy(objects["secrets", "kafka", name]) for name in names_of}
    for name in names_of:
        objects["secrets", "kafka", name] = early[name]
    for _ in range(10):
        await passes(namespace, 1)
        found = secrets(namespace)
        changed = {name for name in found if found[name] != late[name]}
        assert changed == set(names_of), "nothing is signed or published by it"
    told = await condition(namespace, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "AuthorityKeyMissing")
    assert f"cell-{which}-key: it holds another authority than the one that is in use" in told["message"]
    assert pod_uids(namespace) == before
    for name in names_of:
        objects["secrets", "kafka", name] = kept[name]
    await passes(namespace, 5)
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"


@pytest.mark.parametrize("prepared", [False, True])
async def test_an_authority_that_has_ended_is_followed_at_once(prepared: bool) -> None:  # noqa: FBT001
    """The operator was away for long: what the former one signed has ended too, so there is nobody to wait for."""
    namespace = await short_lived()
    if prepared:
        namespace.clock.seconds += 2 * DAY
        await passes(namespace, 5)
        assert "next.crt" in secrets(namespace)["cell-cluster-ca-key"]
        namespace.clock.seconds -= 2 * DAY
    namespace.clock.seconds += 62 * DAY
    before = secrets(namespace)
    for node in range(3):
        await namespace.kube.delete(SECRETS, f"cell-nodes-{node}-tls", "kafka")
    await passes(namespace, 15)
    after = secrets(namespace)
    assert namespace.certificates.pki.read(before["cell-cluster-ca-key"]["ca.crt"])[0].not_after < namespace.clock.now()
    assert after["cell-cluster-ca-key"]["ca.crt"] != before["cell-cluster-ca-key"]["ca.crt"]
    assert after["cell-clients-ca-key"]["ca.crt"] != before["cell-clients-ca-key"]["ca.crt"]
    assert all(leaf(namespace, node).not_after > namespace.clock.now() + 30 * DAY for node in range(3))
    assert after["cell-nodes-0-tls"]["cluster-ca.crt"] == after["cell-cluster-ca"]["ca.crt"]


@pytest.mark.parametrize("edit", ["next.key gone", "another key", "next.crt is nonsense"])
async def test_an_authority_to_follow_whose_key_is_gone_is_told(edit: str) -> None:
    namespace = await short_lived()
    namespace.clock.seconds += 2 * DAY
    await passes(namespace, 5)
    data = namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]["data"]
    whole, other = dict(data), namespace.certificates.pki.make_authority("x", DAY)
    change = {"next.key gone": ("next.key", ""), "another key": ("next.key", other.key)}
    key, text = change.get(edit, ("next.crt", "hello"))
    data[key] = _base64(text)
    if not text:
        del data[key]
    for _ in range(4):
        namespace.clock.seconds += DAY
        await passes(namespace, 5)
    told = await condition(namespace, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "AuthorityKeyMissing")
    assert "cell-cluster-ca-key" in told["message"]
    assert "next.crt" in told["message"]
    assert secrets(namespace)["cell-cluster-ca-key"]["ca.crt"] == base64.b64decode(whole["ca.crt"]).decode()
    namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]["data"] = whole
    assert await follow(namespace, DieAt()) == [1, 2, 1]


# What a succession, and `Deny`, wait for its users with.


async def of_users(space: UserSpace, count: int) -> None:
    """The cluster and its users are looked after in turn."""
    for _ in range(count):
        await passes(space, 1)
        await space.service().reconcile(USERS_KEY)


async def followed() -> UserSpace:
    """`short_lived` with a user of each kind, up to the moment at which another authority is prepared."""
    space = beside(await short_lived())
    await space.declare_users(user("app", rule()), user("cert", rule(), kind="tls"))
    await of_users(space, 5)
    assert (await space.condition("app"))["status"] == (await space.condition("cert"))["status"] == "True"
    space.clock.seconds += 2 * DAY
    return space


async def kept_from_users(space: UserSpace) -> list[str]:
    """Users whose Secret would not get them in: the nodes are not trusted by it, or do not trust its certificate."""
    found, data = [], secrets(space)
    for name in ("app", "cert"):
        own = await space.secret(name)
        for node in range(3):
            if not signed(public_part(data[f"cell-nodes-{node}-tls"]["node.pem"]), own["ca.crt"]):
                found.append(f"{name} does not trust node {node}")
            trusted = data[f"cell-nodes-{node}-tls"]["clients-ca.crt"]
            if name == "cert" and not signed(own["user.crt"], trusted):
                found.append(f"node {node} does not let {name} in")
    return found


async def test_users_follow_an_authority_and_are_never_locked_out() -> None:
    space = await followed()
    first = secrets(space)
    for passed in range(300):
        await of_users(space, 1)
        space.clock.seconds += DAY if passed % 20 == 19 else 0
        assert await kept_from_users(space) == []
        now = secrets(space)
        keys = ("cell-cluster-ca-key", "cell-clients-ca-key")
        if all(now[key]["ca.crt"] != first[key]["ca.crt"] and "old.crt" not in now[key] for key in keys):
            return
    raise AssertionError((await space.status())["conditions"])


async def waits_for(space: UserSpace, name: str, authority: str) -> None:
    """Long past the overlap the succession still waits, and says for whom."""
    for _ in range(6):
        space.clock.seconds += DAY
        await of_users(space, 30)
    told = await condition(space, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "UsersNotReissued")
    assert f"Another authority follows {authority}, " in told["message"]
    assert f": {name}." in told["message"]
    assert await kept_from_users(space) == []


async def test_the_new_authority_does_not_sign_before_every_user_trusts_it() -> None:
    space = await followed()
    await space.annotate("app", paused="true")
    await waits_for(space, "app", "cell-cluster-ca")
    key = secrets(space)["cell-cluster-ca-key"]
    assert "next.crt" in key
    await space.annotate("app", paused=None)
    await of_users(space, 10)
    assert secrets(space)["cell-cluster-ca-key"]["ca.crt"] == key["next.crt"]
    assert (await condition(space, "CertificatesCurrent"))["status"] == "True"


async def test_the_former_authority_of_users_stays_until_each_has_a_certificate_by_the_new_one() -> None:
    space = await followed()
    for _ in range(60):
        await of_users(space, 5)
        space.clock.seconds += DAY / 2
        if "next.crt" in secrets(space)["cell-clients-ca-key"]:
            await of_users(space, 5)
            await space.annotate("cert", paused="true")
        if (
            "old.crt" in secrets(space)["cell-clients-ca-key"]
            and "next.crt" not in secrets(space)["cell-cluster-ca-key"]
        ):
            break
    await waits_for(space, "cert", "cell-clients-ca")
    assert "old.crt" in secrets(space)["cell-clients-ca-key"]
    assert "old.crt" not in secrets(space)["cell-cluster-ca-key"], "that one has nobody to wait for"
    await space.annotate("cert", paused=None)
    await of_users(space, 10)
    assert "old.crt" not in secrets(space)["cell-clients-ca-key"]
    assert await kept_from_users(space) == []


@pytest.mark.parametrize("way", ["revoked", "deleted", "time"])
async def test_there_is_a_way_past_a_user_that_never_follows(way: str) -> None:
    space = await followed()
    await space.annotate("app", paused="true")
    await waits_for(space, "app", "cell-cluster-ca")
    following = secrets(space)["cell-cluster-ca-key"]["next.crt"]
    if way == "revoked":
        await space.annotate("app", revoked="yes")
    elif way == "deleted":
        await space.delete("app")
    else:
        end = space.certificates.pki.read(secrets(space)["cell-cluster-ca-key"]["ca.crt"])[0].not_after
        told = (await condition(space, "CertificatesCurrent"))["message"]
        assert f"It goes on without them at {timestamp(end - TIMES.restart_before)}" in told
        space.clock.seconds += end - TIMES.restart_before - space.clock.now()
    await of_users(space, 10)
    assert secrets(space)["cell-cluster-ca-key"]["ca.crt"] == following


async def test_deny_waits_for_users_that_are_not_ready_and_says_which() -> None:
    space = beside(await secured(authorization={"type": "Standard", "whenNoAcl": "Allow"}))
    await space.declare_users(user("app", rule()), user("late", rule()), user("gone", rule()))
    await of_users(space, 3)
    await space.annotate("late", paused="true")
    await space.respec("late", authorization={"acls": [rule("orders", "Write")]})
    await space.annotate("gone", revoked="yes")
    await of_users(space, 2)
    before = pod_uids(space)
    await space.change(authorization={"type": "Standard"})
    await of_users(space, 5)
    ready = await condition(space, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "UsersNotReady")
    assert ready["message"].startswith("spec.authorization.whenNoAcl: Deny, and KafkaUsers are not Ready")
    assert ": late (not looked at yet)." in ready["message"]
    assert (pod_uids(space), (await space.status())["whenNoAcl"]) == (before, "Allow")
    assert not [acl for acl in space.kafka.acls if acl.permission == "deny"], "brokers still let others through"
    await space.annotate("late", paused=None)
    await of_users(space, 80)
    assert await space.ready()
    assert (await space.status())["whenNoAcl"] == "Deny"
    assert [acl for acl in space.kafka.acls if acl.permission == "deny"], "who was revoked is denied now"


async def test_an_operator_that_may_not_list_users_goes_on_without_none() -> None:
    namespace = await secured(authorization={"type": "Standard", "whenNoAcl": "Allow"})
    await namespace.change(authorization={"type": "Standard"})

    class Restricted(FakeKube):
        async def list(self, resource: Resource, namespace: str | None = None, **more: Any) -> Sequence[Object]:
            if resource.plural == "kafkausers":
                raise ForbiddenError(403, "Forbidden", "kafkausers is forbidden")
            return await super().list(resource, namespace, **more)

    kube = Restricted()
    kube.objects = namespace.kube.objects
    cluster = KafkaCluster.model_validate(await kube.get(KAFKA_CLUSTERS, "cell", "kafka"))
    look = (kube, namespace.admins, namespace.clock, cluster)
    with pytest.raises(ForbiddenError):
        await observe_world(*look, certificates=namespace.certificates)
    assert (await observe_world(*look)).users == (), "a person's plan does without"


def closed_nodes(space: UserSpace) -> list[str]:
    """ConfigMaps of nodes that were last started with Deny."""
    return [
        name
        for (kind, _, name), obj in space.kube.objects.items()
        if kind == "configmaps" and f"{ALLOWS_UNLISTED}=false" in obj["data"].get("server.properties", "")
    ]


async def test_a_user_that_comes_while_deny_is_on_its_way_stops_nothing() -> None:
    space = beside(await secured(authorization={"type": "Standard", "whenNoAcl": "Allow"}))
    await space.change(authorization={"type": "Standard"})
    while not closed_nodes(space):
        await passes(space, 1)
    assert len(closed_nodes(space)) == 1
    await space.declare_users(user("new", rule()))
    await run_until_ready(space, DieAt())
    assert (await space.status())["whenNoAcl"] == "Deny"


async def test_a_broker_that_is_added_while_a_given_certificate_is_bad_says_what_it_waits_for() -> None:
    namespace = Namespace()
    await given(namespace, bought(namespace))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [GIVEN, MTLS]}))
    await run_until_ready(namespace, DieAt())
    await namespace.kube.delete(SECRETS, "bought", "kafka")
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    more = obj["spec"]["nodePools"][0] | {"name": "more", "roles": ["Broker"], "replicas": 1}
    await namespace.change(nodePools=[*obj["spec"]["nodePools"], more])
    await passes(namespace, 10)
    for kind in ("Ready", "CertificatesCurrent"):
        told = await condition(namespace, kind)
        assert (told["status"], told["reason"]) == ("False", "ListenerCertificateInvalid")
        assert "spec.listeners[clients].certificateSecretRef: Secret bought is not there." in told["message"]
        assert "Waiting for it to start: node 3." in told["message"]


async def test_deny_does_not_wait_for_a_user_that_is_refused_and_never_was_let_in() -> None:
    """Whoever may declare one in some namespace could hold up the whole cluster."""
    space = beside(await secured(authorization={"type": "Standard", "whenNoAcl": "Allow"}))
    await space.declare_users(user("app", rule()), user("odd", rule(), listener="nowhere"))
    await of_users(space, 3)
    odd = await space.condition("odd", "Stalled")
    assert (odd["status"], odd["reason"]) == ("True", "ListenerMissing")
    await space.change(authorization={"type": "Standard"})
    await of_users(space, 80)
    assert await space.ready()
    assert (await space.status())["whenNoAcl"] == "Deny"
