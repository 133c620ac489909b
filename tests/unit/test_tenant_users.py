"""Users of tenants on fakes: their cell, their names, their share of the tenant's quotas, and nobody else's."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from pydantic import SecretStr
from support.fake_kafka import FakePartition, FakeTopic
from support.tenant_users import (
    change_tenant,
    condition_in,
    declare_in,
    declare_tenants,
    give_homes,
    layers_of,
    settle,
    tenant,
    tenants_user,
)
from support.users import KEY, SERVERS, UserSpace, rule, user, user_space

from controlplane.api.kafka_tenant import QuotaGranted
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.tenants.granted import granted
from controlplane.domain.tenants.quotas import RELAX_SECONDS
from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.ports import NotFoundError
from controlplane.services.access.secrets import SECRETS
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.tenants.read import KAFKA_TENANTS

QUOTAS = {"produceBytesPerSecond": "12Mi", "requestPercentage": 50, "controllerMutationRate": 10}


async def space_with(*tenants: dict[str, Any]) -> UserSpace:
    space = await user_space()
    await declare_tenants(space, *(tenants or (tenant(),)))
    return space


def topic(space: UserSpace, name: str, *partitions: tuple[int, ...], leaders: tuple[int, ...] = ()) -> None:
    """Each with these replicas, led by the first unless `leaders` says otherwise."""
    found = [FakePartition(replicas, replicas, replicas[0]) for replicas in partitions]
    for partition, leader in zip(found, leaders, strict=False):
        partition.leader = leader
    space.kafka.topics[name] = FakeTopic(f"id-{name}", found, {})


async def test_a_tenants_user_is_made_in_the_cell_and_its_secret_beside_it() -> None:
    space = await space_with()
    mine = rule("checkout.orders", "Read"), rule("checkout.", "Read", kind="group", patternType="prefixed")
    await declare_in(space, "checkout", tenants_user("app", *mine), tenants_user("cert", kind="tls"))
    assert await give_homes(space) is None
    await settle(space)
    for name in ("app", "cert"):
        assert (await condition_in(space, "checkout", name))["reason"] == "AsDeclared"
        secret = await space.kube.get(SECRETS, name, "checkout")
        assert not space.has_secret(name), "not in the cluster's namespace"
        data = {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}
        assert data["bootstrap.servers"] == ",".join(SERVERS)
        assert data["ca.crt"].startswith("-----BEGIN CERTIFICATE")
        status = (await space.kube.get(KAFKA_USERS, name, "checkout"))["status"]
        assert (status["cell"], status["principal"]) == ("kafka/cell", f"User:{name}")
    assert space.acls("app") == {"allow Read on topic checkout.orders", "allow Read on group checkout.*"}


async def test_it_goes_with_its_object_also_when_the_tenant_is_gone() -> None:
    space = await space_with(tenant(quotas=QUOTAS))
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders")))
    await settle(space)
    before = dict(space.kafka.quotas["app"])
    await space.kube.delete(KAFKA_TENANTS, "checkout")
    await settle(space)
    condition = await condition_in(space, "checkout", "app")
    assert (condition["reason"], "there is no KafkaTenant" in condition["message"]) == ("TenantNotFound", True)
    assert space.kafka.quotas["app"] == before, "no tenant is no reason to have more"
    assert space.acls("app") == {"allow Read on topic checkout.orders"}
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    await settle(space)
    with pytest.raises(NotFoundError):
        await space.kube.get(KAFKA_USERS, "app", "checkout")
    assert "app" not in space.kafka.scram
    assert "app" not in space.kafka.quotas
    assert space.acls("app") == {f"deny All on {what}" for what in DENIED}


DENIED = ("topic *", "group *", "transactionalId *", "cluster kafka-cluster")


@pytest.mark.parametrize(
    ("tenants", "cell", "reason", "says"),
    [
        ([], "", "TenantNotFound", "spec.tenantRef.name"),
        ([tenant("checkout", "elsewhere")], "", "NamespaceNotListed", "does not list namespace 'checkout'"),
        (
            [tenant(), tenant("old", "checkout", created="2025-01-01T00:00:00Z")],
            "",
            "NamespaceTaken",
            "belongs to KafkaTenant 'old'",
        ),
        ([tenant()], "kafka/other", "CellNotNamed", "spec.tenantRef.cell: KafkaTenant 'checkout' has no cell"),
        (
            [tenant(cells=[{"namespace": "kafka", "name": name} for name in ("cell", "more")])],
            "",
            "CellNotNamed",
            "has 2 cells",
        ),
    ],
)
async def test_one_that_cannot_have_a_cell_says_why(
    tenants: list[dict[str, Any]], cell: str, reason: str, says: str
) -> None:
    space = await user_space()
    await declare_tenants(space, *tenants)
    await declare_in(space, "checkout", tenants_user("app", cell=cell))
    assert await give_homes(space) == 30.0
    assert "cell" not in (await space.kube.get(KAFKA_USERS, "app", "checkout"))["status"]
    condition = await condition_in(space, "checkout", "app")
    assert (condition["reason"], says in condition["message"]) == (reason, True), condition
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    await settle(space)
    assert ("kafkausers", "checkout", "app") not in space.kube.objects
    assert (space.kafka.scram, space.kafka.acls) == ({}, set())


async def test_of_several_cells_it_names_one_and_stays_there() -> None:
    space = await space_with(tenant(cells=[{"namespace": "kafka", "name": name} for name in ("cell", "more")]))
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders"), cell="kafka/cell"))
    await settle(space)
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"
    await change_tenant(space, "checkout", cells=[{"namespace": "kafka", "name": "more"}])
    await settle(space)
    condition = await condition_in(space, "checkout", "app")
    assert (condition["reason"], "cell kafka/cell any more" in condition["message"]) == ("CellLeft", True)
    assert space.acls("app") == {"allow Read on topic checkout.orders"}
    assert (await condition_in(space, "checkout", "app", "CredentialsCurrent"))["status"] == "True"


@pytest.mark.parametrize(
    ("acl", "field"),
    [
        (rule("orders"), "acls[1].resource.name: 'orders' does not begin with 'checkout.'"),
        (rule("checkout"), "acls[1].resource.name: 'checkout' does not begin with 'checkout.'"),
        (rule("*"), "acls[1].resource.name: '*' does not begin"),
        (rule("check", patternType="prefixed"), "acls[1].resource.name: 'check' does not begin"),
        (rule("billing", kind="group"), "acls[1].resource.name: 'billing' does not begin"),
        (rule("tx", "Write", kind="transactionalId"), "acls[1].resource.name: 'tx' does not begin"),
        (rule("*", "Read", type="deny"), "acls[1].resource.name: '*' does not begin"),
        (rule("", "Describe", kind="cluster"), "acls[1].resource.type: a tenant's user has no rule on the cluster"),
    ],
)
async def test_a_tenants_user_has_rules_on_its_own_names_only(acl: dict[str, Any], field: str) -> None:
    space = await space_with()
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders"), acl))
    await settle(space)
    condition = await condition_in(space, "checkout", "app")
    assert (condition["reason"], f"spec.authorization.{field}" in condition["message"]) == ("ForeignPrefix", True)
    assert (space.kafka.acls, space.kafka.scram) == (set(), {})
    assert ("secrets", "checkout", "app") not in space.kube.objects


async def test_what_a_tenants_user_may_have() -> None:
    space = await space_with()
    acls = (
        rule("checkout.", "All", patternType="prefixed"),
        rule("checkout.tx", "Write", kind="transactionalId"),
        rule("checkout.secret", "Read", type="deny"),
        rule("", "IdempotentWrite", kind="cluster"),
    )
    await declare_in(space, "checkout", tenants_user("app", *acls))
    await settle(space)
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"
    assert len(space.acls("app")) == 4


@pytest.mark.parametrize(
    ("acl", "allowed"),
    [
        (rule("*"), False),
        (rule("checkout.orders"), False),
        (rule("checkout.eu", patternType="prefixed"), False),
        (rule("che", patternType="prefixed"), False),
        (rule("checkout.g", kind="group"), False),
        (rule("*", "Write", kind="transactionalId"), False),
        (rule("checkout"), True),
        (rule("checkouts", patternType="prefixed"), True),
        (rule("orders"), True),
        (rule("*", type="deny"), True),
        (rule("", "Describe", kind="cluster"), True),
    ],
)
@pytest.mark.parametrize("whose", ["cluster", "tenant"])
async def test_nobody_else_is_allowed_anything_on_a_tenants_names(
    acl: dict[str, Any],
    allowed: bool,  # noqa: FBT001
    whose: str,
) -> None:
    space = await space_with(tenant(), tenant("billing"))
    if whose == "cluster":
        await space.declare_users(user("app", acl))
        await settle(space)
        condition = await space.condition("app")
    else:
        await declare_in(space, "billing", tenants_user("app", acl, of="billing"))
        await settle(space)
        condition, allowed = await condition_in(space, "billing", "app"), False
    assert (condition["status"] == "True") == allowed, condition
    if not allowed:
        assert condition["reason"] == "ForeignPrefix"
        assert condition["message"].startswith("spec.authorization.acls[0].resource.")
        assert space.kafka.acls == set()
        assert "app" not in space.kafka.scram


async def test_a_tenant_of_another_cell_reserves_nothing_here() -> None:
    space = await space_with(tenant(cells=[{"namespace": "kafka", "name": "more"}]))
    await space.declare_users(user("app", rule("checkout.orders")))
    await settle(space)
    assert (await space.condition("app"))["status"] == "True"


async def test_a_tenant_that_is_new_cuts_nobody_off_and_gives_nothing_new() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("*"), quotas={"producerByteRate": "1Mi"}))
    await settle(space)
    await declare_tenants(space, tenant())
    await space.respec(
        "app", authorization={"acls": [rule("*"), rule("more", "Write")]}, quotas={"producerByteRate": "2Mi"}
    )
    await space.annotate("app", rotate_at="1")
    await settle(space)
    condition = await space.condition("app")
    assert (condition["reason"], "KafkaTenant 'checkout'" in condition["message"]) == ("ForeignPrefix", True)
    assert space.acls("app") == {"allow Read on topic *"}, "as it was"
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 2 * 2.0**20}
    assert space.password_in_kafka("app") == space.passwords.made[1], "it is rotated as ever"
    assert (await space.condition("app", "CredentialsCurrent"))["status"] == "True"
    await space.respec("app", authorization={"acls": [rule("orders")]})
    await settle(space)
    assert (await space.condition("app"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_one_that_is_refused_is_kept_out_when_that_is_asked_for() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("*")))
    await settle(space)
    await declare_tenants(space, tenant())
    await settle(space)
    await space.annotate("app", revoked="1")
    await settle(space)
    assert (await space.condition("app"))["reason"] == "Revoked"
    assert {f"deny All on {what}" for what in DENIED} <= space.acls("app")
    assert "app" not in space.kafka.scram


async def test_a_name_is_one_users_of_the_whole_cell() -> None:
    space = await space_with(tenant(), tenant("billing"))
    old, young = tenants_user("app", rule("checkout.o")), tenants_user("app", rule("billing.o"), of="billing")
    young["metadata"]["creationTimestamp"] = "2026-05-05T00:00:00Z"
    await declare_in(space, "billing", young)
    await declare_in(space, "checkout", old)
    await settle(space)
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"
    condition = await condition_in(space, "billing", "app")
    assert (condition["reason"], "belongs to checkout/app" in condition["message"]) == ("PrincipalTaken", True)
    assert ("secrets", "billing", "app") not in space.kube.objects
    assert space.acls("app") == {"allow Read on topic checkout.o"}


async def test_an_older_object_that_comes_later_takes_nobodys_name() -> None:
    """It was refused for years, and its tenant is declared only now."""
    space = await space_with()
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.o")))
    await settle(space)
    older = tenants_user("app", rule("billing.o"), of="billing")
    older["metadata"]["creationTimestamp"] = "2020-01-01T00:00:00Z"
    await declare_in(space, "billing", older)
    await declare_tenants(space, tenant("billing"))
    await settle(space)
    assert (await condition_in(space, "billing", "app"))["reason"] == "PrincipalTaken"
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic checkout.o"}


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_a_tenants_user_does_not_slip_into_a_principal_that_has_rules(kind: str) -> None:
    space = await space_with()
    theirs = Acl("User:backup", "topic", "*", "literal", "Read", "allow")
    space.kafka.acls.add(theirs)
    await declare_in(space, "checkout", tenants_user("backup", kind=kind, exclusive=True))
    await settle(space)
    condition = await condition_in(space, "checkout", "backup")
    assert (condition["reason"], "allow Read on topic *" in condition["message"]) == ("PrincipalHasRules", True)
    assert space.kafka.acls == {theirs}
    assert ("secrets", "checkout", "backup") not in space.kube.objects


async def test_a_tenants_user_takes_over_nobodys_password() -> None:
    space = await space_with()
    space.kafka.scram["backup"] = ScramPassword("backup", SecretStr("theirs"), 8192)
    await declare_in(space, "checkout", tenants_user("backup", exclusive=True))
    await settle(space)
    condition = await condition_in(space, "checkout", "backup")
    assert (condition["reason"], "exclusive" in condition["message"]) == ("CredentialExists", False)
    assert space.password_in_kafka("backup") == "theirs"


@pytest.mark.parametrize("iterations", [8192, 4096])
async def test_a_secret_that_names_the_user_as_its_owner_proves_nothing_of_a_password(iterations: int) -> None:
    """Whoever may write Secrets in the tenant's namespace can make one like those that a killed pass leaves."""
    space = await space_with()
    space.kafka.scram["backup"] = ScramPassword("backup", SecretStr("theirs"), iterations)
    await declare_in(space, "checkout", tenants_user("backup"))
    mine = await space.kube.get(KAFKA_USERS, "backup", "checkout")
    owner = {"kind": "KafkaUser", "name": "backup", "uid": mine["metadata"]["uid"]}
    meta = {"name": "backup", "namespace": "checkout", "ownerReferences": [owner]}
    body = {"metadata": meta, "data": {"password": base64.b64encode(b"f" * 40).decode()}}
    await space.kube.create(SECRETS, body)
    await settle(space)
    assert (await condition_in(space, "checkout", "backup"))["reason"] == "CredentialExists"
    assert space.password_in_kafka("backup") == "theirs"


