"""Who was kept out stays out: under another kind of credentials, another tenant, and whatever the operator dies of."""

from __future__ import annotations

import contextlib

import pytest
from support.fake_kube import FakeKube
from support.simulation import Killed
from support.tenant_users import condition_in, declare_in, declare_tenants, settle, tenant, tenants_user
from support.users import rule, user, user_space

from controlplane.domain.users.departed import Departed
from controlplane.ports import ConflictError, ForbiddenError, Object, Resource
from controlplane.services.users.departed import from_text
from controlplane.services.users.service import KAFKA_USERS

DENIALS = {f"deny All on {what}" for what in ("topic *", "group *", "transactionalId *", "cluster kafka-cluster")}
DAY = 86_400.0


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
        assert space.acls("app") == DENIALS
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
    await settle(space, "checkout")
    await space.kube.delete(KAFKA_USERS, "app", "checkout")
    await settle(space, "checkout")
    await declare_in(space, "billing", tenants_user("app", rule("billing.invoices"), of="billing"))
    await settle(space, "billing")
    await settle(space, "billing")
    assert (await condition_in(space, "billing", "app"))["reason"] == "CertificateStillValid"
    assert space.acls("app") == DENIALS


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
