"""A cluster whose nodes know one another by certificates, on fakes: made, renewed, restored, and refused."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from support.fake_kube import FakeKube
from support.secured import DAY, MTLS, SCRAM, SECURE, condition, encoded, leaf, pod_uids, secrets, secured
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, passes, run_until_ready, service

from controlplane.adapters.pki import CryptographyPki
from controlplane.adapters.tls import context
from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.pem import public_part
from controlplane.domain.access.pki import UNIT
from controlplane.domain.access.values import ClientTls
from controlplane.ports import ForbiddenError, KafkaAdmin, KeyPair, Object, Resource
from controlplane.services.access.secrets import SECRETS
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import observe_world

ALL = {
    "cell-cluster-ca",
    "cell-cluster-ca-key",
    "cell-clients-ca",
    "cell-clients-ca-key",
    "cell-operator-tls",
    *(f"cell-nodes-{node}-tls" for node in range(3)),
}


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
    namespace.kube.objects["secrets", "kafka", "cell-cluster-ca"]["data"]["ca.crt"] = encoded(foreign)
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
        namespace.kube.objects["secrets", "kafka", "cell-nodes-0-tls"]["data"]["node.pem"] = encoded(wrong)
    await passes(namespace, 60)
    assert leaf(namespace).fingerprint != before.fingerprint
    assert namespace.serving.now[0] == leaf(namespace).fingerprint
    assert await namespace.ready()


async def test_certificates_that_are_trusted_already_restart_nobody_however_their_lines_are_broken() -> None:
    namespace = await secured()
    before, right = pod_uids(namespace), secrets(namespace)["cell-nodes-0-tls"]["cluster-ca.crt"]
    data = namespace.kube.objects["secrets", "kafka", "cell-nodes-0-tls"]["data"]
    data["cluster-ca.crt"] = encoded(right.replace("\n", "\r\n"))
    await passes(namespace, 60)
    assert secrets(namespace)["cell-nodes-0-tls"]["cluster-ca.crt"] == right
    assert pod_uids(namespace) == before


async def test_a_time_to_come_keeps_no_node_from_reading_its_certificate() -> None:
    """Of the annotation that says when it was asked to."""
    namespace = await secured()
    before = leaf(namespace)
    for node in range(3):
        marks = namespace.kube.objects["secrets", "kafka", f"cell-nodes-{node}-tls"]["metadata"]["annotations"]
        marks[names.CERTIFICATE_ASKED] = f"{namespace.clock.now() + 1000 * DAY:.0f}"
    namespace.clock.seconds += SETTINGS.certificate_lifetime - SETTINGS.certificate_renew_before + DAY
    await passes(namespace, 40)
    assert leaf(namespace).fingerprint != before.fingerprint
    assert namespace.serving.now == {node: leaf(namespace, node).fingerprint for node in range(3)}


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
    namespace.kube.objects["secrets", "kafka", "cell-operator-tls"]["data"]["ca.crt"] = encoded(edit)
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
    theirs = {"metadata": {"name": "cell-clients-ca-key", "namespace": "kafka"}, "data": {"x": encoded("mine")}}
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


@pytest.mark.parametrize("before", [{}, {"authentication": {"type": "tls"}}], ids=["nobody asked", "asked"])
async def test_whether_a_listener_asks_for_certificates_never_changes(before: dict[str, Any]) -> None:
    """To Kafka both are SSL. Taken out and put in again the API server has nothing to compare it with."""
    after = {} if before else {"authentication": {"type": "tls"}}
    open_to_all = {key: value for key, value in SECURE.items() if key != "authorization"}
    item = {"name": "open", "port": 9095, "tls": True}
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **(open_to_all | {"listeners": [SCRAM, item | before]}))
    await run_until_ready(namespace, DieAt())
    pods = pod_uids(namespace)
    await namespace.change(listeners=[SCRAM, item | after])
    await passes(namespace, 10)
    ready = await condition(namespace, "Ready")
    assert (ready["reason"], pod_uids(namespace)) == ("ListenerChangeRefused", pods)
    assert "spec.listeners[open]" in ready["message"]
    await namespace.change(listeners=[SCRAM, item | before])
    await run_until_ready(namespace, DieAt())
    assert pod_uids(namespace) == pods


async def test_controllers_of_a_pool_of_their_own_have_no_listener_that_could_ask_for_certificates() -> None:
    namespace = Namespace()
    open_to_all = {key: value for key, value in SECURE.items() if key != "authorization"}
    tls = {"name": "certificates", "port": 9095, "tls": True, "authentication": {"type": "tls"}}
    pool = {"replicas": 3, "zones": ["a", "b", "c"], "storage": {"volumes": [{"id": 0, "size": "1Gi"}]}}
    pools = [
        pool | {"name": "controllers", "roles": ["Controller"]},
        pool | {"name": "brokers", "roles": ["Broker"]},
    ]
    namespace.kafka.directories.update({node: f"directory-{node}" for node in range(6)})
    await namespace.declare(rollout={"soak": "2s"}, **(open_to_all | {"listeners": [SCRAM, tls], "nodePools": pools}))
    await passes(namespace, 30)
    assert (await condition(namespace, "Ready"))["reason"] != "ListenerChangeRefused"
    assert len(pod_uids(namespace)) == 6


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
