"""Certificates that people give for a listener, in cert-manager's layout, on fakes: shown, renewed, and refused."""

from __future__ import annotations

import base64
import datetime as dt
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from support.fake_kube import FakeKube
from support.outside import MACHINE
from support.secured import DAY, MTLS, SCRAM, SECURE, condition, encoded, leaf, pod_uids, secrets, secured
from support.simulation import KEY, SETTINGS, DieAt, Namespace, passes, run_until_ready, service, some_topic

from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.given import covers, is_not_for
from controlplane.domain.access.pem import public_part
from controlplane.domain.access.pki import Leaf
from controlplane.ports import KeyPair, Object, Resource
from controlplane.services.access.secrets import SECRETS
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

GIVEN = SCRAM | {"certificateSecretRef": {"name": "bought"}}
SERVICE = "127.9.0.1"
PODS = tuple(f"127.9.1.{node}" for node in range(3))
HOSTS = ("*.cell-nodes.kafka.svc", SERVICE, *PODS)


def bought(namespace: Namespace, **change: Any) -> dict[str, str]:
    """tls.crt, tls.key and ca.crt of a certificate that is right, but for what is changed."""
    pki: Any = namespace.certificates.pki
    authority = pki.make_authority("another company", 400 * DAY)
    pair = pki.issue(
        authority, Leaf("kafka.example.com", None, change.get("hosts", HOSTS)), change.get("days", 90) * DAY
    )
    files = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate}
    return {key: encoded(value) for key, value in (files | change.get("files", {})).items() if value}


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
    hosts = [x509.DNSName(HOSTS[0]), *(x509.IPAddress(ip_address(host)) for host in HOSTS[1:])]
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
        "another host": (
            bought(namespace, hosts=("kafka.example.com",)),
            f"is not for {', '.join(HOSTS[1:])}, where clients",
        ),
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


# What it has to be for: all that clients are handed out.


def lacking(*hosts: str) -> str:
    return f"Secret bought has a tls.crt that is not for {', '.join(hosts)}, where clients connect to."


async def says(namespace: Namespace, kind: str = "Ready") -> tuple[str, str]:
    told = await condition(namespace, kind)
    return told["status"], f"{told['reason']} {told['message']}"


async def declared(*given_listeners: Object, hosts: tuple[str, ...], by_name: bool = False) -> Namespace:
    namespace = Namespace()
    namespace.certificates = replace(namespace.certificates, by_name=by_name)
    namespace.outside.machine(MACHINE, InternalIP="10.0.0.1")
    await given(namespace, bought(namespace, hosts=hosts))
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": [*given_listeners, MTLS]}))
    return namespace


async def formed(*given_listeners: Object, hosts: tuple[str, ...]) -> Namespace:
    namespace = await declared(*given_listeners, hosts=hosts)
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 5)
    return namespace


async def test_where_clients_begin_belongs_to_it() -> None:
    namespace = await declared(GIVEN, hosts=PODS)
    await passes(namespace, 10)
    status, words = await says(namespace)
    assert (status, words.partition(" ")[0]) == ("False", "ListenerCertificateInvalid")
    assert f"spec.listeners[clients].certificateSecretRef: {lacking(SERVICE)}" in words
    assert "Waiting for it to start: node 0, 1, 2." in (await says(namespace, "CertificatesCurrent"))[1]
    assert "cert-manager: dnsNames, ipAddresses" in words
    assert [len(uids) for uids in namespace.uids.values()] == [1, 1, 1]
    assert not any("listener-clients.pem" in data for data in secrets(namespace).values())
    await given(namespace, bought(namespace, hosts=HOSTS))
    await run_until_ready(namespace, DieAt())
    assert (await namespace.status())["listeners"][0]["bootstrapServers"] == [f"{SERVICE}:9093"]


async def test_of_a_new_cluster_all_that_is_missing_is_told_at_once() -> None:
    """Its Service's address is known before its pods are made: they are made, and theirs are known too."""
    namespace = await declared(GIVEN, hosts=("kafka.example.com",))
    await passes(namespace, 1)
    for (kind, _, _), made in namespace.kube.objects.items():
        if kind == "services":
            made["spec"]["clusterIP"] = SERVICE
    await passes(namespace, 9)
    assert lacking(SERVICE, *PODS) in (await says(namespace))[1]
    assert not any("listener-clients.pem" in data for data in secrets(namespace).values()), "which they wait for"


