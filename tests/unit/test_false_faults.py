"""What looks like a fault of an upgrade and is none: slow nodes, people, machines, a blind operator. Tables."""

from __future__ import annotations

from dataclasses import replace

from property.strategies import NOW, crashing, pod, starting, unscheduled
from unit.test_rolling_faults import AFTER, ALL, CONFINED, NEW, OLD, SHAPE, WATCH, after, new, seen

from controlplane.domain.observation import ClusterObservation, PodObservation, TopicPartition
from controlplane.domain.rolling import faults
from controlplane.domain.rolling.faults import CRASH_SECONDS, CRASHES, Findings
from controlplane.domain.rolling.watch import UpgradeWatch


def down(found: PodObservation) -> ClusterObservation:
    """Upgraded broker 0 is not up."""
    return seen(pods={0: found}, isr=(1, 2), leader=1, live=(1, 2))


def on(found: Findings, observation: ClusterObservation, begins: int, ends: int, step: int = 10) -> Findings:
    """Looked at from `begins` to `ends`, in seconds since NOW."""
    for passed in range(begins, ends + 1, step):
        found = faults.look(replace(observation, as_of=NOW + passed), found.watch, {}, AFTER)
    return found


def test_a_crash_is_timed_from_the_crash_and_not_from_the_slow_start_before_it() -> None:
    found = on(Findings(WATCH), down(starting(new(0))), 0, 300)
    found = on(found, down(crashing(new(0))), 310, 310 + int(CRASH_SECONDS) - 10)
    assert found.faults == ()
    found = on(found, down(crashing(new(0))), 310 + int(CRASH_SECONDS), 310 + int(CRASH_SECONDS))
    assert [check.name for check in found.faults] == ["NodeNotReady"], "told once"


def test_an_image_that_failed_once_after_a_long_pull_is_tried_again_in_peace() -> None:
    found = on(Findings(WATCH), down(replace(starting(new(0)), waiting_reason="ContainerCreating")), 0, 300)
    found = on(found, down(replace(starting(new(0)), waiting_reason="ErrImagePull")), 310, 340)
    assert found.faults == ()


def test_a_node_that_reads_its_logs_after_one_crash_has_all_of_its_time() -> None:
    recovering = down(replace(starting(new(0)), restarts=1, waiting_reason=None))
    assert on(Findings(WATCH), recovering, 0, int(AFTER) - 10).faults == ()
    assert on(Findings(WATCH), recovering, 0, int(AFTER)).faults
    later = down(replace(starting(new(0)), restarts=2, waiting_reason=None))
    assert on(Findings(WATCH), later, 0, int(AFTER) - 10).faults == (), "and so after a second, days later"
    found = on(Findings(WATCH), down(replace(crashing(new(0)), restarts=1)), 0, 20)
    assert on(found, later, 30, int(CRASH_SECONDS)).faults, "control: it crashes again and again"


def test_a_crash_that_nobody_looked_at_in_between_has_not_lasted() -> None:
    found = on(Findings(WATCH), CONFINED["crash"], 0, 10)
    assert on(found, CONFINED["crash"], 150, 190).faults == ()
    assert on(found, CONFINED["crash"], 20, 60).faults, "control: it was looked at"
    assert on(Findings(WATCH), CONFINED["crash"], 0, 80, step=40).faults, "control: as often as a cluster that waits is"


def test_a_pod_that_took_the_place_of_another_has_its_own_time() -> None:
    """A machine was lost, its pod removed by force; the new one starts elsewhere."""
    found = on(Findings(WATCH), down(starting(new(0))), 0, int(AFTER) - 60)
    other = replace(starting(new(0)), uid="another", name="another")
    assert on(found, down(other), int(AFTER) - 50, int(AFTER) + 100).faults == ()
    assert on(found, down(starting(new(0))), int(AFTER) - 50, int(AFTER)).faults, "control: the same pod"


def test_a_pod_that_waited_for_a_machine_has_its_own_time_from_then_on() -> None:
    found = on(Findings(WATCH), down(unscheduled(new(0))), 0, int(AFTER) - 60)
    assert on(found, down(starting(new(0))), int(AFTER) - 50, int(AFTER) + 100).faults == ()


def test_a_replica_that_is_being_added_is_nobodys_fault() -> None:
    observation = seen(SHAPE.ids, isr=(1, 2), leader=1)
    assert observation.kafka
    moving = replace(observation, kafka=replace(observation.kafka, reassigning=(TopicPartition("t", 0),)))
    assert after(moving, 2 * AFTER).faults == ()
    assert after(moving, 2 * AFTER).symptoms == ()
    assert after(observation, AFTER).confined, "control: nothing is moved"


def test_a_blind_operator_rolls_nothing_back() -> None:
    """Every kubelet says ready, and no broker answers us: our own network, as likely as not."""
    blind = replace(seen(SHAPE.ids), kafka=None, quorum=None)
    found = after(blind, AFTER)
    assert [check.name for check in found.faults] == ["ClusterUnreachable"]
    assert not found.confined
    gone: dict[int, PodObservation | None] = {node: starting(new(node)) for node in ALL}
    dark = replace(seen(SHAPE.ids, pods=gone), kafka=None, quorum=None)
    assert after(dark, AFTER).confined, "control: kubelets agree that nothing is up"


def test_a_controller_that_is_not_a_voter_yet_is_nobodys_fault() -> None:
    observation = seen((10, 11, 12, 0))
    assert observation.quorum
    voters = tuple(voter for voter in observation.quorum.voters if voter.id != 12)
    joining = replace(observation, quorum=replace(observation.quorum, voters=voters))
    found = after(joining, 2 * AFTER)
    assert (found.faults, found.symptoms) == ((), ())


def test_a_node_that_was_ill_before_takes_nothing_back_until_it_was_well() -> None:
    """It goes first, and goes on crashing on the new version."""
    before = seen((), pods={0: crashing(pod(0))}, isr=(1, 2), leader=1, live=(1, 2))
    watch = faults.begin(before, OLD, NEW)
    assert UpgradeWatch.load(watch.dump()) == watch
    still = seen((0,), pods={0: crashing(new(0))}, isr=(1, 2), leader=1, live=(1, 2))
    found = after(still, AFTER, watch)
    assert found.faults
    assert not found.confined
    well = after(seen((0,)), 60, found.watch)
    assert after(still, AFTER, well.watch).confined, "it has run the new version"
    assert after(still, AFTER, faults.begin(still, OLD, NEW)).confined, "begun again in the middle"


def test_restarts_are_a_loop_only_while_there_are_more_of_them() -> None:
    """Three while its machine was set up, or reboots of a long soak: it is well, and the soak goes on after a while."""

    def up(restarts: int) -> ClusterObservation:
        return seen(pods={0: replace(new(0), restarts=restarts)})

    found = on(Findings(WATCH), up(CRASHES), 0, int(AFTER) - 10)
    assert found.faults == ()
    assert [check.name for check in found.symptoms] == ["NodeCrashes"], "the soak does not count for now"
    quiet = on(found, up(CRASHES), int(AFTER), int(AFTER) + 1000)
    assert (quiet.faults, quiet.symptoms) == ((), ())
    again = on(quiet, up(CRASHES + 1), int(AFTER) + 1010, int(AFTER) + 1200)
    assert again.faults == ()
    assert again.symptoms
    loop = on(again, up(CRASHES + 2), int(AFTER) + 1210, int(AFTER) + 1210)
    assert [check.name for check in loop.faults] == ["NodeCrashes"]
    assert loop.confined
