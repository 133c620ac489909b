"""The roll: from one observation to the one next action. Pure; the same inputs give the same action.

`_Roll._actions` yields what could be done, most urgent first; the first is the plan. Nothing of it is remembered but
`RollProgress`, so each pass starts from what it sees and a crash between two passes is ordinary:

    Write `Transition.progress`, carry out `Transition.action`, observe, plan again. The observation must have been made
    after the last action, from the API server and not from a watch cache, and a stop must carry the pod's uid.

Invariants (each a property test; design section 6):

1. No partition stops accepting acks=all writes through a stop (`safety`). A ready node is stopped only while every
   other node is up and every node stopped before is back, those of its own batch excepted (`RollTarget.max_unavailable`
   above 1; with 1 a batch is one node).
2. A majority of caught-up controllers stays up (`safety`). Controllers go before brokers, the active one last of them;
   on the way back to an older version (`RollTarget.back`) brokers go before controllers.
3. A batch lies in one rack. It is chosen when none is open, with the rest of the fewest batches (`batches`), and stands
   in the progress from before its first stop; its members are then stopped without waiting for each other, each only
   if the whole of what is down with it passes `safety.judge` again and no member that was stopped shows a symptom.
4. A reassignment in flight or an unready node elsewhere blocks a ready node. An unready node blocks others but not
   itself and goes first: a corrected spec can always reach it. It too is stopped only as far as 1 and 2 hold for what
   it still adds; a process that does not run adds nothing. While people hold the roll (`RollTarget.holds`) none is
   stopped; what only bars ready nodes (`RollTarget.guards`, and `faults` of an upgrade) does not bar these.
5. A stopped node is back when `health.not_back` finds nothing; then its leaders return by preferred election.
   Where partitions cannot spare a replica (RF <= min ISR), `MoveAway` asks for their replicas to be moved off what is
   to be stopped next (`Blocked.away`), and stops it when it sees none there.
9. A pod made from its target is never stopped, so nothing is restarted twice for one target. Whether an intended stop
   happened is seen from the pod's uid.

A block is a state with reasons, examined again at every pass, never a failure by count. Unready nodes at their target
are awaited without end; the checks say what is wrong with them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from controlplane.api.operation import JOURNAL_LIMIT
from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation, NodeObservation
from controlplane.domain.rolling import faults, health, safety
from controlplane.domain.rolling.batches import Batches, plan_batches
from controlplane.domain.rolling.values import (
    Action,
    AwaitNode,
    Blocked,
    Done,
    ElectLeaders,
    Finalise,
    Intent,
    RollProgress,
    RollTarget,
    Soak,
    StartNode,
    Step,
    StopNode,
    Transition,
    UnprotectedPolicy,
)
from controlplane.domain.rolling.view import RollView
from controlplane.domain.rolling.watch import UpgradeWatch

ELECTION_BATCH = 500
"""Partitions of one preferred election; leaders return in batches, so that clients do not all move at once."""

MAX_RECORDED_TOPICS = 100
MAX_RECORDED_PARTITIONS = 2000
"""What one node's `replicas_out_before` may hold; status.operation is bounded. A ready node that exceeds it waits."""

RECORDS_OF_A_BATCH = 4
"""A batch goes on while the records of what is down fit into this many times what one node's may hold."""

ENTRIES_OF_A_RESTART = 4
"""What each node that is down may still write into the journal: a start, the wait that it interrupts, a wait of its own
and an election. What was going on before and the stop itself come on top, once."""


def plan_roll(observation: ClusterObservation, target: RollTarget, progress: RollProgress) -> Transition:
    """The next action and what to write down before it. Never raises, whatever was observed."""
    return _Roll(observation, target, progress).next()


def to_restart(observation: ClusterObservation, target: RollTarget) -> tuple[int, ...]:
    """Nodes whose pod was not made from its target, in the order that a roll without surprises takes."""
    return tuple(node.id for node in RollView(observation, target, RollProgress("", "")).pending)


