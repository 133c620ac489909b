"""Who was kept out stays out: under another kind of credentials, another tenant, and whatever the operator dies of."""

from __future__ import annotations

import contextlib

import pytest
from support.fake_kube import FakeKube
from support.simulation import DieAt, Killed
from support.tenant_users import condition_in, declare_in, declare_tenants, settle, tenant, tenants_user
from support.users import DAY, DENIALS, SESSIONS_END, rule, user, user_space

from controlplane.api.conditions import seconds, timestamp
from controlplane.domain.users.certificates import CLOCKS_APART
from controlplane.domain.users.departed import Departed
from controlplane.domain.users.values import Acl
from controlplane.ports import ConflictError, ForbiddenError, Object, Resource
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.users.departed import from_text


@pytest.mark.parametrize("waiting", [False, True], ids=["declared again", "waiting for its name"])
async def test_a_password_user_of_the_same_name_lets_no_certificate_in(*, waiting: bool) -> None:
    """The type cannot be changed: who replaces a leaked certificate may declare the name anew, with a password."""
    space = await user_space()
    await space.declare_users(user("cert", rule("orders"), kind="tls", userName="app"))
    await space.passes()
    again = user("later", rule("orders", "Write"), userName="app")
    if waiting:
        await space.declare_users(again)
        await space.passes()
        assert (await space.condition("later"))["reason"] == "PrincipalTaken"
    await space.delete("cert")
    await space.passes(2)
    assert not space.has_user("cert")
    if not waiting:
        await space.declare_users(again)
    for _ in range(2):
        await space.passes(2)
        condition = await space.condition("later")
        assert (condition["reason"], "Choose another" in condition["message"]) == ("CertificateStillValid", True)
        assert space.acls("app") == {*DENIALS, "allow Write on topic orders"}
        assert "app" not in space.kafka.scram
        assert not space.has_secret("later")
        space.clock.seconds += 80 * DAY
    space.clock.seconds += 11 * DAY - 80 * DAY
    await space.passes(2)
    assert (await space.condition("later"))["status"] == "True"
    assert space.acls("app") == {"allow Write on topic orders"}


async def test_a_name_that_another_tenants_certificate_had_lets_it_in_to_nothing() -> None:
    space = await user_space()
    await declare_tenants(space, tenant("checkout"), tenant("billing"))
    await declare_in(space, "checkout", tenants_user("app", rule("checkout.orders"), kind="tls"))
    await settle(space)
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    await settle(space)
    await declare_in(space, "billing", tenants_user("app", rule("billing.invoices"), of="billing"))
    await settle(space)
    await settle(space)
    assert (await condition_in(space, "billing", "app"))["reason"] == "CertificateStillValid"
    assert space.acls("app") >= DENIALS


async def test_a_denial_that_nobody_remembers_is_not_lifted_for_a_password() -> None:
    space = await user_space()
    await space.declare_users(user("cert", kind="tls", userName="app"))
    await space.passes()
    await space.delete("cert")
    await space.passes(2)
    del space.kube.objects[("configmaps", "kafka", "cell-departed-users")]
    await space.declare_users(user("app"))
    await space.passes(2)
    assert (await space.condition("app"))["reason"] == "CertificateStillValid"
    assert space.acls("app") == DENIALS
    space.kafka.acls.clear()
    await space.passes()
    assert (await space.condition("app"))["status"] == "True", "who takes it away has decided"


async def test_a_password_that_followed_a_certificate_leaves_what_is_known_of_it() -> None:
    """Somebody took the denial away, so that the password user was let in; it goes while the certificate lasts."""
    space = await user_space()
    await space.declare_users(user("cert", kind="tls", userName="app"))
    await space.passes()
    await space.delete("cert")
    await space.passes(2)
    await space.declare_users(user("app"))
    space.kafka.acls.clear()
    await space.passes(2)
    assert (await space.condition("app"))["status"] == "True"
    await space.delete("app")
    await space.passes(2)
    space.clock.seconds += DAY
    await space.passes(2)
    assert space.acls("app") == DENIALS


def test_a_record_of_an_earlier_version_may_be_a_certificates() -> None:
    assert from_text('{"User:a":{"until":5.0,"denied":true}}') == {"User:a": Departed(5.0, denied=True)}
    assert from_text('{"User:a":{"until":5.0,"certificate":false}}') == {"User:a": Departed(5.0, certificate=False)}


