"""Hazards accepted and windows waived: what an Approval's overrides are worth, and rolls that they let go on."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.approvals import approval, create, install_policies, parsed
from support.simulation import KEY, DieAt, Killed, Namespace, created, service

from controlplane.api import names
from controlplane.api.approval import Approval
from controlplane.api.approval_policies import APPROVER_POLICY
from controlplane.api.operation import Operation, OperationStep
from controlplane.domain import hazards
from controlplane.domain.check import Check
from controlplane.domain.operation.approval import CLOCK_SKEW_SECONDS, Question, hold_of, void_waivers, waivers
from controlplane.domain.operation.permit import Waivable
from controlplane.services.operation.approvals import APPROVALS, POLICIES

NOW = 1_700_000_000.0
PLAN, OTHER = "sha256:" + "a" * 64, "sha256:" + "b" * 64
WINDOW, HAZARD = ("Window", ""), ("Hazard", "KAFKA-20732")
QUESTION = Question(
    kind="KafkaCluster", name="cell", uid="u", operation="roll-2-ab", plan_hash=PLAN, requested_by="alice", since=NOW
)
CLUSTER = ("kafkaclusters", "kafka", "cell")


def given_by(by: str = "bob", **fields: Any) -> Approval:
    base = {"by": by, "plan_hash": PLAN, "uid": "u", "at": NOW + 5, "called": f"by-{by}", "overrides": [WINDOW]}
    return parsed(**(base | fields))


def test_what_is_waived_names_the_newest_approval_that_says_so() -> None:
    both = given_by("carol", at=NOW + 9, overrides=[WINDOW, HAZARD])
    found = waivers([both, given_by()], QUESTION)
    assert {waiver: approval.metadata.name for waiver, approval in found.items()} == {
        WINDOW: "by-carol",
        HAZARD: "by-carol",
    }
    assert waivers([given_by(overrides=[])], QUESTION) == {}


VOID: dict[str, dict[str, Any]] = {
    "one's own": {"by": "alice"},
    "another plan": {"plan_hash": OTHER},
    "another object of that name": {"uid": "before"},
    "another object": {"name": "other"},
    "before this was asked for": {"at": NOW - CLOCK_SKEW_SECONDS - 1},
}


@pytest.mark.parametrize("case", VOID)
def test_what_counts_nothing_waives_nothing(case: str) -> None:
    assert waivers([given_by(**VOID[case])], QUESTION) == {}
    assert set(waivers([given_by(**VOID[case]), given_by("carol")], QUESTION)) == {WINDOW}


def test_a_deny_takes_every_waiver_and_nobody_as_requester_leaves_none() -> None:
    assert waivers([given_by(), given_by("carol", decision="Deny", overrides=[])], QUESTION) == {}
    assert waivers([given_by()], replace(QUESTION, requested_by="")) == {}


def test_the_hold_says_how_it_is_waived_and_why_what_was_said_counts_nothing() -> None:
    closed = Waivable(Check("OutsideWindow", ok=False, evidence="It is closed.", remedy="Wait."), WINDOW)
    own = given_by("alice")
    check = hold_of(closed, QUESTION, void=void_waivers([own], QUESTION, WINDOW))
    assert check.name == "OutsideWindow"
    assert "Approval by-alice by alice does not count: one's own request" in check.evidence
    assert check.remedy == "Wait. Or somebody else says `kfleet approve roll-2-ab --waive-window`."
    assert void_waivers([own], QUESTION, HAZARD) == ()
    nobody = hold_of(replace(closed, override=HAZARD), replace(QUESTION, requested_by=""))
    assert "--accept-hazard KAFKA-20732" in nobody.remedy
    assert "no Approval would count" in nobody.remedy


def test_a_step_that_does_nothing_of_it_is_not_barred() -> None:
    def at(verb: str) -> Operation:
        step = OperationStep(id=1, verb=verb)
        return Operation(id="x", kind="Roll", goal="g", started_at="2026-01-01T00:00:00Z", step=step)

    closed = Waivable(Check("OutsideWindow", ok=False), WINDOW, frozenset({"Soaking"}))
    assert closed.bars(at("Stopping"))
    assert not closed.bars(at("Soaking"))


some = st.builds(
    given_by,
    by=st.sampled_from(["alice", "bob", "carol"]),
    decision=st.sampled_from(["Approve", "Approve", "Deny"]),
    plan_hash=st.sampled_from([PLAN, OTHER]),
    uid=st.sampled_from(["u", "before"]),
    at=st.floats(NOW - 200, NOW + 200),
    called=st.integers(0, 10**6).map(lambda number: f"a-{number}"),
    overrides=st.sampled_from([[], [WINDOW], [HAZARD], [WINDOW, HAZARD]]),
)


@given(st.lists(some, max_size=6, unique_by=lambda one: one.metadata.name), st.randoms())
def test_waived_means_somebody_else_said_exactly_that_of_this_plan(many: list[Approval], random: Any) -> None:
    """Said again without the code under test, and in any order."""
    shuffled = list(many)
    random.shuffle(shuffled)
    found = waivers(many, QUESTION)
    assert waivers(shuffled, QUESTION) == found
    mine = [a for a in many if a.spec.target_ref.uid == "u" and a.spec.plan_hash == PLAN]
    if any(a.spec.decision == "Deny" for a in mine):
        assert found == {}
    for waiver, chosen in found.items():
        assert chosen in mine
        assert chosen.spec.approver != "alice"
        assert waiver in {(override.type, override.id) for override in chosen.spec.overrides}


def test_what_is_no_override_is_refused() -> None:
    with pytest.raises(ValidationError):
        given_by(overrides=[("Hazard", "lower case")])
    with pytest.raises(ValidationError):
        given_by(overrides=[("Everything", "")])


# Rolls on fakes. The simulation's clock begins on 2023-11-14 at about 22:30 UTC.

CLOSED = [{"schedule": "0 4 * * *", "duration": "1h", "timeZone": "Europe/Berlin"}]
OPENS = 1_699_930_800.0 + 86_400 * 1
"""2023-11-15 04:00 in Berlin."""


async def asked(*, windows: list[dict[str, str]] | None = None, approval_policy: str = "NotRequired") -> Namespace:
    """alice has changed the version; the operator has looked at it."""
    namespace = await created()
    await install_policies(namespace.kube)
    namespace.kube.objects[CLUSTER]["metadata"].setdefault("annotations", {})[names.REQUESTED_BY] = "alice"
    await namespace.change(
        version="4.3.1", rollout={"soak": "2s", "approval": approval_policy}, maintenanceWindows=windows or []
    )
    await passes(namespace, 3)
    return namespace


async def passes(namespace: Namespace, number: int) -> None:
    one = service(namespace, DieAt())
    for _ in range(number):
        namespace.turn()
        await one.reconcile(KEY)


async def say(namespace: Namespace, by: str, decision: str = "Approve", **fields: Any) -> str:
    operation = (await namespace.status()).get("operation") or {}
    uid = namespace.kube.objects[CLUSTER]["metadata"]["uid"]
    values = {"plan_hash": operation.get("planHash", ""), "uid": uid, "at": namespace.clock.now()}
    return await create(namespace.kube, approval(by=by, decision=decision, **(values | fields)))


def restarted(namespace: Namespace) -> int:
    return sum(len(uids) - 1 for uids in namespace.uids.values())


async def blocked(namespace: Namespace) -> tuple[str, str]:
    entry = next(one for one in (await namespace.status())["conditions"] if one["type"] == "Blocked")
    return (entry["reason"] if entry["status"] == "True" else ""), entry["message"]


def at_clock(namespace: Namespace, moment: float) -> None:
    namespace.clock.seconds = moment - 1_700_000_000.0


async def test_outside_a_window_nothing_is_stopped_and_inside_it_goes_on() -> None:
    namespace = await asked(windows=CLOSED)
    await passes(namespace, 20)
    assert restarted(namespace) == 0
    reason, message = await blocked(namespace)
    assert reason == "OutsideWindow"
    assert "opens at 2023-11-15T03:00:00Z" in message
    assert not any(name.endswith("-cell") for plural, _, name in namespace.kube.objects if plural == "leases")
    at_clock(namespace, OPENS)
    await passes(namespace, 60)
    assert restarted(namespace) == 3
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"


async def test_a_window_that_cannot_be_read_leaves_no_node_down() -> None:
    """The pattern lets it through, the operator refuses it, and what is down comes back all the same."""
    namespace = await asked(windows=CLOSED)
    at_clock(namespace, OPENS)
    while restarted(namespace) == 0 and not (await namespace.status())["operation"].get("intent"):
        await passes(namespace, 1)
    await namespace.change(maintenanceWindows=[CLOSED[0] | {"timeZone": "Europe/Berlim"}])
    pod = next(name for plural, _, name in namespace.kube.objects if plural == "pods")
    del namespace.kube.objects[("pods", "kafka", pod)]
    await passes(namespace, 10)
    assert sum(plural == "pods" for plural, _, _ in namespace.kube.objects) == 3
    ready = next(one for one in (await namespace.status())["conditions"] if one["type"] == "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "InvalidSpec")
    assert "spec.maintenanceWindows[0].timeZone: 'Europe/Berlim' is not a time zone" in ready["message"]
    await namespace.change(maintenanceWindows=[])
    await passes(namespace, 80)
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"


def crash(namespace: Namespace, version: str) -> None:
    """Pods of that version do not come up."""
    for (plural, _, _), pod in namespace.kube.objects.items():
        if plural == "pods" and pod["spec"]["containers"][0]["image"].endswith(version):
            pod["status"]["conditions"] = [{"type": "Ready", "status": "False"}]
            waiting = {"restartCount": 3, "ready": False, "state": {"waiting": {"reason": "CrashLoopBackOff"}}}
            pod["status"]["containerStatuses"] = [{"name": "kafka"} | waiting]
            namespace.kafka.stop_broker(int(pod["metadata"]["labels"][names.NODE_ID]))


async def test_a_node_that_cannot_start_gets_a_corrected_spec_outside_a_window_and_ready_ones_do_not() -> None:
    namespace = await asked(windows=CLOSED)
    one = service(namespace, DieAt())

    async def crashing(number: int) -> None:
        for _ in range(number):
            namespace.turn()
            crash(namespace, "4.3.1")
            await one.reconcile(KEY)

    at_clock(namespace, OPENS)
    await crashing(20)
    assert restarted(namespace) == 1
    at_clock(namespace, OPENS + 3600)
    await crashing(5)
    assert (restarted(namespace), len(namespace.kafka.up)) == (1, 2)
    await namespace.change(version="4.2.0")
    await crashing(20)
    assert (restarted(namespace), len(namespace.kafka.up)) == (2, 3)
    await namespace.change(version="4.3.1")
    await crashing(20)
    assert restarted(namespace) == 2, "nothing that is up is stopped before the window opens"


@pytest.mark.parametrize("closed", ["window", "pause"])
async def test_what_restarts_nothing_waits_for_no_window(closed: str) -> None:
    """Settings and new nodes, while a roll waits for its window; people's word holds them too."""
    namespace = await asked(windows=CLOSED if closed == "window" else [])
    if closed == "pause":
        namespace = await asked(windows=CLOSED)
        namespace.kube.objects[CLUSTER]["metadata"]["annotations"][names.PAUSED] = "true"
    await namespace.change(config={"log.retention.ms": 1000})
    await passes(namespace, 10)
    assert namespace.kafka.dynamic_config.get("log.retention.ms") == ("1000" if closed == "window" else None)
    assert restarted(namespace) == 0


