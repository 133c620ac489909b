"""UserService on fakes: users come about in a safe order, drift is put back, and who cannot be let in is told why."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import pytest
from pydantic import SecretStr
from support.simulation import DieAt, Killed
from support.users import DENIALS, KEY, SESSIONS_END, rule, user, user_space

from controlplane.domain.users.values import Acl, ScramPassword
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.keys import users_key


async def test_a_user_gets_credentials_rules_and_quotas() -> None:
    space = await user_space()
    quotas = {"producerByteRate": "1Mi", "requestPercentage": "12.5"}
    await space.declare_users(user("app", rule("orders", "Read", "Describe"), quotas=quotas))
    assert await space.passes() is not None
    assert (await space.condition("app"))["reason"] == "AsDeclared"
    assert (await space.condition("app", "CredentialsCurrent"))["status"] == "True"
    secret, (password,) = await space.secret("app"), space.passwords.made
    assert (secret["username"], secret["password"]) == ("app", password)
    assert space.password_in_kafka("app") == password
    assert space.acls("app") == {"allow Read on topic orders", "allow Describe on topic orders"}
    assert space.kafka.quotas["app"] == {"producer_byte_rate": 1048576.0, "request_percentage": 12.5}
    status = (await space.user("app"))["status"]
    assert (status["principal"], status["binding"]) == ("User:app", {"name": "app"})
    assert status["quotas"] == {"producer_byte_rate": "1048576", "request_percentage": "12.5"}
    assert "kfleet.dev/user" in (await space.user("app"))["metadata"]["finalizers"]


async def test_a_user_as_declared_is_left_alone() -> None:
    space = await user_space()
    await space.declare_users(*(user(f"u{number}", rule()) for number in range(20)))
    first = DieAt()
    await space.passes(die=first)
    kafka = [call for call in first.calls if call.startswith("kafka ")]
    assert kafka == ["kafka upsert_scram", "kafka create_acls"], "in bulk"
    again = DieAt()
    await space.passes(die=again)
    assert again.calls == []


async def test_drift_is_put_back_and_counted() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    await space.passes()
    space.kafka.acls.clear()
    space.kafka.quotas["app"] = {"consumer_byte_rate": 99.0}
    space.kafka.scram["app"] = ScramPassword("app", SecretStr("somebody else's"), 4096)
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert space.kafka.quotas["app"] == {"consumer_byte_rate": 5.0}
    assert space.password_in_kafka("app") == space.passwords.made[0]
    assert (await space.user("app"))["status"]["drift"]["corrected"] == 3
    assert "DriftCorrected" in space.events()


async def test_the_count_of_corrections_moves_every_five_minutes_at_most() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read")))
    await space.passes()
    one = space.service()
    for expected, wait in ((1, 1), (1, 60), (1, 60), (4, 300)):
        space.kafka.acls.clear()
        space.clock.seconds += wait
        await one.reconcile(KEY)
        assert (await space.user("app"))["status"]["drift"]["corrected"] == expected


async def test_a_rule_no_longer_declared_is_removed_and_a_foreign_one_stays() -> None:
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), rule("orders", "Write")))
    await space.passes()
    foreign = Acl("User:app", "topic", "theirs", "literal", "Read", "allow")
    space.kafka.acls |= {foreign, replace(foreign, principal="User:other")}
    space.kafka.quotas["app"] = {"request_percentage": 3.0}
    await space.respec("app", authorization={"acls": [rule("orders", "Read")]})
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders", "allow Read on topic theirs"}
    shown = (await space.user("app"))["status"]["foreign"]
    assert shown == {"acls": 1, "shown": ["allow Read on topic theirs"], "quotas": ["request_percentage"]}
    await space.respec("app", exclusive=True)
    await space.passes()
    assert space.acls("app") == {"allow Read on topic orders"}
    assert "app" not in space.kafka.quotas
    assert space.acls("other") == {"allow Read on topic theirs"}, "another principal's is not ours to remove"
    assert "foreign" not in (await space.user("app"))["status"]


@pytest.mark.parametrize("phase", ["before", "after"])
@pytest.mark.parametrize("number", range(1, 10))
async def test_killed_anywhere_at_first_nothing_is_left_that_nobody_knows_of(number: int, phase: str) -> None:
    """Declared, killed somewhere on the way, deleted: whatever was made is gone or denied."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders", "Read"), quotas={"consumerByteRate": "5"}))
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=DieAt(number, phase))
    await space.delete("app")
    await space.passes(3)
    assert not space.has_user("app")
    assert "app" not in space.kafka.scram
    assert "app" not in space.kafka.quotas
    assert space.acls("app") <= DENIALS


