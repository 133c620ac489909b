"""What `kfleet status` and `kfleet cluster health` say about a whole cluster."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_STATE = (Sort.CLUSTER_STATE,)
_HEALTH = ("kfleet cluster health NAME",)
_ONLY_LOOKS = "It only looks: this is asked by the command line."

HEALTH_CHECKS = (
    Entry(
        "OperatorAlive",
        _CHECK,
        "Whether an operator has renewed its Lease within the last minute. Without one every status is old news.",
        _ONLY_LOOKS,
        "See the operator's pod and its log. Until it is back, `--local` does its work for one cluster from here.",
        ("kubectl -n kfleet get pods", "kubectl -n kfleet logs deploy/kfleet-operator", "kfleet op watch ID --local"),
    ),
    Entry(
        "GenerationObserved",
        _CHECK,
        "Whether the operator has looked at the spec as it stands.",
        _ONLY_LOOKS,
        "Wait a moment; if it does not pass, see whether the operator is alive.",
        ("kfleet cluster reconcile NAME",),
    ),
    Entry(
        "NodesRunning",
        _CHECK,
        "Whether every node is up; nodes that a roll is restarting now are expected to be down.",
        _ONLY_LOOKS,
        "Read the logs of the nodes named; `kfleet explain STATE` says more about a node's state.",
        ("kubectl logs POD",),
    ),
    Entry(
        "PartitionsServe",
        _CHECK,
        "Whether every partition has a leader and enough in-sync replicas for acks=all writes.",
        _ONLY_LOOKS,
        "Bring the nodes back that hold the replicas named.",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "ReplicasInSync",
        _CHECK,
        "Whether every replica is in sync, less those of nodes that a roll is restarting now.",
        _ONLY_LOOKS,
        "Wait; if the number does not fall, look at those brokers' disks and at replication traffic.",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "QuorumCaughtUp",
        _CHECK,
        "Whether the metadata quorum has a leader and every controller has caught up with its log.",
        _ONLY_LOOKS,
        "Read the logs of the controllers named.",
        ("kubectl logs POD",),
    ),
    Entry(
        "NothingBlocked",
        _CHECK,
        "Whether condition Blocked is False. A wait that somebody wants (a pause, an approval to come) is no illness.",
        _ONLY_LOOKS,
        "`kfleet explain REASON` says more about the reason named.",
    ),
)

CLUSTER_STATES = (
    Entry(
        "Unavailable",
        _STATE,
        "Brokers do not answer, or partitions have no leader or too few in-sync replicas: clients are harmed.",
        "It starts nodes that are missing and stops none.",
        "See which checks fail.",
        _HEALTH,
    ),
    Entry(
        "Degraded",
        _STATE,
        "Clients are served, and a node is down or cannot come up.",
        "It starts nodes that are missing, and stops no other one meanwhile.",
        "See which node it is and why.",
        _HEALTH,
    ),
    Entry(
        "Unreported",
        _STATE,
        "Nobody keeps the status up to date: no operator has looked at it, or this version cannot read what it wrote.",
        "Nothing: there is no operator that looks after it.",
        "See whether the operator runs, and whether it watches this namespace.",
        ("kfleet cluster health NAME", "kubectl -n kfleet get pods"),
    ),
    Entry("Deleting", _STATE, "The object is being deleted.", "Its pods go, its claims stay."),
    Entry(
        "Forming",
        _STATE,
        "The cluster comes up for the first time.",
        "It makes volumes, Services and pods, and waits until every node has registered.",
        "Nothing for a minute or two.",
        ("kfleet cluster health NAME --watch --exit-when-healthy",),
    ),
    Entry(
        "Rolling",
        _STATE,
        "A roll is under way and nothing is wrong.",
        "One node after the other.",
        see=("kfleet op list", "kfleet op watch ID"),
    ),
    Entry("Healthy", _STATE, "As declared, every node up.", "It looks again from time to time."),
    Entry(
        "NotObserved",
        (Sort.REASON,),
        "The operator has not looked at the spec as it stands, or never at this cluster.",
        "It looks within seconds, if it runs.",
        "If it stays, see whether the operator is alive.",
        _HEALTH,
    ),
    Entry(
        "InvalidStatus",
        (Sort.REASON,),
        "The object's status cannot be read by this version of kfleet: it was written by another one, or by hand.",
        "The command line shows what else it can.",
        "Use the command line of the operator's version.",
        ("kfleet version",),
    ),
)

OPERATION_STATES = (
    Entry(
        "EndNotRecorded",
        (Sort.OPERATION_STATE,),
        "The ledger knows that the operation began and not how it ended, and its object no longer carries it: the "
        "object was deleted, or the end has not been delivered yet.",
        "Nothing of it goes on. What is still to be delivered is delivered when the ledger answers.",
        see=("kfleet audit list",),
    ),
    Entry(
        "UnderWay",
        (Sort.OPERATION_STATE, Sort.REASON),
        "The operation moves, or waits for something that passes by itself.",
        "Step after step.",
        see=("kfleet op watch ID",),
    ),
    Entry(
        "Waiting",
        (Sort.OPERATION_STATE,),
        "The operation waits because somebody wants it to (paused, cancelled) or because another one has the cell.",
        "It goes on when that is over.",
        see=("kfleet op show ID",),
    ),
)