@pytest.mark.parametrize("policy", ["NotRequired", "Required"])
async def test_finalising_alone_can_be_waived_and_approved(policy: str) -> None:
    """A pin that is removed restarts nothing and soaks no second: the hold is all that there is of it."""
    namespace = await created()
    await install_policies(namespace.kube)
    namespace.kube.objects[CLUSTER]["metadata"].setdefault("annotations", {})[names.REQUESTED_BY] = "alice"
    await namespace.change(
        version="4.3.1", metadataVersion="4.2-IV1", rollout={"soak": "0s", "approval": "NotRequired"}
    )
    await passes(namespace, 60)
    level = namespace.kafka.features["metadata.version"]
    windows = CLOSED if policy == "NotRequired" else []
    await namespace.change(metadataVersion=None, maintenanceWindows=windows, rollout={"soak": "0s", "approval": policy})
    await passes(namespace, 5)
    operation = (await namespace.status())["operation"]
    assert (namespace.kafka.features["metadata.version"], operation["goal"]) == (level, "Version 4.3.1")
    assert f"kfleet approve {operation['id']}" in (await blocked(namespace))[1]
    name = await say(namespace, "bob", overrides=[WINDOW] if windows else [])
    await passes(namespace, 5)
    assert namespace.kafka.features["metadata.version"] > level
    last = (await namespace.status())["lastOperation"]
    assert (last["outcome"], last["approval"]) == ("Succeeded", name)


