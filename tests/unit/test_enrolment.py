"""Namespaces in which the operator may have no Secrets: it says so, makes nothing half, takes nothing away, goes on."""

from __future__ import annotations

import shlex
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from support.cell import topic
from support.fake_kube import FakeKube
from support.refused_secrets import Gate, closed_gate
from support.simulation import KEY, SETTINGS, DieAt, Killed, Namespace, passes, run_until_ready, service
from support.tenant_users import condition_in, declare_in, declare_tenants, settle, tenant, tenants_user
from support.users import DENIALS as DENIED
from support.users import KEY as USERS_KEY
from support.users import SESSIONS_END, UserSpace, beside, rule, user, user_space
from support.users import SETTINGS as USER_SETTINGS

from controlplane.api.conditions import Condition, timestamp
from controlplane.api.names import CERTIFICATES
from controlplane.api.rbac import enrolling
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.local import refuse_without_secrets
from controlplane.domain.access.enrolment import FRESH_SECONDS, NOT_ENROLLED, is_fresh
from controlplane.domain.users.values import ScramPassword
from controlplane.ports import Resource, UnreachableError
from controlplane.services.access.secrets import PROBE
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.events import EventRecorder
from controlplane.services.keys import topics_key
from controlplane.services.topic_status import KAFKA_TOPICS
from controlplane.services.topics import TopicService

