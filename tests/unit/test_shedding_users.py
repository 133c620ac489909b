"""What a level does to quotas in Kafka, by the users' own passes: tightened, given back exactly, killed anywhere."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from support.simulation import DieAt, Killed
from support.tenant_users import (
    change_tenant,
    declare_in,
    declare_tenants,
    give_homes,
    layers_of,
    settle,
    tenant,
    tenants_user,
)
from support.users import UserSpace, user, user_space

from controlplane.api import names
from controlplane.services.cluster.observe import KAFKA_USERS
from controlplane.services.tenants.read import KAFKA_TENANTS

WHOLE = {"produceBytesPerSecond": "4Mi", "requestPercentage": 400}
MIB = 2.0**20
CELL = {"kind": "KafkaCluster", "namespace": "kafka", "name": "cell"}


def shed(space: UserSpace, level: int | None) -> None:
    """The status of the cluster, as load shedding leaves it."""
    stored = space.kube.objects["kafkaclusters", "kafka", "cell"]
    stored["spec"]["loadShedding"] = {"mode": "Enabled", "tightenToPercent": 25}
    stored["status"].pop("loadShedding", None)
    if level is not None:
        stored["status"]["loadShedding"] = {"level": level}


@pytest.fixture
async def space() -> UserSpace:
    """One tenant of each priority, with a user; the Bulk one has another with a quota of its own. A user of nobody."""
    made = await user_space()
    await declare_tenants(
        made,
        tenant("bulk", priority="Bulk", quotas=WHOLE),
        tenant("standard", priority="Standard", quotas=WHOLE),
        tenant("critical", priority="Critical", quotas=WHOLE),
    )
    for name in ("bulk", "standard", "critical"):
        await declare_in(made, name, tenants_user(f"{name}-app", of=name))
    await declare_in(made, "bulk", tenants_user("bulk-job", of="bulk", quotas={"consumerByteRate": "1Mi"}))
    await made.declare_users(user("nobodys", quotas={"requestPercentage": "10"}))
    for _ in range(3):
        await settle(made)
    return made


def quotas(space: UserSpace) -> dict[str, dict[str, float]]:
    return copy.deepcopy({name: of for name, of in space.kafka.quotas.items() if of})


async def test_levels_tighten_who_is_due_and_nobody_else(space: UserSpace) -> None:
    rest = quotas(space)
    assert rest["bulk-app"] == {"producer_byte_rate": 2 * MIB, "request_percentage": 200.0}
    bulk = {
        "bulk-app": {"producer_byte_rate": MIB / 2, "request_percentage": 50.0},
        "bulk-job": {"producer_byte_rate": MIB / 2, "request_percentage": 50.0, "consumer_byte_rate": MIB / 4},
    }
    standard = {"standard-app": {"producer_byte_rate": MIB, "request_percentage": 100.0}}
    for level, wanted in ((1, rest), (2, rest | bulk), (3, rest | bulk | standard), (2, rest | bulk), (0, rest)):
        shed(space, level)
        await space.passes()
        assert quotas(space) == wanted, level
    shed(space, 3)
    await space.passes()
    shed(space, None)
    await space.passes()
    assert quotas(space) == rest, "turned off"


async def test_a_status_says_what_binds(space: UserSpace) -> None:
    shed(space, 2)
    await space.passes(2)
    found = layers_of(await space.kube.get(KAFKA_USERS, "bulk-app", "bulk"))
    assert found["shed"]["values"] == {"producer_byte_rate": "524288", "request_percentage": "50"}
    assert sorted(found["shed"]["binds"]) == ["producer_byte_rate", "request_percentage"]
    assert found["tenant"].get("binds", []) == []
    shed(space, 0)
    await space.passes(2)
    assert "shed" not in layers_of(await space.kube.get(KAFKA_USERS, "bulk-app", "bulk"))


async def test_what_is_declared_otherwise_meanwhile_holds_afterwards(space: UserSpace) -> None:
    shed(space, 2)
    await space.passes()
    job = await space.kube.get(KAFKA_USERS, "bulk-job", "bulk")
    job["spec"]["quotas"] = {"consumerByteRate": "3Mi"}
    await space.kube.replace(KAFKA_USERS, job)
    await space.passes()
    assert quotas(space)["bulk-job"]["consumer_byte_rate"] == 3 * MIB / 4
    shed(space, 0)
    await space.passes()
    assert quotas(space)["bulk-job"]["consumer_byte_rate"] == 3 * MIB


async def test_a_quota_set_by_hand_is_there_before_during_and_after() -> None:
    made = await user_space()
    await declare_tenants(made, tenant("bulk", priority="Bulk"))
    await declare_in(made, "bulk", tenants_user("app", of="bulk"))
    await settle(made)
    made.kafka.quotas["app"] = {"request_percentage": 70.0}
    for level in (0, 2, 3, 0):
        shed(made, level)
        await made.passes(2)
        assert quotas(made) == {"app": {"request_percentage": 70.0}}, level


async def test_one_without_quotas_has_none_afterwards() -> None:
    made = await user_space()
    await declare_tenants(made, tenant("bulk", priority="Bulk"))
    await declare_in(made, "bulk", tenants_user("app", of="bulk"))
    await settle(made)
    shed(made, 2)
    await made.passes()
    assert quotas(made) == {"app": {"request_percentage": 200.0}}, "a quarter of eight handlers"
    shed(made, 0)
    await made.passes()
    assert quotas(made) == {}


async def test_killed_before_and_after_each_write_it_comes_to_the_same(space: UserSpace) -> None:
    rest = quotas(space)
    shed(space, 3)
    await space.passes()
    tightened = quotas(space)
    shed(space, 0)
    await space.passes()
    assert quotas(space) == rest
    for phase in ("before", "after"):
        for level, wanted, other in ((3, tightened, rest), (0, rest, tightened)):
            number, shift = 1, True
            while shift:
                saved = _snapshot(space)
                shed(space, level)
                try:
                    await space.passes(die=DieAt(number, phase))
                    shift = False
                except (Killed, BaseExceptionGroup):  # a group of them, where several writes are made at once
                    assert all(of in (wanted[name], other[name]) for name, of in quotas(space).items())
                await space.passes()
                assert quotas(space) == wanted, (phase, number)
                if shift:
                    _restore(space, saved)
                number += 1
            assert number > 3, "there was something to die at"
    assert quotas(space) == rest


def _snapshot(space: UserSpace) -> tuple[Any, Any]:
    return copy.deepcopy(space.kube.objects), copy.deepcopy(space.kafka.quotas)


def _restore(space: UserSpace, saved: tuple[Any, Any]) -> None:
    space.kube.objects, space.kafka.quotas = saved


async def test_homes_are_given_whatever_is_shed(space: UserSpace) -> None:
    shed(space, 2)
    await declare_in(space, "bulk", tenants_user("late", of="bulk"))
    assert await give_homes(space) is None
    late = await space.kube.get(KAFKA_USERS, "late", "bulk")
    assert late["status"]["cell"] == "kafka/cell"
    await space.passes(2)
    assert quotas(space)["late"]["request_percentage"] == pytest.approx(400 / 3 / 4, abs=0.01)


async def pause(space: UserSpace, namespace: str, name: str, paused: str | None) -> None:
    change = {"metadata": {"annotations": {names.PAUSED: paused}}}
    await space.kube.patch(KAFKA_USERS, name, namespace, change)


async def leave_the_tenant(space: UserSpace, how: str) -> None:
    """What becomes of bulk-app and standard-app, by which they are left alone."""
    for tenant_name in ("bulk", "standard"):
        match how:
            case "tenant deleted":
                await space.kube.delete(KAFKA_TENANTS, tenant_name)
            case "namespace not listed":
                await change_tenant(space, tenant_name, namespaces=["elsewhere"])
            case "cell left":
                await change_tenant(space, tenant_name, cells=[CELL | {"name": "other"}])
            case "paused":
                await pause(space, tenant_name, f"{tenant_name}-app", "true")
            case "revoked":
                change = {"metadata": {"annotations": {names.REVOKED: "now"}}}
                await space.kube.patch(KAFKA_USERS, f"{tenant_name}-app", tenant_name, change)


LEFT_ALONE = ("tenant deleted", "namespace not listed", "cell left", "paused", "revoked")


@pytest.mark.parametrize("level", [0, None])
@pytest.mark.parametrize("how", LEFT_ALONE)
async def test_who_is_left_alone_meanwhile_is_given_back_what_was_taken(
    space: UserSpace, how: str, level: int | None
) -> None:
    """Every pass is another life of the operator. Level None: load shedding was turned off."""
    rest = quotas(space)
    shed(space, 3)
    await space.passes()
    tightened = quotas(space)
    await leave_the_tenant(space, how)
    await space.passes(2)
    assert {name: quotas(space)[name] for name in ("bulk-app", "standard-app")} == {
        name: tightened[name] for name in ("bulk-app", "standard-app")
    }, "nobody is given back anything while it is shed"
    shed(space, level)
    await space.passes(2)
    assert quotas(space) == rest
    for name in ("bulk", "standard"):
        assert "shed" not in layers_of(await space.kube.get(KAFKA_USERS, f"{name}-app", name)), name
    quiet = DieAt()
    await space.passes(die=quiet)
    assert quiet.calls == []


async def test_who_is_paused_is_given_back_what_was_taken_by_its_tenants_priority(space: UserSpace) -> None:
    rest = quotas(space)
    shed(space, 3)
    await space.passes()
    tightened = quotas(space)
    await leave_the_tenant(space, "paused")
    shed(space, 2)
    await space.passes()
    assert quotas(space)["bulk-app"] == tightened["bulk-app"]
    assert quotas(space)["standard-app"] == rest["standard-app"]
    shed(space, 3)
    await space.passes()
    assert quotas(space)["standard-app"] == rest["standard-app"], "nothing new is done to who is paused"


async def test_of_who_is_paused_nothing_else_is_touched(space: UserSpace) -> None:
    """What was set by hand meanwhile stays, what is declared otherwise waits."""
    shed(space, 2)
    await space.passes()
    await pause(space, "bulk", "bulk-job", "true")
    job = await space.kube.get(KAFKA_USERS, "bulk-job", "bulk")
    job["spec"]["quotas"] = {"consumerByteRate": "3Mi"}
    await space.kube.replace(KAFKA_USERS, job)
    space.kafka.quotas["bulk-job"] |= {"producer_byte_rate": 7.0, "controller_mutation_rate": 5.0}
    shed(space, 0)
    await space.passes(2)
    assert quotas(space)["bulk-job"] == {
        "consumer_byte_rate": MIB,
        "producer_byte_rate": 7.0,
        "controller_mutation_rate": 5.0,
        "request_percentage": 200.0,
    }
    await pause(space, "bulk", "bulk-job", None)
    await space.passes(2)
    assert quotas(space)["bulk-job"]["consumer_byte_rate"] == 3 * MIB
    assert quotas(space)["bulk-job"]["producer_byte_rate"] == 2 * MIB


@pytest.mark.parametrize("how", ["tenant deleted", "paused"])
async def test_killed_while_it_gives_back_it_still_does(space: UserSpace, how: str) -> None:
    rest = quotas(space)
    shed(space, 3)
    await space.passes()
    await leave_the_tenant(space, how)
    await space.passes()
    shed(space, 0)
    saved = _snapshot(space)
    for phase in ("before", "after"):
        number, dies = 1, True
        while dies:
            try:
                await space.passes(die=DieAt(number, phase))
                dies = False
            except (Killed, BaseExceptionGroup):
                await space.passes(2)
            assert quotas(space) == rest, (phase, number)
            assert "shed" not in layers_of(await space.kube.get(KAFKA_USERS, "bulk-app", "bulk"))
            if dies:
                _restore(space, copy.deepcopy(saved))
            number += 1
        assert number > 3, "there was something to die at"
        _restore(space, copy.deepcopy(saved))


@pytest.mark.parametrize("how", ["tenant deleted", "paused"])
async def test_killed_while_it_tightens_and_left_alone_then_it_ends_as_it_was(space: UserSpace, how: str) -> None:
    """What is about to be tightened is recorded first, so that the next life knows what to give back."""
    rest = quotas(space)
    saved = _snapshot(space)
    for phase in ("before", "after"):
        number, dies = 1, True
        while dies:
            shed(space, 3)
            try:
                await space.passes(die=DieAt(number, phase))
                dies = False
            except (Killed, BaseExceptionGroup):
                pass
            await leave_the_tenant(space, how)
            shed(space, 0)
            await space.passes(2)
            assert quotas(space) == rest, (phase, number)
            _restore(space, copy.deepcopy(saved))
            number += 1
        assert number > 3, "there was something to die at"
