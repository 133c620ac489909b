"""Users that go while their cluster is away: its volumes may come back, and what Kafka knows of them with these."""

from __future__ import annotations

import contextlib

import pytest
from pydantic import SecretStr
from support.fake_kube import FakeKube
from support.simulation import DieAt, Killed
from support.users import DAY, DENIALS, SESSIONS_END, UserSpace, rule, user, user_space

from controlplane.domain.users.certificates import CLOCKS_APART
from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.ports import NAMESPACE_TERMINATING, ForbiddenError, Object
from controlplane.services.cluster.observe import KAFKA_USERS


def without_cluster(space: UserSpace) -> Object:
    return space.kube.objects.pop(("kafkaclusters", "kafka", "cell"))


def told(space: UserSpace) -> int:
    """What Kafka shows of the password."""
    return space.kafka.scram["app"].iterations


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
@pytest.mark.parametrize("died", [False, True], ids=["", "before its status was written"])
async def test_who_goes_while_the_cluster_is_away_is_kept_out_when_it_is_back(kind: str, *, died: bool) -> None:
    """Its volumes are taken over, and what Kafka knows of its users with them."""
    space = await user_space()
    theirs = Acl("User:app", "topic", "theirs", "literal", "Read", "allow")
    quotas = {"consumerByteRate": "5", "producerByteRate": "7"}
    await space.declare_users(user("app", rule("orders"), kind=kind, quotas=quotas))
    await space.passes()
    if died:
        status = space.kube.objects[("kafkausers", "kafka", "app")]["status"]
        credential = status.pop("credential")
        is_known_by = {"notAfter": credential["notAfter"]} if kind == "tls" else {"iterations": told(space)}
        status["announced"] = is_known_by
    cluster = without_cluster(space)
    space.kafka.acls.add(theirs)
    space.kafka.quotas["app"]["producer_byte_rate"] = 8.0
    await space.delete("app")
    await space.passes()
    assert not space.has_user("app"), "nobody waits for a cluster that may never be back"
    assert space.remembered()["User:app"].pending
    space.clock.seconds += DAY
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    die = DieAt()
    await space.passes(die=die)
    calls = ["kafka create_acls", *(["kafka delete_scram"] if kind != "tls" else [])]
    assert die.calls[: len(calls)] == calls
    assert space.acls("app") >= DENIALS
    assert space.kafka.scram == {}
    assert not space.remembered()["User:app"].pending
    space.clock.seconds += SESSIONS_END - 10 if kind != "tls" else 80 * DAY
    await space.passes()
    assert space.acls("app") >= DENIALS
    space.clock.seconds += 10 if kind != "tls" else 10 * DAY + CLOCKS_APART
    await space.passes(2)
    assert space.acls("app") == {"allow Read on topic theirs"}
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 8.0}, "what somebody has changed is theirs"
    assert space.remembered() == {}


async def test_one_that_was_about_to_go_unseen_is_denied_no_longer_than_its_certificate_lives() -> None:
    """The operator died when it had noted it down, and the cluster was back before the next one looked."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), kind="tls"))
    await space.passes()
    cluster = without_cluster(space)
    await space.delete("app")
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(1, "after"))
    assert space.remembered()["User:app"].pending
    assert space.has_user("app")
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    await space.passes(2)
    assert (space.has_user("app"), space.acls("app")) == (False, DENIALS)
    space.clock.seconds += 89 * DAY
    await space.passes()
    assert space.acls("app") == DENIALS
    space.clock.seconds += DAY + CLOCKS_APART
    await space.passes(2)
    assert (space.acls("app"), space.remembered()) == (set(), {})


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_who_was_still_waiting_and_goes_unseen_leaves_nothing_to_who_has_its_name(kind: str) -> None:
    """Its rules are there while it waits for those of a former user, and nobody else is to have them."""
    space = await user_space()
    await space.declare_users(user("former", kind=kind, userName="app"))
    await space.passes()
    await space.delete("former")
    await space.passes()
    await space.declare_users(user("app", rule("orders"), kind=kind, quotas={"consumerByteRate": "5"}))
    await space.passes()
    assert space.acls("app") == {*DENIALS, "allow Read on topic orders"}
    cluster = without_cluster(space)
    await space.delete("app")
    await space.passes()
    assert not space.has_user("app")
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    await space.passes(2)
    assert (space.acls("app"), space.kafka.quotas) == (DENIALS, {})
    space.clock.seconds += SESSIONS_END if kind != "tls" else 90 * DAY + CLOCKS_APART
    await space.passes(2)
    assert (space.acls("app"), space.remembered()) == (set(), {})


@pytest.mark.parametrize("taken", [False, True], ids=["nobody's name", "a name that somebody took"])
async def test_nobody_is_denied_for_one_that_was_never_let_in_and_goes_unseen(*, taken: bool) -> None:
    """A password of its name is another's: that, and what others let it do, stays."""
    space = await user_space()
    space.kube.objects.pop(("secrets", "kafka", "cell-cluster-ca"))
    await space.declare_users(user("app", rule("orders"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}, "there is no authority that it could trust"
    cluster = without_cluster(space)
    theirs = ScramPassword("app", SecretStr("theirs"), 4096)
    if taken:
        space.kafka.scram["app"] = theirs
        space.kafka.acls.add(Acl("User:app", "topic", "theirs", "literal", "Read", "allow"))
    await space.delete("app")
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    await space.passes(2)
    assert space.acls("app") == ({"allow Read on topic theirs"} if taken else set())
    assert (space.kafka.quotas, space.kafka.scram) == ({}, {"app": theirs} if taken else {})
    assert space.remembered() == {}


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))
async def test_killed_anywhere_nothing_is_left_of_who_went_unseen(number: int, phase: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    cluster = without_cluster(space)
    await space.delete("app")
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(number, phase))
    await space.passes(2)
    assert (space.acls("app"), space.kafka.quotas, space.kafka.scram) == (DENIALS, {}, {})


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_who_was_revoked_before_it_went_unseen_stays_denied(kind: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), kind=kind))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    await space.passes(2)
    cluster = without_cluster(space)
    await space.delete("app")
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    for _ in range(3):
        await space.passes()
        assert space.acls("app") == DENIALS