async def looked_at(namespace: Namespace, since: float, minutes: int = 12) -> None:
    """After a jump of the clock the upgrade is watched for `faultAfter`, 10 minutes, before a soak counts as over."""
    for minute in range(minutes):
        at_clock(namespace, since + 60 * minute)
        await passes(namespace, 2)


async def test_a_pause_forgets_the_soak_and_a_window_does_not() -> None:
    namespace = await asked(windows=CLOSED)
    await namespace.change(rollout={"soak": "2h", "approval": "NotRequired"})
    at_clock(namespace, OPENS)
    await passes(namespace, 60)
    await looked_at(namespace, OPENS + 3 * 3600)
    since = (await namespace.status())["operation"]["soakSince"]
    assert since < "2023-11-15T04"
    namespace.kube.objects[CLUSTER]["metadata"]["annotations"][names.PAUSED] = "true"
    await passes(namespace, 2)
    assert (await namespace.status())["operation"]["soakSince"] > "2023-11-15T06"


async def test_windows_are_no_part_of_pods_or_plans() -> None:
    """Declaring them restarts nothing, and an Approval stays one of the same plan when they change."""
    namespace = await created()
    await namespace.change(maintenanceWindows=CLOSED)
    await passes(namespace, 10)
    assert (restarted(namespace), await namespace.ready()) == (0, True)
    waiting = await asked(windows=CLOSED)
    before = (await waiting.status())["operation"]
    await waiting.change(maintenanceWindows=[CLOSED[0] | {"duration": "2h"}])
    await passes(waiting, 3)
    after = (await waiting.status())["operation"]
    assert (after["id"], after["planHash"]) == (before["id"], before["planHash"])
    assert "for 2h" in (await blocked(waiting))[1]


