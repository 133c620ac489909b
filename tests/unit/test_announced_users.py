"""First credentials are announced before they are made: a pass that is killed leaves no password of nobody, and what
somebody else makes meanwhile is never taken for it."""

from __future__ import annotations

import base64
import contextlib

import pytest
from pydantic import SecretStr
from support.fake_kafka import FakeKafkaAdmin
from support.simulation import DieAt, Killed
from support.tenant_users import condition_in, declare_in, declare_tenants, settle, tenant, tenants_user
from support.users import DAY, DENIALS, KEY, SESSIONS_END, UserSpace, rule, user, user_space

from controlplane.domain.users.credentials import iterations
from controlplane.domain.users.values import ScramPassword
from controlplane.ports import KafkaUnreachableError
from controlplane.services.access.secrets import SECRETS
from controlplane.services.cluster.observe import KAFKA_USERS

THEIRS = ScramPassword("app", SecretStr("theirs"), 8192)
WRITES = 8
"""Of a first pass, the status with the credentials among them. Before one is the same as after the one before it."""

every_write = pytest.mark.parametrize("number", range(1, WRITES + 1))


async def killed_at_first(number: int, kind: str = "scram-sha-512") -> tuple[UserSpace, DieAt]:
    """And its Secret is deleted by hand before anybody looks."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders"), kind=kind, quotas={"consumerByteRate": "5"}))
    die = DieAt(number, "after")
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=die)
    assert number < WRITES or "credential" in (await space.user("app"))["status"], die.calls
    space.kube.objects.pop(("secrets", "kafka", "app"), None)
    return space, die


@every_write
async def test_killed_anywhere_a_password_whose_secret_is_lost_is_its_users(number: int) -> None:
    space, die = await killed_at_first(number)
    await space.passes(2)
    assert (await space.condition("app"))["status"] == "True", die.calls
    assert (await space.secret("app"))["password"] == space.password_in_kafka("app")
    assert space.acls("app") == {"allow Read on topic orders"}
    assert "announced" not in (await space.user("app"))["status"]


@every_write
@pytest.mark.parametrize("out", ["deleted", "revoked", "deleted with the cluster"])
async def test_killed_anywhere_no_password_of_nobody_is_left(out: str, number: int) -> None:
    space, die = await killed_at_first(number)
    cluster = space.kube.objects.pop(("kafkaclusters", "kafka", "cell")) if out == "deleted with the cluster" else None
    await (space.annotate("app", revoked="1") if out == "revoked" else space.delete("app"))
    await space.passes()
    if cluster is not None:
        space.kube.objects["kafkaclusters", "kafka", "cell"] = cluster
    await space.passes(2)
    assert space.has_user("app") == (out == "revoked")
    assert space.kafka.scram == {}, die.calls
    space.clock.seconds += SESSIONS_END
    await space.passes(2)
    if out == "revoked":
        assert (await space.condition("app"))["reason"] == "Revoked"
    else:
        assert (space.acls("app"), space.kafka.quotas, space.remembered()) == (set(), {}, {})


@every_write
@pytest.mark.parametrize("out", ["", "deleted", "revoked", "deleted with the cluster"])
async def test_a_password_that_somebody_makes_meanwhile_stays_theirs(out: str, number: int) -> None:
    """As long as no status has said that the user has credentials: from then on it has the name."""
    space, die = await killed_at_first(number)
    if "credential" in (await space.user("app")).get("status", {}):
        return
    space.kafka.scram["app"] = THEIRS
    cluster = space.kube.objects.pop(("kafkaclusters", "kafka", "cell")) if out == "deleted with the cluster" else None
    if out:
        await (space.annotate("app", revoked="1") if out == "revoked" else space.delete("app"))
    await space.passes()
    if cluster is not None:
        space.kube.objects["kafkaclusters", "kafka", "cell"] = cluster
    await space.passes(2)
    assert space.kafka.scram == {"app": THEIRS}, die.calls
    assert (space.acls("app"), space.has_secret("app")) == (set(), False)
    if not out:
        assert (await space.condition("app"))["reason"] == "CredentialExists"


@every_write
async def test_killed_anywhere_a_certificate_whose_secret_is_lost_is_kept_out(number: int) -> None:
    """Also when its object goes while the cluster is away, and was never seen again."""
    space, die = await killed_at_first(number, kind="tls")
    made = any("secrets" in call for call in die.calls)
    cluster = space.kube.objects.pop(("kafkaclusters", "kafka", "cell"))
    await space.delete("app")
    await space.passes()
    space.kube.objects["kafkaclusters", "kafka", "cell"] = cluster
    await space.passes(2)
    assert not space.has_user("app")
    assert space.acls("app") >= (DENIALS if made else set()), die.calls
    space.clock.seconds += 92 * DAY
    await space.passes(2)
    assert (space.acls("app"), space.remembered()) == (set(), {})


async def test_an_object_that_moves_before_it_is_announced_gets_nothing() -> None:
    """Who has changed it meanwhile may have revoked it."""
    space = await user_space()
    await space.declare_users(user("app", rule("orders")))
    die = DieAt(2, "after")
    with contextlib.suppress(Killed, BaseExceptionGroup):
        await space.passes(die=die)
    service, moved = space.service(), False
    real = type(space.kube).create

    async def move(self: object, resource: object, obj: dict[str, object], *more: object) -> object:
        nonlocal moved
        found = await real(space.kube, resource, obj, *more)  # type: ignore[arg-type]
        if resource is SECRETS:
            await space.annotate("app", revoked="1")
            moved = True
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(space.kube), "create", move)
        await service.reconcile(KEY)
    assert moved
    assert space.kafka.scram == {}
    await space.passes(2)
    assert (space.kafka.scram, space.has_secret("app")) == ({}, False)


async def test_what_kafka_did_not_answer_to_is_not_said_to_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    space = await user_space()

    async def lost(self: FakeKafkaAdmin, passwords: list[ScramPassword]) -> None:
        raise KafkaUnreachableError("no answer")

    await space.declare_users(user("app"))
    with monkeypatch.context() as broken:
        broken.setattr(FakeKafkaAdmin, "upsert_scram", lost)
        await space.passes()
    status = (await space.user("app"))["status"]
    (made,) = space.passwords.made
    assert status["announced"] == {"iterations": iterations("app", SecretStr(made))}
    assert "credential" not in status
    await space.passes()
    assert (await space.condition("app"))["status"] == "True"
    assert space.password_in_kafka("app") == made


async def test_a_secret_with_a_password_of_the_same_iterations_proves_nothing() -> None:
    """Whoever may write Secrets beside a user can try passwords until one has them: twelve thousand, as a rule."""
    space = await user_space()
    await declare_tenants(space, tenant("checkout"))
    space.kafka.scram["backup"] = ScramPassword("backup", SecretStr("theirs"), 8192)
    await declare_in(space, "checkout", tenants_user("backup"))
    mine = await space.kube.get(KAFKA_USERS, "backup", "checkout")
    tried = (f"{number:040}" for number in range(1_000_000))
    found = next(text for text in tried if iterations("backup", SecretStr(text)) == 8192)
    owner = {"kind": "KafkaUser", "name": "backup", "uid": mine["metadata"]["uid"]}
    meta = {"name": "backup", "namespace": "checkout", "ownerReferences": [owner]}
    data = {"password": base64.b64encode(found.encode()).decode()}
    await space.kube.create(SECRETS, {"metadata": meta, "data": data})
    await settle(space)
    assert (await condition_in(space, "checkout", "backup"))["reason"] == "CredentialExists"
    await space.kube.delete(SECRETS, "backup", "checkout")
    await settle(space)
    assert space.password_in_kafka("backup") == "theirs"