async def test_a_listener_that_is_added_with_one_that_lacks_a_name_is_refused() -> None:
    namespace = await secured()
    await given(namespace, bought(namespace, hosts=PODS))
    await namespace.change(listeners=[SCRAM, MTLS, GIVEN | {"name": "more", "port": 9095}])
    await passes(namespace, 10)
    status, words = await says(namespace)
    assert (status, lacking(SERVICE) in words) == ("False", True)
    assert [len(uids) for uids in namespace.uids.values()] == [1, 1, 1]
    assert not any("listener-more.pem" in data for data in secrets(namespace).values())


@pytest.mark.parametrize(
    ("hosts", "missing"),
    [
        (("*.cell-nodes.kafka.svc", "cell-clients.kafka.svc"), ()),
        (("*.cell-nodes.kafka.svc", "*.kafka.svc"), ()),
        (("*.cell-nodes.kafka.svc", SERVICE), ("cell-clients.kafka.svc",)),
        (("*.kafka.svc",), tuple(f"cell-nodes-{node}.cell-nodes.kafka.svc" for node in range(3))),
    ],
)
async def test_by_name_it_is_the_service_s_name_and_no_address(
    hosts: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    namespace = await declared(GIVEN, hosts=hosts, by_name=True)
    await passes(namespace, 10)
    if missing:
        assert lacking(*missing) in (await says(namespace))[1]
        return
    await run_until_ready(namespace, DieAt())


BALANCED = GIVEN | {"name": "balanced", "port": 9095, "type": "LoadBalancer"}
NODE_PORT = GIVEN | {"name": "nodeport", "port": 9096, "type": "NodePort"}


async def test_addresses_that_are_still_to_come_are_not_missing_and_are_once_they_are_there() -> None:
    namespace = await declared(BALANCED, hosts=("kafka.example.com",))
    namespace.outside.balancing = False
    await passes(namespace, 10)
    assert (await says(namespace))[1].startswith("ExternalAddressPending")
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"
    namespace.outside.balancing = True
    await passes(namespace, 10)
    balancers = tuple(sorted(namespace.outside.balancers.values()))
    assert len(balancers) == 4
    status, words = await says(namespace, "CertificatesCurrent")
    assert (status, lacking(*balancers) in words) == ("False", True)
    await given(namespace, bought(namespace, hosts=balancers))
    await run_until_ready(namespace, DieAt())
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"


async def test_what_a_new_cluster_would_tell_at_a_node_port_is_refused_before() -> None:
    namespace = await declared(NODE_PORT, hosts=(SERVICE, *PODS))
    await passes(namespace, 10)
    status, words = await says(namespace)
    assert (status, lacking("10.0.0.1") in words) == ("False", True)
    assert not any("listener-nodeport.pem" in data for data in secrets(namespace).values()), "which they wait for"
    await given(namespace, bought(namespace, hosts=("10.0.0.1",)))
    await run_until_ready(namespace, DieAt())


@pytest.mark.parametrize(
    ("external", "names"),
    [
        ({"bootstrapHost": "kafka.example.com"}, ("kafka.example.com",)),
        ({"advertisedHost": "kafka-{nodeId}.example.com"}, tuple(f"kafka-{node}.example.com" for node in range(3))),
    ],
)
async def test_clients_are_told_no_name_that_it_is_not_for_while_they_have_another(
    external: dict[str, str], names: tuple[str, ...]
) -> None:
    namespace = await formed(NODE_PORT, hosts=("10.0.0.1",))
    before = (await namespace.status())["listeners"][0]
    await namespace.change(listeners=[NODE_PORT | {"external": external}, MTLS])
    await passes(namespace, 20)
    status, words = await says(namespace)
    assert (status, lacking(*names) in words) == ("False", True)
    assert f"Clients are not told before: {', '.join(names)}." in words
    assert (await says(namespace, "CertificatesCurrent"))[1] == words
    assert (await namespace.status())["listeners"][0] == before
    assert all(len(uids) == 1 for uids in namespace.uids.values())
    await given(namespace, bought(namespace, hosts=("10.0.0.1", "*.example.com")))
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 5)
    found = (await namespace.status())["listeners"][0]
    told = [*found["bootstrapServers"], *(one["address"] for one in found["brokers"])]
    assert {name for name in names if any(text.startswith(f"{name}:") for text in told)} == set(names)
    assert namespace.outside.lies == []


