"""Users whose objects are gone: denied as long as somebody may still be them, and no longer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from support.simulation import DieAt
from support.users import DAY, DENIALS, UserSpace, rule, user, user_space

from controlplane.domain.access.listeners import REAUTHENTICATE_SECONDS
from controlplane.domain.users import acls
from controlplane.domain.users.departed import MAX_DEPARTED, Departed, with_departing
from controlplane.domain.users.planner import DesiredUser
from controlplane.ports import ForbiddenError, Object, Resource
from controlplane.services.users.departed import from_text, to_text


async def deleted(space: UserSpace, *objects: dict[str, Any]) -> None:
    await space.declare_users(*objects)
    await space.passes()
    for obj in objects:
        await space.delete(obj["metadata"]["name"])
    await space.passes(2)
    for obj in objects:
        assert not space.has_user(obj["metadata"]["name"])


async def test_a_password_users_denial_goes_once_no_session_can_be_left() -> None:
    space = await user_space()
    await deleted(space, user("app", rule("orders")))
    assert space.acls("app") == DENIALS
    space.clock.seconds += REAUTHENTICATE_SECONDS
    await space.passes()
    assert space.acls("app") == DENIALS, "a session may be as old as that"
    space.clock.seconds += 2 * REAUTHENTICATE_SECONDS
    await space.passes(2)
    assert space.kafka.acls == set()
    assert space.remembered() == {}
    again = DieAt()
    assert await space.passes(die=again) is None, "and nobody has to look again"
    assert again.calls == []


async def test_a_certificates_denial_goes_once_the_last_one_has_expired() -> None:
    space = await user_space()
    await space.declare_users(user("cert", kind="tls"))
    await space.passes()
    ends = (await space.user("cert"))["status"]["credential"]["notAfter"]
    await space.delete("cert")
    await space.passes(2)
    assert space.remembered()["User:cert"].denied
    space.clock.seconds += 80 * DAY
    await space.passes(2)
    assert space.acls("cert") == DENIALS, f"until {ends}"
    space.clock.seconds += 11 * DAY
    await space.passes(2)
    assert space.kafka.acls == set()
    await space.declare_users(user("cert", rule("orders"), kind="tls"))
    await space.passes()
    assert (await space.condition("cert"))["status"] == "True"


async def test_one_that_is_declared_anew_knows_when_the_old_certificate_expires() -> None:
    space = await user_space()
    await deleted(space, user("cert", kind="tls"))
    await space.declare_users(user("cert", rule("orders"), kind="tls"))
    await space.passes(2)
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid"
    assert space.acls("cert") >= DENIALS
    space.clock.seconds += 91 * DAY
    await space.passes(2)
    assert (await space.condition("cert"))["status"] == "True"
    assert space.acls("cert") == {"allow Read on topic orders"}


async def test_who_was_deleted_while_nobody_could_be_denied_is_denied_later() -> None:
    space = await user_space()
    space.stage("Allow")
    await deleted(space, user("cert", kind="tls"), user("other", kind="tls"))
    assert space.kafka.acls == set()
    space.stage("Deny")
    await space.passes(2)
    assert space.acls("cert") == space.acls("other") == DENIALS
    space.stage("Allow")
    await space.passes(2)
    assert space.kafka.acls == set(), "they would cut off everybody"
    space.stage("Deny")
    await space.passes()
    assert space.acls("cert") == DENIALS
    space.clock.seconds += 91 * DAY
    await space.passes(2)
    assert space.kafka.acls == set()


async def test_who_takes_a_denial_away_has_decided() -> None:
    space = await user_space()
    await deleted(space, user("cert", kind="tls"))
    await space.passes()
    space.kafka.acls.clear()
    await space.passes(2)
    assert space.kafka.acls == set()
    assert space.remembered() == {}


async def test_one_that_is_let_in_again_is_not_denied_for_who_it_was() -> None:
    """With a certificate it is let in when nobody can be that one any more, and not before."""
    space = await user_space()
    space.stage("Allow")
    await deleted(space, user("cert", kind="tls"), user("app"))
    await space.declare_users(user("cert", rule("orders"), kind="tls"), user("app", rule("orders")))
    await space.passes(2)
    space.stage("Deny")
    await space.passes(2)
    assert (await space.condition("cert"))["reason"] == "CertificateStillValid"
    assert space.acls("cert") >= DENIALS
    assert space.acls("app") == {"allow Read on topic orders"}
    space.clock.seconds += 91 * DAY
    await space.passes(2)
    for name in ("cert", "app"):
        assert space.acls(name) == {"allow Read on topic orders"}
        assert (await space.condition(name))["status"] == "True"


async def test_a_record_that_cannot_be_read_holds_up_nobody_but_who_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.fake_kube import FakeKube

    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    await space.passes()
    get = FakeKube.get

    async def forbid(self: FakeKube, resource: Resource, name: str, namespace: str | None = None) -> Object:
        if resource.plural == "configmaps":
            raise ForbiddenError(403, "Forbidden", "configmaps is forbidden")
        return await get(self, resource, name, namespace)

    monkeypatch.setattr(FakeKube, "get", forbid)
    await space.declare_users(user("new", rule("orders")))
    await space.delete("app")
    await space.passes(2)
    assert (await space.condition("new"))["status"] == "True"
    assert space.has_user("app")
    assert space.acls("app") == DENIALS
    monkeypatch.setattr(FakeKube, "get", get)
    await space.passes()
    assert not space.has_user("app")


async def test_a_deletion_that_cannot_be_noted_down_denies_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    from support.fake_kube import FakeKube

    space = await user_space()
    await space.declare_users(user("app", rule("orders")), user("good", rule("orders")))
    await space.passes()
    create = FakeKube.create

    async def forbid(self: FakeKube, resource: Resource, body: Object, namespace: str | None = None) -> Object:
        if resource.plural == "configmaps":
            raise ForbiddenError(403, "Forbidden", "configmaps is forbidden")
        return await create(self, resource, body, namespace)

    monkeypatch.setattr(FakeKube, "create", forbid)
    await space.delete("app")
    await space.passes(2)
    assert (await space.condition("app"))["reason"] == "Revoking"
    assert space.acls("app") == DENIALS
    assert (await space.condition("good"))["status"] == "True"
    monkeypatch.setattr(FakeKube, "create", create)
    await space.passes()
    assert not space.has_user("app")


def test_a_record_reads_back_as_it_was_and_nonsense_as_nothing() -> None:
    had = acls.from_texts("User:c", ["allow topic prefixed orders. * Read,Write", "deny topic literal a 10.0.0.1 All"])
    records = {
        "User:a": Departed(None),
        "User:b": Departed(5.5, denied=True),
        "User:d": Departed(5.5, let_in=False, quotas={"request_percentage": 0.5}),
        "User:e": Departed(5.5, owed=True),
        "User:f": Departed(5.5, certificate=False, pending=True, iterations=5000),
        "User:c": Departed(None, pending=True, acls=had, quotas={"consumer_byte_rate": 5.0, "request_percentage": 0.5}),
    }
    assert len(had) == 3
    assert from_text(to_text(records)) == records
    odd = {"until": None, "acls": ["nonsense", 3], "quotas": {"a": "b"}}
    assert from_text(json.dumps({"User:a": odd, "User:b": odd | {"acls": 3, "quotas": []}})) == dict.fromkeys(
        ("User:a", "User:b"), Departed(None)
    )
    for text in ("", "[]", "1", '{"User:a": 3}', json.dumps({"User:a": {"until": "soon"}}), '{"a": {"until": true}}'):
        assert from_text(text) == {}, text


def test_what_there_is_no_room_for_is_left_out_of_a_record_and_the_rest_is_not() -> None:
    def of(name: str, rules: int) -> DesiredUser:
        principal = f"User:{name}"
        texts = [f"allow topic literal {number:0240} * Read" for number in range(rules)]
        return DesiredUser(name, name, principal, deleting=True, owned_acls=acls.from_texts(principal, texts))

    users = [of("few", 2), *(of(f"many-{number}", 250) for number in range(6)), of("last", 2)]
    found = with_departing({}, users, 100.0, pending=True)
    assert all(record.pending for record in found.values())
    assert [name for name, record in found.items() if not record.acls] == [
        f"User:many-{number}" for number in (3, 4, 5)
    ]
    assert len(found["User:many-0"].acls) == 250
    assert with_departing(found, users, 100.0, pending=True) == found
    full = with_departing({}, (of(f"{number:064}", 0) for number in range(MAX_DEPARTED)), 100.0) | found
    assert len(to_text(full)) < 1_000_000, "what a ConfigMap may hold"