async def test_a_window_that_closes_lets_the_node_come_back_and_stops_no_other() -> None:
    namespace = await asked(windows=CLOSED)
    at_clock(namespace, OPENS)
    while restarted(namespace) == 0:
        await passes(namespace, 1)
    at_clock(namespace, OPENS + 3600)
    await passes(namespace, 30)
    assert restarted(namespace) == 1
    assert len(namespace.kafka.up) == 3, "nothing half done is left"
    operation = (await namespace.status())["operation"]
    assert "intent" not in operation
    assert (await blocked(namespace))[0] == "OutsideWindow"
    at_clock(namespace, OPENS + 86_400)
    await passes(namespace, 60)
    assert restarted(namespace) == 3, "and the next one goes on where it was"


async def test_finalising_waits_for_a_window_too_and_the_soak_does_not() -> None:
    namespace = await asked(windows=CLOSED)
    await namespace.change(rollout={"soak": "2h", "approval": "NotRequired"})
    at_clock(namespace, OPENS)
    await passes(namespace, 60)
    assert restarted(namespace) == 3
    assert (await namespace.status())["operation"]["step"]["verb"] == "Soaking"
    level = namespace.kafka.features["metadata.version"]
    at_clock(namespace, OPENS + 1.5 * 3600)
    await passes(namespace, 3)
    assert ((await namespace.status())["operation"]["step"]["verb"], (await blocked(namespace))[0]) == ("Soaking", "")
    await looked_at(namespace, OPENS + 3 * 3600)
    assert (await blocked(namespace))[0] == "OutsideWindow"
    assert namespace.kafka.features["metadata.version"] == level
    await looked_at(namespace, OPENS + 86_400)
    assert namespace.kafka.features["metadata.version"] > level, "at once: a soak that is over stays over"


async def test_a_node_that_is_lost_while_finalising_waits_begins_the_soak_again() -> None:
    namespace = await asked(windows=CLOSED)
    await namespace.change(rollout={"soak": "2h", "approval": "NotRequired"})
    at_clock(namespace, OPENS)
    await passes(namespace, 60)
    await looked_at(namespace, OPENS + 3 * 3600)
    since = (await namespace.status())["operation"]["soakSince"]
    pod = next(name for plural, _, name in namespace.kube.objects if plural == "pods")
    del namespace.kube.objects[("pods", "kafka", pod)]
    await passes(namespace, 20)
    assert (await namespace.status())["operation"]["soakSince"] > since