@pytest.mark.parametrize("out", ["revoked", "deleted"])
@pytest.mark.parametrize("why", ["moved", "died"])
async def test_a_certificate_that_no_status_tells_of_keeps_its_user_out_too(
    why: str, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was made in the pass that was cut short, and is in the Secret alone when its user goes out."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), kind="tls"))
    await space.passes()
    ends = (await space.user("app"))["status"]["credential"]["notAfter"]
    space.clock.seconds += 50 * DAY
    await space.annotate("app", rotate_at="now")

    async def cut_short(self: FakeKube, *_: object, **__: object) -> Object:
        if why == "died":
            raise Killed
        raise ConflictError(409, "Conflict", "it moved")

    with monkeypatch.context() as broken:
        broken.setattr(FakeKube, "replace", cut_short)
        with contextlib.suppress(Killed, BaseExceptionGroup):
            await space.passes()
    assert (await space.user("app"))["status"]["credential"]["notAfter"] == ends
    await (space.annotate("app", revoked="leaked") if out == "revoked" else space.delete("app"))
    await space.passes(2)
    assert not space.has_secret("app")
    if out == "revoked":
        await space.annotate("app", revoked=None)
        await space.passes()
    space.clock.seconds += 80 * DAY
    await space.passes(2)
    assert space.acls("app") >= DENIALS, f"the other one ended at {ends}"
    space.clock.seconds += 11 * DAY
    await space.passes(2)
    assert space.acls("app") == ({"allow Read on topic orders"} if out == "revoked" else set())


@pytest.mark.parametrize("lost", ["deleted", "unreadable"])
async def test_a_certificate_that_cannot_be_seen_any_more_may_be_a_new_one(
    lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = await user_space()
    await space.declare_users(user("app", kind="tls"))
    await space.passes()
    space.clock.seconds += 50 * DAY
    get = FakeKube.get

    async def fail(self: FakeKube, resource: Resource, name: str, namespace: str | None = None) -> Object:
        if (resource.plural, name) == ("secrets", "app"):
            raise ForbiddenError(403, "Forbidden", "secrets is forbidden")
        return await get(self, resource, name, namespace)

    if lost == "unreadable":
        monkeypatch.setattr(FakeKube, "get", fail)
    else:
        del space.kube.objects[("secrets", "kafka", "app")]
    await space.delete("app")
    await space.passes(2)
    space.clock.seconds += 80 * DAY
    await space.passes(2)
    assert space.acls("app") == DENIALS
    space.clock.seconds += 11 * DAY
    await space.passes(2)
    assert space.kafka.acls == set()


async def test_a_certificate_that_was_revoked_long_ago_is_over_when_its_user_goes() -> None:
    space = await user_space()
    await space.declare_users(user("app", kind="tls"))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    await space.passes()
    space.clock.seconds += 85 * DAY
    await space.delete("app")
    await space.passes(2)
    assert space.acls("app") == DENIALS
    space.clock.seconds += 6 * DAY
    await space.passes(2)
    assert space.kafka.acls == set()


@pytest.mark.parametrize("heir", ["nobody", "itself", "a password"])
async def test_a_certificate_is_taken_to_be_valid_on_a_clock_that_is_behind(heir: str) -> None:
    """The operator's may be ahead of the brokers': its denial is lifted when it has ended on theirs for certain."""
    space = await user_space()
    await space.declare_users(user("cert", rule("orders"), kind="tls"))
    await space.passes()
    end = seconds((await space.user("cert"))["status"]["credential"]["notAfter"])
    await (space.annotate("cert", revoked="leaked") if heir == "itself" else space.delete("cert"))
    await space.passes(2)
    if heir == "itself":
        await space.annotate("cert", revoked=None)
    elif heir == "a password":
        await space.declare_users(user("cert", rule("orders")))
    for moment in (end, end + CLOCKS_APART - 1):
        space.clock.seconds += moment - 1 - space.clock.now()
        await space.passes()
        assert space.acls("cert") >= DENIALS
        if heir != "nobody":
            condition = await space.condition("cert")
            assert condition["reason"] == "CertificateStillValid"
            assert f"has expired on all clocks ({timestamp(end + CLOCKS_APART)})" in condition["message"]
    await space.passes()
    assert not space.acls("cert") & DENIALS
    if heir != "nobody":
        await space.passes()
        assert (await space.condition("cert"))["status"] == "True"


@pytest.mark.parametrize("way", ["revoked", "deleted", "another tenant's"])
async def test_no_session_of_a_former_password_gets_rights_again(way: str) -> None:
    """It lives until it has to prove itself again, and is only denied until then."""
    space = await user_space()
    await declare_tenants(space, tenant("billing"))
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await (space.annotate("app", revoked="leaked") if way == "revoked" else space.delete("app"))
    await space.passes(2)
    space.clock.seconds += 60
    mine = "allow Read on topic billing.invoices" if way == "another tenant's" else "allow Read on topic orders"
    where = "billing" if way == "another tenant's" else "kafka"
    if way == "revoked":
        await space.annotate("app", revoked=None)
    elif way == "deleted":
        await space.declare_users(user("app", rule("orders")))
    else:
        await declare_in(space, "billing", tenants_user("app", rule("billing.invoices"), of="billing"))
    await settle(space)
    for kind in ("Ready", "CredentialsCurrent"):
        condition = await condition_in(space, where, "app", kind)
        assert (condition["status"], condition["reason"]) == ("False", "SessionsNotOver")
    assert "may be so until 2023-11-14T22:4" in condition["message"]
    assert (await condition_in(space, where, "app", "Reconciling"))["status"] == "True"
    assert (await condition_in(space, where, "app", "Stalled"))["status"] == "False"
    assert (space.acls("app"), space.kafka.scram) == ({*DENIALS, mine}, {})
    assert not [key for key in space.kube.objects if key[0] == "secrets" and key[2] == "app"]
    again = DieAt()
    assert await space.passes(die=again) == space.service()._settings.resync_interval
    assert again.calls == []
    space.clock.seconds += SESSIONS_END - 70
    await space.passes()
    assert space.acls("app") == {*DENIALS, mine}, "a session may be as old as that"
    space.clock.seconds += 10
    await space.passes(2)
    assert (await condition_in(space, where, "app"))["status"] == "True"
    assert space.acls("app") == {mine}
    assert space.password_in_kafka("app") == space.passwords.made[1]


async def test_who_was_revoked_long_ago_is_let_in_at_once() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    await space.passes(3)
    space.clock.seconds += SESSIONS_END
    await space.passes()
    await space.annotate("app", revoked=None)
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert (await space.condition("app"))["status"] == "True"


async def test_a_denial_that_others_made_for_a_live_user_is_drift() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    space.kafka.acls.add(Acl("User:app", "topic", "*", "literal", "All", "deny"))
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.password_in_kafka("app") == space.passwords.made[0]


@pytest.mark.parametrize("patience", [False, True], ids=["at once", "after its sessions"])
@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 8))
async def test_killed_anywhere_in_a_revocation_that_bit_nobody_has_the_old_password(
    number: int, phase: str, *, patience: bool
) -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    die = DieAt(number, phase)
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=die)
    bit = space.acls("app") >= DENIALS
    space.clock.seconds += SESSIONS_END if patience else 0
    await space.annotate("app", revoked=None)
    await space.passes(2)
    space.clock.seconds += SESSIONS_END
    await space.passes(2)
    assert (await space.condition("app"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}
    password = space.password_in_kafka("app")
    assert (await space.secret("app"))["password"] == password
    assert (password != space.passwords.made[0]) == bit


async def test_a_secret_that_could_not_be_deleted_gives_nobody_the_old_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    space = await user_space()
    await space.declare_users(user("app"))
    await space.passes()

    async def refuse(self: FakeKube, *_: object, **__: object) -> None:
        raise ForbiddenError(403, "Forbidden", "secrets is forbidden")

    with monkeypatch.context() as broken:
        broken.setattr(FakeKube, "delete", refuse)
        await space.annotate("app", revoked="leaked")
        await space.passes(2)
        assert (await space.condition("app"))["reason"] == "SecretRefused"
        space.clock.seconds += SESSIONS_END
        await space.annotate("app", revoked=None)
        await space.passes(2)
    assert (await space.condition("app"))["status"] == "True"
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app") == space.passwords.made[1]
    assert "CredentialsReplaced" not in space.events(), "nothing was lost"


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 9))
async def test_a_status_that_says_revoked_is_never_an_old_one(number: int, phase: str) -> None:
    """Who revokes a user while it is being let in again takes it for the answer."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    await space.passes(2)
    space.clock.seconds += SESSIONS_END
    await space.annotate("app", revoked=None)
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(number, phase))
    is_out = space.acls("app") >= DENIALS and not space.kafka.scram and not space.has_secret("app")
    assert is_out or (await space.condition("app"))["reason"] != "Revoked"
    await space.annotate("app", revoked="again")
    await space.passes()
    assert (await space.condition("app"))["reason"] == "Revoked"
    assert space.acls("app") >= DENIALS
    assert not space.kafka.scram
    assert not space.has_secret("app")


@pytest.mark.parametrize("kind", ["scram-sha-512", "tls"])
async def test_what_was_made_for_a_user_that_waits_goes_with_it(kind: str) -> None:
    """Its rules and quotas are there while it waits for a former session, or a former certificate, to end."""
    space = await user_space()
    await space.declare_users(user("old", rule("orders"), kind=kind, userName="app"))
    await space.passes()
    await space.delete("old")
    await space.passes(2)
    await space.declare_users(user("new", rule("orders", "Write"), userName="app", quotas={"consumerByteRate": "5"}))
    await space.passes(2)
    assert (await space.condition("new"))["reason"] in ("SessionsNotOver", "CertificateStillValid")
    assert space.acls("app") == {*DENIALS, "allow Write on topic orders"}
    await space.delete("new")
    await space.passes(3)
    assert not space.has_user("new")
    assert (space.acls("app"), space.kafka.quotas) == (DENIALS, {})
