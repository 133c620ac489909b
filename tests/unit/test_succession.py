"""One authority of a cluster follows another, on fakes; and what that, and `Deny`, wait for users with."""

from __future__ import annotations

import base64
import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from support.fake_kube import FakeKube
from support.fake_tls import signed
from support.secured import DAY, SECURE, condition, encoded, leaf, pod_uids, secrets, secured
from support.simulation import KEY, DieAt, Killed, Namespace, passes, run_until_ready, service, some_topic
from support.users import KEY as USERS_KEY
from support.users import UserSpace, beside, rule, user

from controlplane.api.conditions import timestamp
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.listeners import ALLOWS_UNLISTED
from controlplane.domain.access.pem import public_part
from controlplane.domain.access.pki import UNIT, Leaf
from controlplane.domain.access.values import Lifetimes
from controlplane.ports import ForbiddenError, Object, Resource
from controlplane.services.access.secrets import SECRETS
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import observe_world

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
    namespace.kube.objects["secrets", "kafka", "cell-operator-tls"]["data"]["tls.crt"] = encoded(own.certificate)
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
    data[key] = encoded(text)
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


async def test_a_former_authority_that_cannot_be_read_is_told_and_reaches_nobody() -> None:
    """It would keep nodes from starting, and clients from reading what they trust."""
    namespace = await short_lived()
    namespace.clock.seconds += 2 * DAY
    while "old.crt" not in secrets(namespace)["cell-cluster-ca-key"]:
        namespace.clock.seconds += DAY
        await passes(namespace, 20)
    await run_until_ready(namespace, DieAt())
    data, before = namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]["data"], secrets(namespace)
    whole = dict(data)
    data["old.crt"] = encoded("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    await passes(namespace, 10)
    told = await condition(namespace, "CertificatesCurrent")
    assert (told["status"], told["reason"]) == ("False", "AuthorityKeyMissing")
    assert "old.crt" in told["message"]
    after = secrets(namespace)
    assert {name for name in after if after[name] != before[name]} == {"cell-cluster-ca-key"}
    namespace.kube.objects["secrets", "kafka", "cell-cluster-ca-key"]["data"] = whole
    await passes(namespace, 5)
    assert (await condition(namespace, "CertificatesCurrent"))["status"] == "True"


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


@pytest.mark.parametrize("which", ["cluster-ca", "clients-ca"])
@pytest.mark.parametrize("public_too", [False, True])
async def test_an_authority_from_before_a_succession_reaches_no_user(which: str, *, public_too: bool) -> None:
    """Users are looked after before the cluster is: what nodes trust says that it is an old copy."""
    space = await followed()
    objects = space.kube.objects
    names_of = [f"cell-{which}-key"] + [f"cell-{which}"] * public_too
    early = {name: copy.deepcopy(objects["secrets", "kafka", name]) for name in names_of}
    while "old.crt" not in secrets(space)[f"cell-{which}-key"]:
        space.clock.seconds += DAY
        await of_users(space, 20)
    while "old.crt" in secrets(space)[f"cell-{which}-key"]:
        space.clock.seconds += DAY
        await of_users(space, 20)
    late = {name: await space.secret(name) for name in ("app", "cert")}
    kept = {name: copy.deepcopy(objects["secrets", "kafka", name]) for name in names_of}
    for name in names_of:
        objects["secrets", "kafka", name] = early[name]
    for _ in range(3):
        await space.service().reconcile(USERS_KEY)
        await passes(space, 1)
    assert {name: await space.secret(name) for name in late} == late
    assert await kept_from_users(space) == []
    told = await space.condition("app" if which == "cluster-ca" else "cert", "CredentialsCurrent")
    assert (told["reason"] == "AuthorityMissing") == (which == "cluster-ca"), "who has a certificate needs no other"
    for name in names_of:
        objects["secrets", "kafka", name] = kept[name]
    await of_users(space, 3)
    assert (await space.condition("app"))["status"] == (await space.condition("cert"))["status"] == "True"


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