EXAMPLE = Path(__file__).parents[2] / "examples" / "quickstart" / "cluster.yaml"
SECURE: dict[str, Any] = {
    "security": {"nodes": "MutualTls"},
    "authorization": {"type": "Standard"},
    "listeners": [{"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}],
}
DENIALS = 4


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Nothing is refused before a test closes a namespace."""
    return closed_gate(monkeypatch)


async def condition(namespace: Namespace, kind: str = "Ready") -> dict[str, Any]:
    return next(one for one in (await namespace.status())["conditions"] if one["type"] == kind)


def made(namespace: Namespace) -> set[str]:
    return {plural for plural, _, _ in namespace.kube.objects} - {"kafkaclusters", "events"}


def pods(namespace: Namespace) -> dict[str, str]:
    return {name: obj["metadata"]["uid"] for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}


# The command, and where else it stands.


def test_the_example_makes_the_binding_that_the_command_makes() -> None:
    words = shlex.split(enrolling("kafka"))
    assert words[:4] == ["kubectl", "create", "rolebinding", "kfleet-secrets"]
    options = dict(word.removeprefix("--").split("=") for word in words if word.startswith("--"))
    documents = yaml.safe_load_all(EXAMPLE.read_text())
    binding = next(document for document in documents if document["kind"] == "RoleBinding")
    assert binding["metadata"] == {"name": words[3], "namespace": words[words.index("-n") + 1]}
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == ("ClusterRole", options["clusterrole"])
    (subject,) = binding["subjects"]
    assert subject["kind"] == "ServiceAccount"
    assert f"{subject['namespace']}:{subject['name']}" == options["serviceaccount"]


def test_a_refusal_is_fresh_for_a_minute() -> None:
    def ready(status: Any) -> list[Condition]:
        return [Condition(type="Ready", status=status, last_transition_time=timestamp(1000.0), reason="Any")]

    assert is_fresh([], 5000.0)
    assert is_fresh(ready("True"), 5000.0), "it has only just stopped to be"
    assert is_fresh(ready("False"), 1000.0 + FRESH_SECONDS - 1)
    assert not is_fresh(ready("False"), 1000.0 + FRESH_SECONDS)


# Clusters.


async def test_of_a_cluster_that_needs_secrets_nothing_is_made_until_its_namespace_is_enrolled(gate: Gate) -> None:
    gate.closed.add("kafka")
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    one = service(namespace, DieAt())
    assert await one.reconcile(KEY) == SETTINGS.busy_interval, "a binding made together with it is in force in a moment"
    for kind in ("Ready", "Available", "CertificatesCurrent"):
        found = await condition(namespace, kind)
        assert (found["status"], found["reason"]) == ("False", NOT_ENROLLED), kind
    message = (await condition(namespace))["message"]
    assert 'User "kfleet" cannot get resource "secrets"' in message, "the API server's words: for whom"
    assert message.endswith(enrolling("kafka"))
    assert (await condition(namespace, "Stalled"))["status"] == "True"
    assert made(namespace) == set()

    namespace.clock.seconds += FRESH_SECONDS
    gate.refused.clear()
    assert await one.reconcile(KEY) == SETTINGS.resync_interval
    assert gate.refused == ["get cell-operator-tls"], "one question a pass"
    gate.closed.clear()
    await run_until_ready(namespace, DieAt())
    assert {(await condition(namespace, kind))["status"] for kind in ("Available", "CertificatesCurrent")} == {"True"}


async def test_a_cluster_in_plaintext_needs_no_secrets(gate: Gate) -> None:
    gate.closed.add("kafka")
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    assert gate.refused == []


async def test_a_cluster_goes_on_where_its_namespace_is_enrolled_no_more(gate: Gate) -> None:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await run_until_ready(namespace, DieAt())
    before, was = pods(namespace), await namespace.status()
    gate.closed.add("kafka")
    await passes(namespace, 5)
    status = await namespace.status()
    assert (await condition(namespace))["reason"] == NOT_ENROLLED
    assert {key: status[key] for key in ("bootstrapServers", "listeners", "certificates", "clusterId")} == {
        key: was[key] for key in ("bootstrapServers", "listeners", "certificates", "clusterId")
    }
    assert pods(namespace) == before

    lost = namespace.kube.objects.pop(("pods", "kafka", "cell-nodes-1"))
    await passes(namespace, 3)
    after = pods(namespace)
    assert after.keys() == before.keys(), "a pod that goes comes back"
    mark = namespace.kube.objects["pods", "kafka", "cell-nodes-1"]["metadata"]["annotations"][CERTIFICATES]
    assert mark == lost["metadata"]["annotations"][CERTIFICATES]

    gate.closed.clear()
    await run_until_ready(namespace, DieAt())
    await passes(namespace, 5)
    assert pods(namespace) == after, "and nobody is restarted for it"


async def test_a_given_certificate_waits_for_the_same(gate: Gate) -> None:
    gate.closed.add("kafka")
    namespace = Namespace()
    (listener,) = SECURE["listeners"]
    given = [listener | {"certificateSecretRef": {"name": "bought"}}]
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | {"listeners": given}))
    await passes(namespace, 2)
    assert (await condition(namespace))["reason"] == NOT_ENROLLED
    assert "get bought" not in gate.refused
    gate.closed.clear()
    await passes(namespace, 2)
    found = await condition(namespace)
    assert (found["reason"], "Secret bought is not there" in found["message"]) == ("ListenerCertificateInvalid", True)


async def test_topics_and_users_of_such_a_cluster_are_told_what_they_wait_for(gate: Gate) -> None:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await run_until_ready(namespace, DieAt())
    space = beside(namespace)
    await space.declare_users(user("app"))
    await declare_topic(namespace)
    gate.closed.add("kafka")
    space.clock.seconds += 1
    assert await space.service().reconcile(USERS_KEY) == USER_SETTINGS.busy_interval
    assert await topics(namespace) == SETTINGS.resync_interval
    for kind, name in (("kafkausers", "app"), ("kafkatopics", "orders")):
        found = ready_of(namespace, kind, name)
        assert (found["status"], found["reason"]) == ("False", NOT_ENROLLED)
        assert found["message"].startswith("KafkaCluster 'cell': Namespace kafka is not enrolled")
    space.clock.seconds += FRESH_SECONDS
    assert await space.service().reconcile(USERS_KEY) == USER_SETTINGS.resync_interval
    gate.closed.clear()
    await space.service().reconcile(USERS_KEY)
    await topics(namespace)
    assert ready_of(namespace, "kafkausers", "app")["status"] == "True"
    assert ready_of(namespace, "kafkatopics", "orders")["status"] == "True"


async def test_users_go_with_such_a_cluster(gate: Gate) -> None:
    """A namespace that is deleted: the binding is gone before the objects are, and nothing can be asked of brokers."""
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **SECURE)
    await run_until_ready(namespace, DieAt())
    space = beside(namespace)
    await space.declare_users(user("app"))
    await space.service().reconcile(USERS_KEY)
    assert (await space.condition("app"))["status"] == "True"
    gate.closed.add("kafka")
    await space.delete("app")
    await space.service().reconcile(USERS_KEY)
    assert (await space.condition("app"))["reason"] == NOT_ENROLLED, "it has to be kept out while there is a cluster"
    await namespace.kube.delete(KAFKA_CLUSTERS, "cell", "kafka")
    await space.service().reconcile(USERS_KEY)
    assert not space.has_user("app")


async def declare_topic(namespace: Namespace) -> None:
    await namespace.kube.create(KAFKA_TOPICS, topic("orders"), "kafka")


async def topics(namespace: Namespace) -> float | None:
    events = EventRecorder(namespace.kube, namespace.clock)
    one = TopicService(namespace.kube, namespace.admins, namespace.clock, events, SETTINGS)
    return await one.reconcile(topics_key("kafka", "cell"))


def ready_of(namespace: Namespace, kind: str, name: str) -> dict[str, Any]:
    found = namespace.kube.objects[kind, "kafka", name]["status"]["conditions"]
    return next(one for one in found if one["type"] == "Ready")


async def test_whoever_does_the_operators_work_needs_secrets_of_their_own(gate: Gate) -> None:
    """`--local`, which would say of the operator what is refused to a person."""
    namespace = Namespace()
    await namespace.declare(**SECURE)
    secure = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    await refuse_without_secrets(namespace.kube, secure)
    gate.closed.add("kafka")
    with pytest.raises(CliError, match=r"Secrets are refused: secrets .* is forbidden: User") as refused:
        await refuse_without_secrets(namespace.kube, secure)
    assert refused.value.code is ExitCode.DENIED
    del secure["spec"]["security"]
    await refuse_without_secrets(namespace.kube, secure)


# Users.


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_a_new_user_gets_nothing_until_its_namespace_is_enrolled(kind: str, gate: Gate) -> None:
    space = await user_space()
    gate.closed.add("kafka")
    await space.declare_users(user("app", rule(), kind=kind, quotas={"producerByteRate": "1Mi"}))
    again = await space.passes(2)
    for condition in ("Ready", "CredentialsCurrent"):
        found = await space.condition("app", condition)
        assert (found["status"], found["reason"]) == ("False", NOT_ENROLLED)
        assert found["message"].endswith(enrolling("kafka"))
    assert (space.kafka.scram, space.kafka.quotas, space.acls("app")) == ({}, {}, set())
    assert not (await space.user("app"))["metadata"].get("finalizers"), "there is nothing to be undone"
    assert space.passwords.made == []
    assert again == USER_SETTINGS.busy_interval
    space.clock.seconds += FRESH_SECONDS
    assert await space.passes() == USER_SETTINGS.resync_interval
    gate.closed.clear()
    await space.passes()
    assert (await space.condition("app"))["reason"] == "AsDeclared"
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.has_secret("app")


async def test_one_question_is_asked_a_namespace_however_many_users_it_has(gate: Gate) -> None:
    space = await user_space()
    gate.closed.add("kafka")
    await space.declare_users(*(user(f"u{number}", rule()) for number in range(40)))
    await space.passes()
    assert gate.refused == ["get kfleet-enrolment"]
    assert {(await space.condition(f"u{number}"))["reason"] for number in range(40)} == {NOT_ENROLLED}


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_a_user_keeps_what_it_has_where_its_namespace_is_enrolled_no_more(kind: str, gate: Gate) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule(), kind=kind))
    await space.passes()
    secret, scram = await space.secret("app"), dict(space.kafka.scram)
    gate.closed.add("kafka")
    await space.annotate("app", rotate_at="1")
    await space.respec("app", authorization={"acls": [rule("invoices")]})
    await space.passes(3)
    for condition in ("Ready", "CredentialsCurrent"):
        assert (await space.condition("app", condition))["reason"] == NOT_ENROLLED
    assert (await space.user("app"))["status"]["binding"] == {"name": "app"}
    assert space.kafka.scram == scram
    assert space.acls("app") == {"allow Read on topic invoices"}, "rights follow the object, those that are taken too"
    gate.closed.clear()
    assert await space.secret("app") == secret
    await space.passes(2)
    assert (await space.condition("app"))["reason"] == "AsDeclared"
    assert await space.secret("app") != secret, "the rotation was waited with, not forgotten"


async def test_who_is_kept_out_does_not_wait_for_an_api_server_that_cannot_tell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule()))
    await space.passes()
    real = FakeKube.get

    async def fail(self: FakeKube, resource: Resource, name: str, namespace: str | None = None) -> Any:
        if name == PROBE:
            raise UnreachableError(500, "InternalError", "the key server is away")
        return await real(self, resource, name, namespace)

    monkeypatch.setattr(FakeKube, "get", fail)
    await space.annotate("app", revoked="1")
    await space.passes()
    assert (await space.condition("app"))["reason"] == "Revoked"
    assert not space.has_secret("app")


@pytest.mark.parametrize("when_no_acl", ["Deny", "Allow"])
async def test_who_is_let_in_again_before_its_secret_could_go_has_another_password(
    when_no_acl: str, gate: Gate
) -> None:
    """Nothing but the Secret that stayed has the old one, and nobody looks into that until the sessions are over."""
    space = await user_space()
    space.stage(when_no_acl)
    await space.declare_users(user("app", rule()))
    await space.passes()
    gate.closed.add("kafka")
    await space.annotate("app", revoked="seen in a log")
    await space.passes(2)
    await space.annotate("app", revoked=None)
    for _ in range(3):
        space.clock.seconds += SESSIONS_END
        await space.passes(2)
        assert (await space.condition("app"))["reason"] == NOT_ENROLLED
        assert when_no_acl == "Allow" or space.acls("app") >= DENIED, "lifted once there are credentials"
    gate.closed.clear()
    await space.passes(2)
    assert (await space.condition("app"))["status"] == "True"
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") == space.passwords.made[1]
    assert space.acls("app") == {"allow Read on topic orders"}
    await space.passes()
    assert space.remembered() == {}


async def test_somebody_is_kept_out_all_the_same_and_the_secret_goes_later(gate: Gate) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule()))
    await space.passes()
    gate.closed.add("kafka")
    await space.annotate("app", revoked="seen in a log")
    await space.passes(2)
    ready, credentials = await space.condition("app"), await space.condition("app", "CredentialsCurrent")
    assert (ready["reason"], credentials["reason"]) == ("Revoked", NOT_ENROLLED)
    assert "Secret 'app' stays" in ready["message"]
    assert len([acl for acl in space.acls("app") if acl.startswith("deny All")]) == DENIALS
    assert "app" not in space.kafka.scram
    assert space.has_secret("app")
    assert "UserRevoked" not in space.events(), "its Secret is still there"
    gate.closed.clear()
    await space.passes()
    assert not space.has_secret("app")
    assert (await space.condition("app"))["message"].endswith("Take it away to let it in again.")
    assert "UserRevoked" in space.events()


async def test_a_deleted_user_is_out_of_kafka_and_its_secret_is_told_of(gate: Gate) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule()))
    await space.passes()
    gate.closed.add("kafka")
    await space.delete("app")
    await space.passes()
    assert not space.has_user("app")
    assert "app" not in space.kafka.scram
    assert len(space.acls("app")) == DENIALS
    assert space.has_secret("app")
    (event,) = [obj for obj in space.kube.objects.values() if obj.get("reason") == "SecretLeft"]
    assert event["type"] == "Warning"
    assert "Secret app stays: namespace kafka is not enrolled" in event["message"]


async def test_who_never_had_credentials_is_gone_at_once(gate: Gate) -> None:
    space = await user_space()
    gate.closed.add("kafka")
    await space.declare_users(user("app", rule()))
    await space.passes()
    await space.delete("app")
    assert not space.has_user("app")
    await space.passes()
    assert space.acls("app") == set()
    assert "SecretLeft" not in space.events()


@pytest.mark.parametrize("deleted", [False, True])
async def test_a_password_that_may_be_anothers_is_not_touched(deleted: bool, gate: Gate) -> None:  # noqa: FBT001
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    gate.closed.add("kafka")
    obj = user("app", rule())
    obj["metadata"]["finalizers"] = ["kfleet.dev/user"]
    await space.declare_users(obj)
    await space.passes()
    assert (await space.condition("app"))["reason"] == NOT_ENROLLED
    if deleted:
        await space.delete("app")
    await space.passes()
    assert space.has_user("app") is not deleted
    assert space.password_in_kafka("app") == "theirs"
    assert space.acls("app") == set()


async def test_a_tenants_namespace_counts_for_its_own_users_only(gate: Gate) -> None:
    space = await user_space()
    await declare_tenants(space, tenant(), tenant("other"))
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.o")))
    await declare_in(space, "other", tenants_user("else", rule("other.o"), of="other"))
    gate.closed.add("checkout")
    await settle(space)
    found = await condition_in(space, "checkout", "app")
    assert (found["reason"], found["message"].endswith(enrolling("checkout"))) == (NOT_ENROLLED, True)
    assert (await condition_in(space, "other", "else"))["status"] == "True"
    gate.closed.clear()
    await settle(space)
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"


async def test_a_namespace_that_goes_with_its_binding_is_not_kept(gate: Gate) -> None:
    """Kubernetes deletes what is in it in any order."""
    space = await user_space()
    await declare_tenants(space, tenant())
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.o")))
    await settle(space)
    gate.closed.add("checkout")
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    del space.kube.objects["secrets", "checkout", "app"]
    await settle(space)
    assert ("kafkausers", "checkout", "app") not in space.kube.objects
    assert "app" not in space.kafka.scram
    assert len(space.acls("app")) == DENIALS


async def test_a_crash_between_secret_and_kafka_is_finished_once_it_is_enrolled_again(gate: Gate) -> None:
    """The password that a killed pass has left is nobody else's, and not forgotten either."""
    space = await killed_before_kafka()
    gate.closed.add("kafka")
    await space.passes(2)
    assert (await space.condition("app"))["reason"] == NOT_ENROLLED
    assert space.kafka.scram == {}
    gate.closed.clear()
    await space.passes(2)
    assert (await space.condition("app"))["reason"] == "AsDeclared"
    assert [space.password_in_kafka("app")] == space.passwords.made


async def killed_before_kafka() -> UserSpace:
    calls = DieAt()
    rehearsal = await user_space()
    await rehearsal.declare_users(user("app", rule()))
    await rehearsal.passes(die=calls)
    space = await user_space()
    await space.declare_users(user("app", rule()))
    with suppress(Killed):
        await space.passes(die=DieAt(calls.calls.index("kafka upsert_scram") + 1))
    return space
