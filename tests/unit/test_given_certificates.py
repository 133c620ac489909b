"""Certificates that people give for a listener, in cert-manager's layout, on fakes: shown, renewed, and refused."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from support.secured import DAY, MTLS, SCRAM, SECURE, condition, encoded, leaf, pod_uids, secrets, secured
from support.simulation import KEY, SETTINGS, DieAt, Namespace, passes, run_until_ready, service, some_topic

from controlplane.adapters.pki import CryptographyPki
from controlplane.domain.access.pki import Leaf
from controlplane.ports import Object
from controlplane.services.access.secrets import SECRETS, public_part
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

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
    return {key: encoded(value) for key, value in (files | change.get("files", {})).items() if value}


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