async def test_who_has_the_name_of_one_that_went_unseen_has_its_own_rules_alone() -> None:
    space = await user_space()
    before = {"consumerByteRate": "5", "producerByteRate": "7"}
    await space.declare_users(user("old", rule("orders", "Read", "Write"), userName="app", quotas=before))
    await space.passes()
    cluster = without_cluster(space)
    await space.delete("old")
    await space.passes()
    await space.declare_users(user("new", rule("orders", "Read"), userName="app", quotas={"consumerByteRate": "5"}))
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    await space.passes(2)
    assert space.acls("app") == {*DENIALS, "allow Read on topic orders"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 5.0}
    space.clock.seconds += SESSIONS_END
    await space.passes(2)
    assert (await space.condition("new"))["status"] == "True"
    assert "foreign" not in (await space.user("new"))["status"]
    assert space.remembered() == {}
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 5.0}


@pytest.mark.parametrize(("kind", "reason"), [("scram-sha-512", "SessionsNotOver"), ("tls", "CertificateStillValid")])
async def test_who_has_the_name_of_one_that_went_unseen_waits(kind: str, reason: str) -> None:
    space = await user_space()
    await space.declare_users(user("old", rule("orders"), kind=kind, userName="app"))
    await space.passes()
    cluster = without_cluster(space)
    await space.delete("old")
    await space.passes()
    await space.declare_users(user("new", rule("orders"), userName="app"))
    await space.passes()
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    for _ in range(2):
        await space.passes()
        assert (await space.condition("new"))["reason"] == reason
        assert space.acls("app") >= DENIALS
        assert space.kafka.scram == {}
    space.clock.seconds += SESSIONS_END if kind != "tls" else 91 * DAY
    await space.passes(2)
    assert (await space.condition("new"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}


@pytest.mark.parametrize("why", ["no volumes", "its namespace goes", "it is another's"])
async def test_nothing_is_remembered_of_who_cannot_come_back(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    space = await user_space()
    if why == "it is another's":
        space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    await space.declare_users(user("app"))
    await space.passes()
    await space.kube.patch(KAFKA_USERS, "app", "kafka", {"metadata": {"finalizers": ["kfleet.dev/user"]}})
    cluster = without_cluster(space)
    if why == "no volumes":
        for key in [key for key in space.kube.objects if key[0] == "persistentvolumeclaims"]:
            del space.kube.objects[key]

    async def refuse(self: FakeKube, *_: object, **__: object) -> Object:
        raise ForbiddenError(403, NAMESPACE_TERMINATING, "it is being terminated")

    with monkeypatch.context() as going:
        if why == "its namespace goes":
            going.setattr(FakeKube, "create", refuse)
        await space.delete("app")
        await space.passes()
    assert not space.has_user("app")
    assert space.remembered() == {}
    space.kube.objects[("kafkaclusters", "kafka", "cell")] = cluster
    await space.passes(2)
    assert ("app" in space.kafka.scram, space.kafka.acls) == (True, set())


async def test_who_goes_with_the_cluster_and_cannot_be_noted_down_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()
    without_cluster(space)

    async def refuse(self: FakeKube, *_: object, **__: object) -> Object:
        raise ForbiddenError(403, "Forbidden", "configmaps is forbidden")

    await space.delete("app")
    with monkeypatch.context() as broken:
        broken.setattr(FakeKube, "create", refuse)
        await space.passes()
    assert space.has_user("app")
    await space.passes()
    assert not space.has_user("app")