@pytest.mark.parametrize("policy", ["NotRequired", "Required"])
async def test_one_approval_waives_the_window(policy: str) -> None:
    namespace = await asked(windows=CLOSED, approval_policy=policy)
    name = await say(namespace, "bob", overrides=[WINDOW])
    await passes(namespace, 60)
    assert restarted(namespace) == 3
    last = (await namespace.status())["lastOperation"]
    assert (last["outcome"], last["approval"]) == ("Succeeded", name)


async def test_an_approval_without_the_override_is_no_waiver() -> None:
    namespace = await asked(windows=CLOSED, approval_policy="Required")
    await say(namespace, "bob")
    await passes(namespace, 20)
    assert (restarted(namespace), (await blocked(namespace))[0]) == (0, "OutsideWindow")
    await say(namespace, "carol", overrides=[WINDOW])
    await passes(namespace, 60)
    assert restarted(namespace) == 3


async def test_a_waiver_is_no_approval_where_it_counts_nothing() -> None:
    namespace = await asked(windows=CLOSED, approval_policy="Required")
    await say(namespace, "alice", overrides=[WINDOW])
    await passes(namespace, 20)
    assert restarted(namespace) == 0
    checks = (await namespace.status())["operation"]["step"]["checks"]
    assert [check["name"] for check in checks] == ["ApprovalInvalid", "OutsideWindow"]
    assert "one's own request" in checks[1]["evidence"]


REFUSED: dict[str, dict[str, Any]] = {
    "one's own": {"by": "alice"},
    "of another plan": {"by": "bob", "plan_hash": OTHER},
    "another hazard": {"by": "bob", "overrides": [("Hazard", "KAFKA-1")]},
    "given long before": {"by": "bob", "at": 1_600_000_000.0},
}


@pytest.mark.parametrize("case", REFUSED)
async def test_where_no_approval_is_required_a_waiver_is_believed_under_the_same_rules(case: str) -> None:
    namespace = await asked(windows=CLOSED)
    await say(namespace, **({"overrides": [WINDOW]} | REFUSED[case]))
    await passes(namespace, 20)
    assert (restarted(namespace), (await blocked(namespace))[0]) == (0, "OutsideWindow")


async def test_without_the_policies_a_waiver_proves_nothing() -> None:
    namespace = await asked(windows=CLOSED)
    await namespace.kube.delete(POLICIES, APPROVER_POLICY)
    await say(namespace, "bob", overrides=[WINDOW])
    await passes(namespace, 20)
    assert restarted(namespace) == 0
    assert "proves nothing" in (await blocked(namespace))[1]


@pytest.mark.parametrize("undo", ["deleted", "denied"])
async def test_a_waiver_taken_back_stops_between_two_nodes(undo: str) -> None:
    namespace = await asked(windows=CLOSED)
    name = await say(namespace, "bob", overrides=[WINDOW])
    while restarted(namespace) == 0:
        await passes(namespace, 1)
    if undo == "deleted":
        await namespace.kube.delete(APPROVALS, name, "kafka")
    else:
        await say(namespace, "carol", "Deny")
    await passes(namespace, 30)
    assert (restarted(namespace), len(namespace.kafka.up)) == (1, 3)
    assert (await blocked(namespace))[0] == "OutsideWindow"
    assert (await namespace.status())["operation"]["planHash"], "it waits for its window and has not ended"


async def test_a_hazard_holds_the_roll_until_it_is_accepted_or_gone() -> None:
    namespace = await created()
    await install_policies(namespace.kube)
    namespace.kafka.dynamic_config["remote.log.storage.system.enable"] = "true"
    namespace.kube.objects[CLUSTER]["metadata"].setdefault("annotations", {})[names.REQUESTED_BY] = "alice"
    await namespace.change(version="4.3.1", config={"log.retention.bytes": 1000})
    await passes(namespace, 20)
    assert restarted(namespace) == 0
    reason, message = await blocked(namespace)
    assert reason == "Hazard"
    assert message.startswith("KAFKA-20732: tiered storage is on and log.retention.bytes is 1000")
    assert "--accept-hazard KAFKA-20732" in message
    await say(namespace, "bob", overrides=[WINDOW])
    await passes(namespace, 10)
    assert restarted(namespace) == 0
    await say(namespace, "carol", overrides=[HAZARD])
    await passes(namespace, 60)
    assert restarted(namespace) == 3