# The share of the tenant's quotas.


async def test_a_tenants_quotas_are_divided_by_brokers_and_users() -> None:
    space = await space_with(tenant(quotas=QUOTAS))
    topic(space, "checkout.a", (0, 1, 2), (1, 2, 0))
    topic(space, "others", (2, 0, 1))
    await declare_in(space, "checkout", tenants_user("a"), tenants_user("b", quotas={"producerByteRate": "1Mi"}))
    await settle(space)
    assert space.kafka.quotas["a"] == {
        "producer_byte_rate": 3 * 2.0**20,
        "request_percentage": 25.0,
        "controller_mutation_rate": 5.0,
    }
    assert space.kafka.quotas["b"]["producer_byte_rate"] == 2.0**20, "its own is less"
    found = layers_of(await space.kube.get(KAFKA_USERS, "b", "checkout"))
    assert (found["tenant"]["brokers"], found["tenant"]["users"]) == (2, 2)
    assert found["declared"]["binds"] == ["producer_byte_rate"]
    assert found["tenant"]["binds"] == ["controller_mutation_rate", "request_percentage"]
    assert found["tenant"]["values"]["producer_byte_rate"] == str(3 * 2**20)


async def test_quotas_follow_at_once_down_and_slowly_up() -> None:
    space = await space_with(tenant(quotas={"produceBytesPerSecond": "12Mi"}))
    topic(space, "checkout.a", (0, 1, 2))
    await declare_in(space, "checkout", tenants_user("a"))
    service = space.service()

    async def rate(seconds: float = 1.0) -> float:
        await give_homes(space)
        space.clock.seconds += seconds
        await service.reconcile(KEY)
        return space.kafka.quotas["a"]["producer_byte_rate"] / 2**20

    assert await rate() == 12
    topic(space, "checkout.b", (1, 2, 0), (2, 0, 1))
    assert await rate() == 4
    topic(space, "checkout.b", (1, 2, 0), (2, 0, 1), leaders=(0, 0))
    assert await rate() == 4, "leaders come back by themselves"
    await declare_in(space, "checkout", tenants_user("b"))
    assert await rate() == 2
    await space.kube.delete(KAFKA_USERS, "b", "checkout")
    del space.kafka.topics["checkout.b"]
    assert await rate() == 2
    assert await rate(RELAX_SECONDS / 2) == 2
    service = space.service()
    assert await rate() == 2, "an operator that has just begun goes on from what was granted"
    assert await rate(RELAX_SECONDS / 2) == 2
    assert await rate(RELAX_SECONDS) == 12