class _Roll:
    def __init__(self, observation: ClusterObservation, target: RollTarget, progress: RollProgress) -> None:
        self.observation, self.target, self.progress = observation, target, progress
        self.view = RollView(observation, target, progress)
        self.batches, self.batch_limit = self._remembered(), progress.batch_limit
        self.soaked = False
        moves = target.unprotected is UnprotectedPolicy.MOVE_AWAY
        self.occupied = safety.occupied(observation) if moves else frozenset[int]()

    def next(self) -> Transition:
        action = next(self._actions())
        return Transition(action, self._record(action), self.view.undone)

    def _actions(self) -> Iterator[Action]:
        yield from self._start_missing()
        refusals: list[Check] = []
        yield from self._replace_unready(refusals)
        if not refusals:
            yield from self._continue_batch()
        yield from self._await_unready_and_stopped()
        yield from _block(refusals)
        yield from self._block_on_strangers()
        yield from self._replace_stopped()
        yield from self._return_leaders()
        yield from self._block_on_silence()
        yield from self._stop_next()
        yield from self._soak()
        yield from self._finalise()
        yield Done()

    def _start_missing(self) -> Iterator[Action]:
        for node in self.view.nodes:
            if node.pod is None:
                yield StartNode(node.id)
        for node_id in sorted(self.view.targets.keys() - {node.id for node in self.view.nodes}):
            yield StartNode(node_id)

    def _replace_unready(self, refusals: list[Check]) -> Iterator[Action]:
        """Nodes that are not up and wait for their target.

        Several may be under way at once, since one may be unable to come up without the next (a quorum of crashed
        controllers); what keeps that safe is `safety`, not their number.
        """
        for node in self.view.pending:
            if node.id in self.view.unhealthy and node.pod and not node.pod.terminating:
                verdict = self._judge(node)
                failed = (*self.target.holds, *verdict.failed)
                if not failed:
                    yield self._stop(node, verdict)
                refusals += (*self.view.unhealthy[node.id], *failed)

    def _remembered(self) -> Batches:
        """What is left of the batches in the progress: members that wait for their restart or are not back from it.

        With a limit of 1 that is no more than those of a batch that are down, while they are several.
        Planned for another limit or for other nodes they still say what is down together; the rest is planned again
        when the next batch is opened.
        """
        if self.target.max_unavailable <= 1:
            down = tuple(node for batch in self.progress.batches[:1] for node in batch if node in self.view.stopped)
            return (down,) if len(down) > 1 else ()
        left = {node.id for node in self.view.pending} | self.view.stopped.keys()
        batches = tuple(tuple(node for node in batch if node in left) for batch in self.progress.batches)
        return tuple(batch for batch in batches if batch)

    def _continue_batch(self) -> Iterator[Action]:
        """The next member of the open batch while others of it are down. Yields nothing where there is any doubt: then
        those that are down are awaited, and the rest of the batch comes after them."""
        stopped, undone = self.view.stopped.keys(), self.view.undone
        if not self.batches or not stopped or not stopped <= set(self.batches[0]):
            return
        if self.view.unhealthy.keys() - stopped or self._shows_symptoms() or any(self._gates()):
            return
        if self.observation.kafka is None or self.observation.quorum is None:
            return
        controllers_next = bool(self.view.pending) and self.view.pending[0].is_controller
        if controllers_next or not self._fits_the_journal(len(stopped) + 1):
            return
        for node in self.view.pending:
            if node.id not in self.batches[0] or node.id in stopped or undone not in {None, node.id}:
                continue
            if len(stopped) < self.target.max_unavailable and self._may_join(node):
                verdict = self._judge_with(node, frozenset(stopped))
                if not verdict.failed:
                    yield self._stop(node, verdict)

    def _fits_the_journal(self, down: int) -> bool:
        """Whether all that so many nodes will write finds room even if the ledger takes none of it."""
        return self.progress.unrecorded + ENTRIES_OF_A_RESTART * down + 2 <= JOURNAL_LIMIT

    def _shows_symptoms(self) -> bool:
        """A stopped member that was made anew has trouble, or has no place to run yet, or its target has changed."""
        return any(
            node.pod is not None
            and not node.pod.terminating
            and (not self.view.at_target(node) or not node.pod.scheduled or health.is_ailing(node.pod))
            for node in self.view.nodes
            if node.id in self.view.stopped
        )

    def _may_join(self, node: NodeObservation) -> bool:
        """Same rack as those down, nothing out of sync or without a leader that they have a part in, room to record."""
        stopped = self.view.stopped
        racks = {other.rack for other in self.view.nodes if other.id in stopped and other.pod}
        if node.rack is None or racks - {node.rack}:
            return False
        down = {node.id, *stopped}
        for partition in self.observation.kafka.partitions if self.observation.kafka else ():
            replicas = down.intersection(partition.replicas)
            if partition.leader is None and replicas:
                return False
            if node.id in replicas and node.id not in partition.isr and len(replicas) > 1:
                return False
        records = [*stopped.values(), self.view.out_before(node)]
        return (
            not any(self._too_much_to_record(node))
            and sum(map(len, records)) <= RECORDS_OF_A_BATCH * MAX_RECORDED_PARTITIONS
            and sum(max(1, len({p.topic for p in out})) for out in records) <= RECORDS_OF_A_BATCH * MAX_RECORDED_TOPICS
        )

    def _await_unready_and_stopped(self) -> Iterator[Action]:
        """Nodes at their target that are not up, or not back if we stopped them; and any that are stopping."""
        stopped = self.view.stopped
        for node in sorted(self.view.nodes, key=lambda n: n.id not in stopped):
            if not self.view.at_target(node) and not (node.pod and node.pod.terminating):
                continue
            checks = (
                health.not_back(self.observation, node, stopped[node.id])
                if node.id in stopped
                else self.view.unhealthy.get(node.id, ())
            )
            if checks:
                yield AwaitNode(node.id, checks)

    def _block_on_strangers(self) -> Iterator[Action]:
        """Nodes that exist and are not part of the target: not ours to restart, but unready they block."""
        strangers = self.view.unhealthy.keys() - self.view.targets.keys()
        yield from _block([check for node in sorted(strangers) for check in self.view.unhealthy[node]])

    def _replace_stopped(self) -> Iterator[Action]:
        """A node that this roll stopped, up but not back when its target changed: it goes first, others are up.

        While anything is held it comes back on what it runs, and its restart is over with that.
        """
        refusals: list[Check] = []
        for node in self.view.pending:
            if node.id not in self.view.stopped:
                continue
            if self.target.held:
                if checks := health.not_back(self.observation, node, self.view.stopped[node.id]):
                    yield AwaitNode(node.id, checks)
                continue
            verdict = self._judge(node)
            if not verdict.failed:
                yield self._stop(node, verdict)
            refusals += verdict.failed
        yield from _block(refusals)

    def _return_leaders(self) -> Iterator[Action]:
        """Every stopped node is back; what it is the preferred leader of, it leads again."""
        if waiting := self.view.led_elsewhere(self.view.stopped.keys()):
            yield ElectLeaders(tuple(waiting[:ELECTION_BATCH]))

    def _block_on_silence(self) -> Iterator[Action]:
        """Whatever comes now needs to know partitions and quorum."""
        if self.observation.kafka is None:
            yield Blocked((health.unreachable(self.observation),))
        if self.observation.quorum is None and any(node.is_controller for node in self.observation.nodes):
            yield Blocked((health.quorum_unknown(self.observation),))

    def _stop_next(self) -> Iterator[Action]:
        """One ready node of the first group that has any left; within it the first that may go."""
        if not self.view.pending:
            return
        yield from _block([*self._gates()])
        refusals: list[Check] = []
        group = self.view.group(self.view.pending[0])
        if not self.view.pending[0].is_controller and self.target.max_unavailable > 1:
            yield from self._open_batch()
        candidates = [node for node in self.view.pending if self.view.group(node) == group]
        for node in sorted(candidates, key=lambda n: n.id in self.occupied):  # who needs no move goes first
            verdict = self._judge(node)
            failed = (*verdict.failed, *self._too_much_to_record(node))
            if not failed:
                yield self._stop(node, verdict)
            if self._takes_only_a_move(failed):
                yield self._ask_away((node.id,))
            refusals += failed
        yield from _block(refusals)

    def _takes_only_a_move(self, failed: Iterable[Check]) -> bool:
        return bool(self.occupied) and {check.name for check in failed} == {safety.UNPROTECTED_PARTITIONS}

    def _ask_away(self, brokers: tuple[int, ...]) -> Blocked:
        partitions = safety.unprotected_partitions(self.observation, frozenset(brokers))
        return Blocked((safety.moving_check(partitions, brokers),), away=tuple(sorted(brokers)))

    def _open_batch(self) -> Iterator[Action]:
        """The first member of the first batch that may go as a whole, of those in the progress or else of new ones; if
        none may, the first that may once replicas have been moved off it. Nothing if there is none of these either:
        then each broker is asked alone, and says why it may not go."""
        pending = {node.id: node for node in self.view.pending if not node.is_controller}
        limit = self.target.max_unavailable
        if self.batch_limit == limit and pending.keys() == set().union(*self.batches):
            yield from self._open_one_of(self.batches, pending)
        found = plan_batches(self.observation, pending.keys(), limit, self.target.unprotected)
        if found.batches:
            self.batches, self.batch_limit = found.batches, limit
        yield from self._open_one_of(found.batches, pending)

    def _open_one_of(self, batches: Batches, pending: Mapping[int, NodeObservation]) -> Iterator[StopNode | Blocked]:
        def order(batch: tuple[int, ...]) -> tuple[bool, bool]:
            return not self.occupied.isdisjoint(batch), self.view.undone not in batch

        for batch in sorted(batches, key=order):
            racks = {pending[node].rack for node in batch}
            if len(racks) > 1 or (None in racks and len(batch) > 1):
                continue
            if failed := self._judge_all(frozenset(batch)).failed:
                if self._takes_only_a_move(failed):
                    # Written down while it waits: what is stopped then is what was emptied.
                    self.batches = (batch, *(other for other in batches if other != batch))
                    self.batch_limit = self.target.max_unavailable
                    yield self._ask_away(batch)
                continue
            for node in sorted((pending[member] for member in batch), key=lambda n: n.id != self.view.undone):
                verdict = self._judge(node)
                if not verdict.failed and not any(self._too_much_to_record(node)):
                    self.batches = (batch, *(other for other in batches if other != batch))
                    yield self._stop(node, verdict)

    def _gates(self) -> Iterator[Check]:
        """What blocks every ready node, asked before the first, so that a roll does not stop half-way over it."""
        yield from self.target.held
        if self.observation.kafka and (moving := self.observation.kafka.reassigning):
            yield Check(
                "ReassignmentInFlight",
                ok=False,
                evidence=f"{len(moving)} partitions are being reassigned: {health.listing(sorted(moving))}.",
                remedy="Wait until the reassignment is complete, or cancel it.",
            )
        pending = frozenset(node.id for node in self.view.pending)
        if self.target.unprotected is UnprotectedPolicy.BLOCK:
            if partitions := safety.unprotected_partitions(self.observation, pending):
                yield safety.unprotected_check(partitions)
        elif self.occupied and (rooted := safety.rooted_partitions(self.observation, pending)):
            yield safety.rooted_check(rooted)

    def _too_much_to_record(self, node: NodeObservation) -> Iterator[Check]:
        out = self.view.out_before(node)
        if len(out) > MAX_RECORDED_PARTITIONS or len({p.topic for p in out}) > MAX_RECORDED_TOPICS:
            yield Check(
                "NodeOutOfSync",
                ok=False,
                evidence=f"Node {node.id} has {len(out)} replicas out of sync ({health.listing(sorted(out))}), "
                "too many to tell afterwards whether a restart did harm.",
                remedy="Wait until it has caught up; if it does not, look at its disks.",
            )

    def _soak(self) -> Iterator[Action]:
        """While a check of the upgrade fails the time does not count; it begins anew once none does. What passed while
        nobody looked counts, but is looked at before it is over."""
        yield from _block([*self.target.faults])
        if self.target.symptoms:
            yield Soak(self.observation.as_of + self.target.soak_seconds)
        until = self._all_back_since() + self.target.soak_seconds
        watch = self.progress.watch
        if watch is not None and watch.looked is not None and not watch.over:
            until = max(until, watch.looked.since + min(self.target.soak_seconds, self.target.watch_seconds))
        if self.observation.as_of < until:
            yield Soak(until)

    def _finalise(self) -> Iterator[Action]:
        features = self.observation.kafka.features if self.observation.kafka else {}
        levels = {name: level for name, level in (self.target.finalise or {}).items() if features.get(name, 0) < level}
        if levels:
            self.soaked = True
            yield from _block([*self.target.held])
            yield Finalise(levels)

    def _judge(self, node: NodeObservation) -> safety.Verdict:
        return self._judge_all(frozenset({node.id}))

    def _judge_with(self, node: NodeObservation, down: frozenset[int]) -> safety.Verdict:
        """Whether it may be down together with these; what that interrupts is what its own stop adds."""
        failed = self._judge_all(down | {node.id}).failed
        return replace(self._judge(node), failed=failed) if failed else self._judge(node)

    def _judge_all(self, batch: frozenset[int]) -> safety.Verdict:
        suspects = set(() if self.view.undone is None else (self.view.undone,))
        if self.target.max_unavailable > 1 or self.batches:
            # Several of ours may be down: one that has a process again is not counted upon before it is back.
            suspects |= self.view.stopped.keys() & self.view.unhealthy.keys()
        return safety.judge(self.observation, batch, self.target.unprotected, suspects=frozenset(suspects))

    def _stop(self, node: NodeObservation, verdict: safety.Verdict) -> StopNode:
        if node.pod is None:
            raise AssertionError(f"node {node.id} is pending without a pod")
        return StopNode(
            node.id,
            node.pod.name,
            node.pod.uid,
            tuple(sorted(self.view.out_before(node))),
            reasons=self.view.targets[node.id].reasons,
            accepted=verdict.accepted,
        )

    def _all_back_since(self) -> float:
        """Never later than this observation, so that a clock set back cannot stretch a soak."""
        since = self.progress.all_back_since
        return self.observation.as_of if since is None else min(since, self.observation.as_of)

    def _record(self, action: Action) -> RollProgress:
        """What must be in the status before `action` is carried out."""
        stopped = dict(self.view.stopped)
        if isinstance(action, StopNode):
            stopped[action.node] = frozenset(action.replicas_out_before)
        batches = () if isinstance(action, Soak | Finalise | Done) else self.batches
        # A soak longer than the windows would begin again at the end of each, and never be over in one.
        all_back = isinstance(action, Soak | Finalise | Done) or (self.soaked and not self.target.holds)
        all_back = all_back and not self.target.symptoms and not self.target.faults
        return replace(
            self.progress,
            goal=self.target.goal,
            step=_STEPS[type(action)],
            intent=self._intent(action),
            replicas_out_before=stopped,
            all_back_since=self._all_back_since() if all_back else None,
            batches=batches,
            batch_limit=self.batch_limit if batches else 1,
            watch=self._watch(action),
        )

    def _watch(self, action: Action) -> UpgradeWatch | None:
        """Kept from the stop on that begins the upgrade: what is compared with is how it was then. Over before anything
        is finalised, of which nobody could say afterwards whether it happened."""
        watch = self.progress.watch
        if watch is None or isinstance(action, Done):
            return None
        if isinstance(action, Finalise):
            return replace(watch, over=True, sightings={})
        if isinstance(action, StopNode) or self.view.stopped or faults.begun(self.observation, watch):
            return watch
        return None

    def _intent(self, action: Action) -> Intent | None:
        """Present while a node that this roll stopped is not back: such a restart is gone on with whatever is held."""
        step = _STEPS[type(action)]
        if isinstance(action, StopNode):
            return Intent(step, action.node, action.pod_uid)
        if not self.view.stopped:
            return None
        named = action.node if isinstance(action, StartNode | AwaitNode) else None
        node = named if named in self.view.stopped else min(self.view.stopped)
        before = self.progress.intent
        return Intent(step, node, before.pod_uid if before and before.node == node else None)


def _block(checks: list[Check]) -> Iterator[Action]:
    """Blocked, each reason once, if there is any."""
    if checks:
        yield Blocked(tuple(dict.fromkeys(checks)))


_STEPS: dict[type[Action], Step] = {
    StopNode: Step.STOPPING,
    StartNode: Step.STARTING,
    AwaitNode: Step.AWAITING,
    ElectLeaders: Step.ELECTING,
    Soak: Step.SOAKING,
    Finalise: Step.FINALISING,
    Blocked: Step.BLOCKED,
    Done: Step.DONE,
}
