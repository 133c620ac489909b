"""Who is revoked or deleted is kept out first and then forgotten; nobody is kept out in another's place."""

from __future__ import annotations

import pytest
from pydantic import SecretStr
from support.simulation import DieAt
from support.users import DENIALS, SESSIONS_END, rule, user, user_space

from controlplane.domain.users.values import Acl, ScramPassword


async def test_a_deleted_user_is_denied_first_and_then_forgotten() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    await space.delete("app")
    die = DieAt()
    await space.passes(die=die)
    kafka = [call for call in die.calls if call.startswith("kafka ")]
    assert kafka == [f"kafka {call}" for call in ("create_acls", "delete_scram", "delete_acls", "alter_user_quotas")]
    assert not space.has_user("app")
    assert space.acls("app") == DENIALS
    assert space.kafka.scram == {}
    assert space.kafka.quotas == {}
    await space.declare_users(user("app", rule("orders", "Read")))
    space.clock.seconds += SESSIONS_END
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}, "declared anew it is let in"
    assert (await space.condition("app"))["status"] == "True"


async def test_a_revoked_user_is_out_until_the_annotation_goes_and_has_another_password_then() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")))
    await space.passes()
    await space.annotate("app", revoked="leaked", paused="true")
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders", *DENIALS}
    assert space.kafka.scram == {}
    assert not space.has_secret("app")
    for kind in ("Ready", "CredentialsCurrent"):
        condition = await space.condition("app", kind)
        assert (condition["status"], condition["reason"]) == ("False", "Revoked")
    assert "binding" not in (await space.user("app"))["status"]
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []
    await space.annotate("app", revoked=None, paused=None)
    space.clock.seconds += SESSIONS_END
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    first, second = space.passwords.made
    assert space.password_in_kafka("app") == second != first
    assert (await space.condition("app"))["status"] == "True"


async def test_a_revoked_certificate_stays_out_until_it_has_expired() -> None:
    space = await user_space()
    await space.declare_users(user("cert", rule("orders", "Read"), kind="tls"))
    await space.passes()
    await space.annotate("cert", revoked="leaked")
    await space.passes()
    await space.annotate("cert", revoked=None)
    await space.passes()
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid"
    assert space.acls("cert") >= DENIALS
    assert not space.has_secret("cert")
    space.clock.seconds += 91 * 86_400
    await space.passes()
    assert space.acls("cert") == {"allow Read on topic orders"}
    await space.delete("cert")
    await space.passes()
    await space.declare_users(user("cert", kind="tls"))
    await space.passes()
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid", "a new object knows of none"


async def test_a_password_of_anybody_else_is_not_changed_unless_asked() -> None:
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    await space.declare_users(user("app"))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "CredentialExists"
    assert space.password_in_kafka("app") == "theirs"
    assert not space.has_secret("app")
    await space.respec("app", exclusive=True)
    await space.passes()
    assert space.password_in_kafka("app") == space.passwords.made[0]


@pytest.mark.parametrize("before", [[], ["kfleet.dev/user"]], ids=["at first", "with a finalizer"])
@pytest.mark.parametrize("out", ["deleted", "revoked"])
async def test_who_was_refused_for_anothers_password_does_nothing_to_them(out: str, before: list[str]) -> None:
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    space.kafka.acls.add(Acl("User:app", "topic", "theirs", "literal", "Read", "allow"))
    space.kafka.quotas["app"] = {"consumer_byte_rate": 7.0}
    obj = user("app", rule("orders", "Read"), rule("theirs", "Read", type="deny"), quotas={"consumerByteRate": "5"})
    obj["metadata"]["finalizers"] = before
    await space.declare_users(obj, user("fine", rule()))
    await space.passes(2)
    for kind in ("Ready", "CredentialsCurrent"):
        assert (await space.condition("app", kind))["reason"] == "CredentialExists"
    await (space.delete("app") if out == "deleted" else space.annotate("app", revoked="1"))
    await space.passes(2)
    assert space.has_user("app") == (out == "revoked")
    assert space.password_in_kafka("app") == "theirs"
    assert space.acls("app") == {"allow Read on topic theirs"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 7.0}
    assert (await space.condition("fine"))["status"] == "True"