async def test_where_clients_read_from_replicas_every_replicas_broker_counts() -> None:
    space = await space_with(tenant(quotas={"consumeBytesPerSecond": "12Mi"}))
    topic(space, "checkout.a", (0, 1, 2))
    stored = space.kube.objects[("kafkaclusters", "kafka", "cell")]
    stored["spec"].setdefault("config", {})["replica.selector.class"] = "RackAware"
    await declare_in(space, "checkout", tenants_user("a"))
    await settle(space)
    assert space.kafka.quotas["a"] == {"consumer_byte_rate": 4 * 2.0**20}


async def test_who_gets_nothing_takes_nothing_from_the_others() -> None:
    space = await space_with(tenant(quotas={"requestPercentage": 50}))
    out = tenants_user("out")
    out["metadata"]["annotations"] = {"kfleet.dev/revoked": "1"}
    await declare_in(space, "checkout", tenants_user("a"), tenants_user("bad", rule("theirs")), out)
    await declare_in(space, "stranger", *(tenants_user(f"s{number}") for number in range(5)))
    await give_homes(space)
    await settle(space)
    assert space.kafka.quotas == {"a": {"request_percentage": 50.0}}


async def test_without_quotas_in_bytes_kafka_is_not_asked_where_leaders_are(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.fake_kafka import FakeKafkaAdmin

    space = await space_with(tenant(quotas={"requestPercentage": 50}))
    await declare_in(space, "checkout", tenants_user("a"))

    async def fail(self: object) -> None:
        raise AssertionError("asked")

    monkeypatch.setattr(FakeKafkaAdmin, "places", fail)
    await settle(space)
    assert (await condition_in(space, "checkout", "a"))["status"] == "True"


async def test_what_is_granted_is_what_all_users_have_in_the_end() -> None:
    space = await space_with(tenant(quotas={"produceBytesPerSecond": "12Mi"}), tenant("billing"))
    topic(space, "checkout.a", (0, 1, 2), (1, 2, 0), (2, 0, 1))
    await declare_in(space, "checkout", tenants_user("a"), tenants_user("b"))
    await declare_in(space, "billing", tenants_user("c", of="billing"))
    await settle(space)
    objects = await space.kube.list(KAFKA_USERS)
    users = [KafkaUser.model_validate(obj) for obj in objects]
    assert granted(users) == {
        "checkout": QuotaGranted(brokers=3, users=2, values={"producer_byte_rate": str(2 * 2**20)})
    }
    others = sorted(users, key=lambda user: user.metadata.name)
    first = others.pop(0)
    older = first.status.quota_layers[0].model_copy(update={"users": 1, "values": {"producer_byte_rate": str(2**22)}})
    stale = first.model_copy(update={"status": first.status.model_copy(update={"quota_layers": (older,)})})
    assert granted([stale, *others]) == granted(users)
    assert granted([]) == {}


async def test_a_revoked_users_quotas_stay_while_it_is_out() -> None:
    space = await space_with(tenant(quotas={"requestPercentage": 50}))
    await declare_in(space, "checkout", tenants_user("a"), tenants_user("b"))
    await settle(space)
    obj = await space.kube.get(KAFKA_USERS, "b", "checkout")
    obj["metadata"]["annotations"] = {"kfleet.dev/revoked": "1"}
    await space.kube.replace(KAFKA_USERS, obj)
    space.clock.seconds += RELAX_SECONDS
    await settle(space)
    assert space.kafka.quotas["b"] == {"request_percentage": 25.0}


async def test_one_in_a_namespace_that_is_not_watched_is_answered_and_gets_nothing_new() -> None:
    space = await space_with()
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders")))
    assert await give_homes(space, watch_namespaces=["kafka"]) is None
    assert "status" not in await space.kube.get(KAFKA_USERS, "app", "checkout"), "another operator's to see"
    assert await give_homes(space, watch_namespaces=["checkout"]) is None
    told = await condition_in(space, "checkout", "app")
    assert (told["reason"], "cell kafka/cell is another operator's" in told["message"]) == ("CellElsewhere", True)
    await space.service(watch_namespaces=["kafka"]).reconcile(KEY)
    told = await condition_in(space, "checkout", "app")
    assert (told["reason"], "does not watch namespace 'checkout'" in told["message"]) == ("NamespaceNotWatched", True)
    assert (space.kafka.scram, space.kafka.acls, space.kafka.quotas) == ({}, set(), {})
    await space.service(watch_namespaces=["kafka", "checkout"]).reconcile(KEY)
    assert (await condition_in(space, "checkout", "app"))["status"] == "True"


async def test_one_that_was_let_in_before_its_namespace_was_left_goes_on_and_goes() -> None:
    space = await space_with()
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders")))
    await settle(space)
    changed = await space.kube.get(KAFKA_USERS, "app", "checkout")
    changed["spec"]["authorization"] = {"acls": [rule("checkout.more")]}
    await space.kube.replace(KAFKA_USERS, changed)
    service = space.service(watch_namespaces=["kafka"])
    await service.reconcile(KEY)
    assert (await condition_in(space, "checkout", "app"))["reason"] == "NamespaceNotWatched"
    assert space.acls("app") == {"allow Read on topic checkout.orders"}
    assert "app" in space.kafka.scram
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    await service.reconcile(KEY)
    assert ("kafkausers", "checkout", "app") not in space.kube.objects
    assert "app" not in space.kafka.scram