async def test_a_pod_that_comes_up_anew_tells_what_it_told_while_a_name_is_held_back() -> None:
    namespace = await formed(NODE_PORT, hosts=("10.0.0.1",))
    before = (await namespace.status())["listeners"][0]
    await namespace.change(listeners=[NODE_PORT | {"external": {"advertisedHost": "edge-{nodeId}.example.com"}}, MTLS])
    await passes(namespace, 5)
    del namespace.kube.objects["pods", "kafka", "cell-nodes-1"]
    await passes(namespace, 20)
    assert len(namespace.uids["cell-nodes-1"]) == 2
    assert (await namespace.status())["listeners"][0] == before


@pytest.mark.parametrize(("hosts", "taken"), [(PODS[:2], True), (PODS, True), (PODS[1:], False)])
async def test_a_renewed_one_that_is_no_worse_than_what_brokers_have_is_taken_over(
    hosts: tuple[str, ...],
    taken: bool,  # noqa: FBT001
) -> None:
    """Brokers may have one of before its Service counted; it would end while they go on with it."""
    namespace = await formed(GIVEN, hosts=HOSTS)
    data = secrets(namespace)["cell-nodes-0-tls"]
    present = bought(namespace, hosts=PODS[:2])
    pem = "".join(base64.b64decode(present[key]).decode() for key in ("tls.key", "tls.crt"))
    for node in range(3):
        secret = namespace.kube.objects["secrets", "kafka", f"cell-nodes-{node}-tls"]
        secret["data"]["listener-clients.pem"] = encoded(pem)
    await given(namespace, renewed := bought(namespace, hosts=hosts))
    await passes(namespace, 10)
    assert data != secrets(namespace)["cell-nodes-0-tls"]
    shown = public_part(secrets(namespace)["cell-nodes-0-tls"]["listener-clients.pem"])
    assert shown == base64.b64decode((renewed if taken else present)["tls.crt"]).decode()
    status, words = await says(namespace, "CertificatesCurrent")
    assert (status, "is not for " in words) == ("False", True), "it is told all the same"
    assert all(len(uids) == 1 for uids in namespace.uids.values())


@pytest.mark.parametrize(
    ("names", "host", "covered"),
    [
        (("a.kafka.svc",), "a.kafka.svc", True),
        (("A.Kafka.svc",), "a.kafka.SVC", True),
        (("*.kafka.svc",), "a.kafka.svc", True),
        (("*.kafka.svc",), "a.b.kafka.svc", False),
        (("*.kafka.svc",), "kafka.svc", False),
        (("a*.kafka.svc",), "ab.kafka.svc", False),
        (("a.*.svc",), "a.kafka.svc", False),
        (("*.svc",), "kafka.svc", False),
        (("*",), "kafka", False),
        (("kafka",), "kafka", True),
        (("10.0.0.1",), "10.0.0.1", True),
        (("*.0.0.1",), "10.0.0.1", False),
        (("2001:db8::1",), "2001:DB8:0::1", True),
        ((), "a.kafka.svc", False),
    ],
)
def test_a_host_is_covered_as_clients_verify_it(names: tuple[str, ...], host: str, covered: bool) -> None:  # noqa: FBT001
    assert covers(names, host) is covered


def test_neither_a_common_name_nor_an_address_that_is_written_as_a_name_counts() -> None:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a.b.c")])
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1).not_valid_before(dt.datetime(2026, 1, 1))  # noqa: DTZ001
    builder = builder.not_valid_after(dt.datetime(2036, 1, 1))  # noqa: DTZ001
    alternatives = [x509.DNSName("10.0.0.1"), x509.DNSName("d.e.f"), x509.IPAddress(ip_address("10.0.0.2"))]
    builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()
    (found,) = Namespace().certificates.pki.read(pem)
    assert found.hosts == ("d.e.f", "10.0.0.2")


def test_all_that_is_missing_is_told_but_of_many_how_many() -> None:
    assert is_not_for(("a", "b")) == "has a tls.crt that is not for a, b, where clients connect to"
    assert " and 2 more," in is_not_for(tuple(f"host-{number:02}" for number in range(12)))
