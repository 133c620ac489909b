"""What people do while an upgrade goes back: tokens, versions, other edits, replaced by other operations."""

from __future__ import annotations

from typing import Any

import pytest
from support.ill_cell import NEW, OLD, IllNamespace, Rollout, on_old
from support.simulation import SETTINGS

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.decide import Decision, decide
from controlplane.domain.operation.permit import Permit
from controlplane.services.cluster.kind import placement
from controlplane.services.cluster.observe import observe_world

SOAKING = Rollout(soak="1h")


async def going_back_from_the_soak() -> IllNamespace:
    """Every node ran the new version; one is back on the old one."""
    namespace = await on_old(SOAKING)
    await namespace.change(version=NEW)
    await namespace.passes(40)
    assert namespace.running() == [NEW] * 3
    namespace.ill = lambda node, version: node == 2 and version == NEW
    while OLD not in namespace.running():
        await namespace.passes(1)
    return namespace


async def decided(namespace: IllNamespace) -> Decision:
    obj = namespace.kube.objects[("kafkaclusters", "kafka", "cell")]
    world = await observe_world(namespace.kube, namespace.admins, namespace.clock, KafkaCluster.model_validate(obj))
    return decide(world, placement(SETTINGS), Permit(), namespace.clock.now())


async def test_a_token_that_comes_while_it_goes_back_from_the_soak_knows_what_ran_before() -> None:
    namespace = await going_back_from_the_soak()
    await namespace.change(rollout=Rollout(soak="1h", retry_token="again").spec())
    await namespace.passes(1)
    status = await namespace.status()
    assert status["operation"]["direction"] == "Forward"
    assert status["operation"]["step"]["parameters"]["versionBefore"] == OLD
    await namespace.passes(80)
    assert namespace.running() == [OLD] * 3
    assert (await namespace.status())["rolledBack"]["retryToken"] == "again"


@pytest.mark.parametrize(("version", "back"), [(OLD, True), (NEW, False)])
async def test_brokers_go_first_on_every_way_to_an_older_version(version: str, *, back: bool) -> None:
    """Said by a person, too: before anything is wrong, and while it goes back by itself."""
    namespace = await on_old(SOAKING)
    await namespace.change(version=NEW)
    if version == NEW:
        target = (await decided(namespace)).target
        assert target is not None
        assert target.back is back
        return
    await namespace.passes(40)
    await namespace.change(version=version)
    said = (await decided(namespace)).target
    assert said is not None
    assert said.back is back
    namespace = await going_back_from_the_soak()
    by_itself = (await decided(namespace)).target
    await namespace.change(version=OLD)
    agreed = (await decided(namespace)).target
    assert by_itself is not None
    assert agreed is not None
    assert (by_itself.back, agreed.back) == (True, True)


@pytest.mark.parametrize("outcome", ["Cancelled", "Superseded", "Denied", "Succeeded"])
async def test_an_upgrade_that_goes_on_is_compared_with_what_it_was_compared_with(outcome: str) -> None:
    namespace = await on_old(SOAKING)
    await namespace.change(version=NEW)
    while NEW not in namespace.running():
        await namespace.passes(1)
    status: dict[str, Any] = namespace.kube.objects[("kafkaclusters", "kafka", "cell")]["status"]
    operation = status.pop("operation")
    operation["step"]["parameters"] |= {"troubleBefore": '{"t":{"0":1}}'}
    ended = {"outcome": outcome, "endedAt": operation["startedAt"]}
    status["lastOperation"] = {key: value for key, value in operation.items() if key != "intent"} | ended
    await namespace.passes(1)
    parameters = (await namespace.status())["operation"]["step"]["parameters"]
    assert ("troubleBefore" in parameters) is (outcome != "Succeeded"), parameters
    assert parameters["versionBefore"] == OLD


async def test_what_soaked_while_nobody_looked_is_looked_at_before_it_is_finalised() -> None:
    """The operator was away for longer than the soak."""
    namespace = await on_old(Rollout(soak="10m", fault_after="20s"))
    await namespace.change(version=NEW)
    while (await namespace.status()).get("operation", {}).get("step", {}).get("verb") != "Soaking":
        await namespace.passes(1)
    namespace.clock.seconds += 3600
    await namespace.passes(5)
    assert namespace.kafka.features["metadata.version"] == 29
    assert (await namespace.status())["operation"]["step"]["verb"] == "Soaking"
    await namespace.passes(30)
    assert namespace.kafka.features["metadata.version"] == 30, "and it does not soak all over again"


async def test_a_feature_that_the_version_before_cannot_read_leaves_no_way_back() -> None:
    """Raised by hand in the soak: a broker without it would not be let in."""
    namespace = await on_old(SOAKING)
    await namespace.change(version=NEW)
    await namespace.passes(40)
    namespace.kafka.features["streams.version"] = 2
    namespace.ill = lambda node, version: node == 2 and version == NEW
    await namespace.passes(20)
    assert namespace.running() == [NEW] * 3
    blocked = await namespace.condition("Blocked")
    assert blocked["reason"] == "UpgradeFault"
    assert "streams.version is finalised at level 2" in blocked["message"]
    await namespace.change(version=OLD)
    await namespace.passes(10)
    assert namespace.running() == [NEW] * 3, "nor where a person says so"
    assert (await namespace.condition("Ready"))["reason"] == "VersionChangeRefused"
