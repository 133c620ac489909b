"""One pass of a roll, sorted out: which nodes differ from their target, which are down, which are on their way back."""

from __future__ import annotations

from collections.abc import Collection

from controlplane.domain.observation import ClusterObservation, NodeObservation, TopicPartition
from controlplane.domain.rolling import health, safety
from controlplane.domain.rolling.values import RollProgress, RollTarget, Step, UnprotectedPolicy


class RollView:
    """Computed once a pass from observation, target and progress; nothing of it changes afterwards.

    `nodes`: those of the target, in the order of a roll: controllers, the active controller, brokers (on a way back
    brokers first); then rack, id.
    `pending`: nodes whose pod was not made from its target. `unhealthy`: nodes that are not up, with the reasons.
    `stopped`: nodes this roll has stopped and not yet seen back with their leaders, with the replicas out before.
    `undone`: the node whose stop was written down but whose pod is still there, untouched: the stop did not happen, or
    its request is on the way to the API server. It is not counted upon while others are judged.
    """

    def __init__(self, observation: ClusterObservation, target: RollTarget, progress: RollProgress) -> None:
        self.observation = observation
        self.held = bool(target.held)
        self._moves = target.unprotected is UnprotectedPolicy.MOVE_AWAY
        self._back = target.back
        self.targets = {node.node: node for node in target.nodes}
        self.undone = _undone_stop(observation, progress)
        self.nodes = sorted((node for node in observation.nodes if node.id in self.targets), key=self._order)
        self.pending = [node for node in self.nodes if node.pod and not self.at_target(node)]
        self.unhealthy = {
            node.id: checks for node in observation.nodes if (checks := health.unhealthy(observation, node))
        }
        self.stopped = {
            node.id: out
            for node in self.nodes
            if (out := progress.replicas_out_before.get(node.id)) is not None and not self._is_over(node, out)
        }

    def at_target(self, node: NodeObservation) -> bool:
        target = self.targets[node.id]
        return node.pod is not None and node.pod.spec_hash == target.spec_hash and node.pod.uid != target.leaving

    def group(self, node: NodeObservation) -> int:
        """Controllers, then the active controller, then brokers; on a way back brokers first. Combined nodes are
        controllers."""
        if not node.is_controller:
            return 0 if self._back else 2
        active = self.observation.quorum is not None and self.observation.quorum.leader == node.id
        return 2 if active and self._back else 1 if active or self._back else 0

    def out_before(self, node: NodeObservation) -> frozenset[TopicPartition]:
        """Replicas not to wait for if this node is stopped now.

        A node stopped before keeps its record: what is out since, we took out. A node that is not up gets an empty one:
        that its replicas are out says nothing about their health.
        """
        if node.id in self.stopped:
            return self.stopped[node.id]
        return frozenset() if node.id in self.unhealthy else health.replicas_out(self.observation, node.id)

    def led_elsewhere(self, preferred: Collection[int]) -> list[TopicPartition]:
        """Partitions whose preferred leader is in sync and one of these nodes, and that another one leads."""
        partitions = self.observation.kafka.partitions if self.observation.kafka else ()
        return sorted(
            p.id
            for p in partitions
            if p.replicas and p.replicas[0] in preferred and p.leader != p.replicas[0] and p.replicas[0] in p.isr
        )

    def _order(self, node: NodeObservation) -> tuple[int, bool, str, int]:
        """Stable by rack, then id; a stop that was begun is gone on with."""
        return self.group(node), node.id != self.undone, node.rack or "", node.id

    def _is_over(self, node: NodeObservation, out_before: frozenset[TopicPartition]) -> bool:
        """Its restart is complete, or never began (the pod is untouched and up, and is judged anew).

        Complete means back on the target; while anything is held, or replicas have to be moved off it before it may be
        stopped again, back on whatever it runs.
        """
        if node.id in self.unhealthy:
            return False
        if node.id == self.undone:
            return True
        over = self.at_target(node) or self.held or self._must_wait(node)
        back = over and not health.not_back(self.observation, node, out_before)
        return back and not self.led_elsewhere({node.id})

    def _must_wait(self, node: NodeObservation) -> bool:
        return self._moves and bool(safety.unprotected_partitions(self.observation, frozenset({node.id})))


def _undone_stop(observation: ClusterObservation, progress: RollProgress) -> int | None:
    intent = progress.intent
    if intent is None or intent.action is not Step.STOPPING:
        return None
    node = observation.node(intent.node)
    if node is None or node.pod is None or node.pod.terminating or node.pod.uid != intent.pod_uid:
        return None
    return intent.node