async def test_what_was_made_beside_anothers_password_goes_with_the_object() -> None:
    """An earlier operator made rules for a user that it refused."""
    space = await user_space()
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("theirs"), 8192)
    theirs, ours = (Acl("User:app", "topic", name, "literal", "Read", "allow") for name in ("theirs", "orders"))
    space.kafka.acls |= {theirs, ours}
    space.kafka.quotas["app"] = {"consumer_byte_rate": 5.0, "producer_byte_rate": 7.0}
    obj = user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"})
    obj["metadata"]["finalizers"] = ["kfleet.dev/user"]
    obj["status"] = {"acls": ["allow topic literal orders * Read"], "quotas": {"consumer_byte_rate": "5"}}
    await space.declare_users(obj)
    space.kube.objects[("kafkausers", "kafka", "app")]["status"] = obj["status"]
    await space.delete("app")
    await space.passes(2)
    assert not space.has_user("app")
    assert space.acls("app") == {"allow Read on topic theirs"}
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 7.0}
    assert space.password_in_kafka("app") == "theirs"


@pytest.mark.parametrize("out", ["deleted", "revoked"])
async def test_while_what_no_acl_is_about_is_let_through_nobody_is_denied(out: str) -> None:
    """A denial of everything is an ACL on everything, which closes it to all who have none."""
    space = await user_space()
    space.stage("Allow")
    await space.declare_users(user("app", rule("orders", "Read")), user("cert", kind="tls"))
    await space.passes()
    for name in ("app", "cert"):
        await (space.delete(name) if out == "deleted" else space.annotate(name, revoked="1"))
    await space.passes()
    assert "app" not in space.kafka.scram
    assert not space.has_secret("app")
    assert [acl for acl in space.kafka.acls if acl.permission == "deny"] == []
    assert space.has_user("app") == space.has_user("cert") == (out == "revoked")
    if out == "revoked":
        assert (await space.condition("app"))["reason"] == "Revoked"
        condition = await space.condition("cert")
        assert (condition["reason"], "whenNoAcl" in condition["message"]) == ("DenialImpossible", True)
        space.stage("Deny")
        await space.passes()
        assert space.acls("cert") == DENIALS
        assert (await space.condition("cert"))["reason"] == "Revoked"


async def test_denials_are_lifted_when_what_no_acl_is_about_is_let_through() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")), user("cert", kind="tls"))
    await space.passes()
    for name in ("app", "cert"):
        await space.annotate(name, revoked="1")
    await space.passes()
    assert space.acls("cert") == DENIALS
    space.stage("Allow")
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.acls("cert") == set()
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []


@pytest.mark.parametrize("out", ["deleted", "revoked"])
async def test_who_was_let_in_is_kept_out_whatever_is_wrong_with_its_spec_now(out: str) -> None:
    """A later version refuses what an earlier one took; who was let in by that has a password all the same."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")), user("cert", rule("orders", "Read"), kind="tls"))
    await space.passes()
    for name in ("app", "cert"):
        await space.respec(name, authorization={"acls": [rule("orders", "Write", host="anywhere")]})
    await space.passes()
    for name in ("app", "cert"):
        assert (await space.condition(name))["reason"] == "InvalidSpec"
        assert space.acls(name) == {"allow Read on topic orders"}
        await (space.delete(name) if out == "deleted" else space.annotate(name, revoked="1"))
    await space.passes(2)
    for name in ("app", "cert"):
        assert space.has_user(name) == (out == "revoked")
        assert space.acls(name) == DENIALS | ({"allow Read on topic orders"} if out == "revoked" else set())
        assert not space.has_secret(name)
        if out == "revoked":
            assert (await space.condition(name))["reason"] == "Revoked"
            await space.annotate(name, revoked=None)
    assert space.kafka.scram == {}
    await space.passes()
    if out == "revoked":
        assert {(await space.condition(name))["reason"] for name in ("app", "cert")} == {"InvalidSpec"}
        assert space.acls("app") == space.acls("cert") == DENIALS | {"allow Read on topic orders"}


async def test_rules_of_one_that_waits_go_with_it_whatever_is_wrong_with_its_spec_now() -> None:
    space = await user_space()
    await space.declare_users(user("former", userName="app"))
    await space.passes()
    await space.delete("former")
    await space.passes()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    await space.respec("app", authorization={"acls": [rule("orders", host="anywhere")]})
    await space.passes()
    assert (await space.condition("app"))["reason"] == "InvalidSpec"
    await space.delete("app")
    await space.passes(2)
    assert not space.has_user("app")
    assert space.acls("app") == DENIALS