async def test_the_oldest_object_has_the_principal_and_the_younger_ones_deletion_takes_nothing() -> None:
    space = await user_space()
    young = user("young", rule("theirs", "Write"), userName="app")
    young["metadata"]["creationTimestamp"] = "2027-01-01T00:00:00Z"
    await space.declare_users(user("old", rule("orders", "Read"), userName="app"), young)
    await space.passes()
    assert (await space.condition("old"))["status"] == "True"
    condition = await space.condition("young")
    assert (condition["reason"], "belongs to old" in condition["message"]) == ("PrincipalTaken", True)
    assert not space.has_secret("young")
    await space.delete("young")
    await space.passes()
    assert not space.has_user("young")
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_who_waits_and_has_rules_keeps_its_principal_from_an_older_object() -> None:
    """Another would have them too: what was made for the one is foreign to the other."""
    space = await user_space()
    await space.declare_users(user("former", userName="app"))
    await space.passes()
    await space.delete("former")
    await space.passes()
    await space.declare_users(user("waiting", rule("orders"), userName="app"))
    await space.passes()
    assert "allow Read on topic orders" in space.acls("app")
    older = user("older", userName="app")
    older["metadata"]["creationTimestamp"] = "2025-01-01T00:00:00Z"
    await space.declare_users(older)
    space.clock.seconds += SESSIONS_END
    await space.passes(2)
    assert (await space.condition("older"))["reason"] == "PrincipalTaken"
    assert (await space.condition("waiting"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_a_user_that_was_let_in_by_an_older_schema_is_refused_and_let_go() -> None:
    space = await user_space()
    await space.declare_users(user("app", userName="ANONYMOUS"), user("prefix", rule("*", patternType="prefixed")))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "InvalidSpec"
    assert "spec.authorization.acls[0].resource.name" in (await space.condition("prefix"))["message"]
    assert (space.kafka.scram, space.kafka.acls) == ({}, set())
    await space.delete("app")
    await space.passes()
    assert space.kafka.acls == set(), "nobody is denied in its name"


@pytest.mark.parametrize(
    ("spec", "reason", "says"),
    [
        ({"listener": "nope"}, "ListenerMissing", "spec.listener: the cluster has no listener 'nope'"),
        ({"listener": "mutual"}, "ListenerMissing", "spec.listener: listener 'mutual' does not take scram-sha-512"),
    ],
)
async def test_a_listener_that_does_not_take_it(spec: dict[str, str], reason: str, says: str) -> None:
    space = await user_space()
    await space.declare_users(user("app", **spec))
    await space.passes()
    condition = await space.condition("app")
    assert (condition["reason"], says in condition["message"]) == (reason, True)


async def test_without_an_authorizer_rules_are_told_to_be_void() -> None:
    space = await user_space()
    space.kafka.authorizer = False
    await space.declare_users(user("app", rule()), user("bare"))
    await space.passes()
    assert (await space.condition("app"))["reason"] == "AuthorizationDisabled"
    assert (await space.condition("app", "CredentialsCurrent"))["status"] == "True"
    assert (await space.condition("bare"))["status"] == "True"
    space.kafka.authorizer = True
    await space.passes()
    assert (await space.condition("app"))["status"] == "True"
    assert space.acls("app") == {"allow Read on topic orders"}


async def test_users_wait_for_their_cluster_and_go_with_it() -> None:
    space = await user_space()
    await space.declare_users(user("lost", cluster="nowhere"))
    nowhere = users_key("kafka", "nowhere")
    await space.service().reconcile(nowhere)
    assert (await space.condition("lost"))["reason"] == "ClusterNotFound"
    await space.kube.patch(KAFKA_USERS, "lost", "kafka", {"metadata": {"finalizers": ["kfleet.dev/user"]}})
    await space.delete("lost")
    await space.service().reconcile(nowhere)
    assert not space.has_user("lost"), "nothing can be left on a cluster that is gone"
    await space.declare_users(user("app"))
    await space.passes()
    for node in space.kafka.ids:
        space.kafka.stop_broker(node)
    await space.delete("app")
    await space.passes()
    assert space.has_user("app"), "it may still be let in"
    for node in space.kafka.ids:
        space.kafka.start_broker(node)
    await space.passes()
    assert not space.has_user("app")