def planted(blocks: hazards.Blocks) -> hazards.Hazard:
    return hazards.Hazard("TEST-1", "t", "s", hazards.Affected(), blocks, lambda at: f"seen at {at.target}", "Mend it.")


async def test_a_hazard_of_finalising_lets_nodes_restart_and_holds_only_that(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(hazards.CATALOGUE, "TEST-1", planted(hazards.Blocks.FINALISATION))
    namespace = await asked()
    level = namespace.kafka.features["metadata.version"]
    await passes(namespace, 60)
    assert (restarted(namespace), namespace.kafka.features["metadata.version"]) == (3, level)
    assert (await blocked(namespace))[1].startswith("TEST-1: seen at 4.3.1. Mend it. Or somebody else says")
    monkeypatch.delitem(hazards.CATALOGUE, "TEST-1")
    await passes(namespace, 5)
    assert namespace.kafka.features["metadata.version"] > level


async def test_advice_holds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for blocks in (hazards.Blocks.NOTHING, hazards.Blocks.CONFIG):
        monkeypatch.setitem(hazards.CATALOGUE, "TEST-1", planted(blocks))
        namespace = await asked()
        await passes(namespace, 60)
        assert restarted(namespace) == 3


async def test_a_hazard_of_restarts_that_comes_up_afterwards_holds_no_finalising(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    namespace = await asked()
    while restarted(namespace) < 3 or (await namespace.status())["operation"]["step"]["verb"] != "Soaking":
        await passes(namespace, 1)
    monkeypatch.setitem(hazards.CATALOGUE, "TEST-1", planted(hazards.Blocks.RESTART))
    await passes(namespace, 20)
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"


async def test_a_cluster_without_windows_and_hazards_asks_for_no_approvals() -> None:
    namespace = await asked()
    listed: list[str] = []
    inner = namespace.kube.list

    async def watched(resource: Any, *args: Any, **more: Any) -> Any:
        listed.append(resource.plural)
        return await inner(resource, *args, **more)

    namespace.kube.list = watched  # type: ignore[method-assign]
    await passes(namespace, 60)
    assert restarted(namespace) == 3
    assert "approvals" not in listed


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_keeps_to_the_window(phase: str) -> None:
    """Lives end at their first or second write; whenever the window is closed, no pod is stopped."""
    namespace = await asked(windows=CLOSED)
    number = 1 if phase == "after" else 2

    async def lives(count: int, *, until: float) -> None:
        for _ in range(count):
            one = service(namespace, DieAt(number, phase))
            try:
                for _ in range(5):
                    namespace.turn()
                    namespace.clock.seconds = min(namespace.clock.seconds, until - 1_700_000_000.0)
                    await one.reconcile(KEY)
            except Killed:
                pass

    await lives(10, until=OPENS - 1)
    assert restarted(namespace) == 0
    for day in range(12):
        at_clock(namespace, OPENS + day * 86_400)
        await lives(12, until=OPENS + day * 86_400 + 3599)
        before = restarted(namespace)
        at_clock(namespace, OPENS + day * 86_400 + 3600)
        await lives(6, until=OPENS + (day + 1) * 86_400 - 1)
        assert restarted(namespace) <= before + 1, "a stop that was written down may still happen; no other is begun"
        if (await namespace.status()).get("lastOperation"):
            break
    assert restarted(namespace) == 3
    assert (await namespace.status())["lastOperation"]["outcome"] == "Succeeded"


async def test_a_roll_that_waits_for_its_window_keeps_no_broker_from_being_added() -> None:
    """The new one is made and started; those that are up are not touched."""
    namespace = await asked(windows=CLOSED)
    assert (await blocked(namespace))[0] == "OutsideWindow"
    pools = namespace.kube.objects[CLUSTER]["spec"]["nodePools"]
    await namespace.change(nodePools=[*pools, pools[0] | {"name": "more", "roles": ["Broker"], "replicas": 1}])
    await passes(namespace, 1)
    assert sum(plural == "persistentvolumeclaims" for plural, _, _ in namespace.kube.objects) == 4
    namespace.kafka.nodes, namespace.kafka.directories[3] = 4, "directory-3"
    await passes(namespace, 10)
    assert sum(plural == "pods" for plural, _, _ in namespace.kube.objects) == 4
    assert (restarted(namespace), len(namespace.kafka.up)) == (0, 4)
    assert (await blocked(namespace))[0] == "OutsideWindow"
