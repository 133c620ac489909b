"""A certificate that was to be kept out has no rights once the stage `whenNoAcl: Allow` ends, whatever was done in
it."""

from __future__ import annotations

import contextlib

import pytest
from support.simulation import DieAt, Killed
from support.users import DAY, DENIALS, UserSpace, rule, user, user_space

from controlplane.domain.users.values import Acl

RULES = {"allow Read on topic orders"}
STILL_VALID = "CertificateStillValid"
OTHERS = Acl("User:else", "topic", "orders", "literal", "Read", "allow")


async def with_certificate(stage: str = "Deny") -> UserSpace:
    space = await user_space()
    space.stage(stage)
    space.kafka.acls.add(OTHERS)
    await space.declare_users(user("cert", rule("orders"), kind="tls"))
    await space.passes()
    return space


async def is_kept_out(space: UserSpace, name: str = "cert") -> bool:
    """Denied, and with nothing that would make a difference for who has the old one."""
    reason = (await space.condition(name))["reason"]
    return space.acls(name) >= DENIALS and reason == STILL_VALID and not space.has_secret(name)


@pytest.mark.parametrize("released", ["Allow", "Deny"])
@pytest.mark.parametrize("revoked", ["Allow", "Deny"])
async def test_who_was_revoked_and_released_in_whatever_stage_is_kept_out_when_denials_are(
    revoked: str, released: str
) -> None:
    space = await with_certificate(revoked)
    await space.annotate("cert", revoked="leaked")
    await space.passes(2)
    space.stage(released)
    await space.passes(2)
    await space.annotate("cert", revoked=None)
    await space.passes(2)
    assert (await space.condition("cert"))["reason"] == STILL_VALID
    assert (space.acls("cert"), space.has_secret("cert")) == (RULES | (DENIALS if released == "Deny" else set()), False)
    for stage in ("Allow", "Deny", "Allow", "Deny"):
        space.stage(stage)
        space.clock.seconds += DAY
        await space.passes(2)
        assert (await space.condition("cert"))["reason"] == STILL_VALID
        assert stage == "Deny" or not space.acls("cert") & DENIALS, "others would be cut off"
    assert await is_kept_out(space)
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []
    space.clock.seconds += 91 * DAY
    await space.passes(2)
    assert (await space.condition("cert"))["status"] == "True"
    assert (space.acls("cert"), space.has_secret("cert"), space.remembered()) == (RULES, True, {})


@pytest.mark.parametrize("stage", ["Allow", "Deny"])
async def test_it_is_let_in_in_the_stage_itself_once_the_old_one_has_ended(stage: str) -> None:
    space = await with_certificate(stage)
    await space.annotate("cert", revoked="leaked")
    await space.passes(2)
    space.stage("Allow")
    await space.annotate("cert", revoked=None)
    await space.passes(2)
    space.clock.seconds += 91 * DAY
    await space.passes(2)
    assert (await space.condition("cert"))["status"] == "True"
    space.stage("Deny")
    await space.passes(2)
    assert (space.acls("cert"), space.remembered()) == (RULES, {})


@pytest.mark.parametrize("number", range(1, 8))
@pytest.mark.parametrize("what", ["revoked", "waits", "revoked in it", "deleted in it"])
async def test_killed_anywhere_in_the_stage_it_is_kept_out_afterwards(what: str, number: int) -> None:
    """The stage ends before the next operator looks; one that is declared anew is so before it ends."""
    space = await with_certificate("Allow" if what.endswith("in it") else "Deny")
    if what in ("revoked", "waits"):
        await space.annotate("cert", revoked="leaked")
        await space.passes(2)
    if what == "waits":
        await space.annotate("cert", revoked=None)
        await space.passes(2)
    space.stage("Allow")
    if what == "revoked in it":
        await space.annotate("cert", revoked="leaked")
    elif what == "deleted in it":
        await space.delete("cert")
    die = DieAt(number, "after")
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=die)
    if what == "deleted in it":
        if space.has_user("cert"):
            await space.passes()
        await space.declare_users(user("cert", rule("orders"), kind="tls"))
    elif what == "revoked in it" and space.has_secret("cert"):
        return  # nothing has been done yet: who is let in again before that was never kept out
    else:
        await space.annotate("cert", revoked=None)
    space.stage("Deny")
    await space.passes(2)
    assert await is_kept_out(space), die.calls


async def with_denial_taken_away() -> UserSpace:
    """Of one that was revoked and let in again: somebody knows that nobody has the certificate."""
    space = await with_certificate()
    await space.annotate("cert", revoked="leaked")
    await space.passes(2)
    await space.annotate("cert", revoked=None)
    await space.passes()
    space.kafka.acls = {acl for acl in space.kafka.acls if acl.permission == "allow"}
    await space.passes()
    return space


async def test_who_takes_the_denial_away_has_decided_for_the_stages_to_come() -> None:
    space = await with_denial_taken_away()
    assert (await space.condition("cert"))["status"] == "True"
    certificate = (await space.secret("cert"))["user.crt"]
    for stage in ("Allow", "Deny"):
        space.stage(stage)
        await space.passes(2)
        assert (await space.condition("cert"))["status"] == "True"
        assert (space.acls("cert"), (await space.secret("cert"))["user.crt"]) == (RULES, certificate)


async def test_who_was_revoked_again_after_that_is_kept_out() -> None:
    space = await with_denial_taken_away()
    space.stage("Allow")
    await space.passes()
    await space.annotate("cert", revoked="leaked")
    await space.passes()
    await space.annotate("cert", revoked=None)
    space.stage("Deny")
    await space.passes(2)
    assert await is_kept_out(space)


@pytest.mark.parametrize("way", ["revoked", "waits"])
async def test_who_cannot_be_denied_is_allowed_nothing_new(way: str) -> None:
    space = await with_certificate("Allow")
    await space.annotate("cert", revoked="leaked")
    await space.passes()
    if way == "waits":
        await space.annotate("cert", revoked=None)
        await space.passes()
    await space.respec("cert", authorization={"acls": [rule("orders"), rule("bills")]})
    await space.passes(2)
    assert space.acls("cert") == RULES
    assert (await space.user("cert"))["status"]["acls"] == ["allow topic literal orders * Read"]
    if way == "waits":
        space.clock.seconds += 91 * DAY
        await space.passes(2)
        assert space.acls("cert") == RULES | {"allow Read on topic bills"}


async def test_what_nobody_remembers_is_remembered_before_its_denial_is_lifted() -> None:
    space = await with_certificate()
    await space.annotate("cert", revoked="leaked")
    await space.passes(2)
    await space.annotate("cert", revoked=None)
    await space.passes()
    del space.kube.objects["configmaps", "kafka", "cell-departed-users"]
    space.stage("Allow")
    await space.passes(2)
    space.stage("Deny")
    await space.passes(2)
    assert await is_kept_out(space)


async def test_a_password_is_let_in_again_in_the_stage_at_once() -> None:
    """Its sessions end by themselves, and with the roll that ends the stage."""
    space = await user_space()
    space.stage("Allow")
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await space.annotate("app", revoked="leaked")
    await space.passes()
    await space.annotate("app", revoked=None)
    await space.passes()
    for stage in ("Allow", "Deny"):
        space.stage(stage)
        await space.passes()
        assert (await space.condition("app"))["status"] == "True"
    assert space.password_in_kafka("app") == space.passwords.made[1]
