"""What a roll under MoveAway says while replicas that partitions cannot spare are moved off the next brokers."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK, _ACTION, _STEP = (Sort.CHECK,), (Sort.ACTION,), (Sort.STEP,)
_LOOK = ("kubectl get kfr", "kfleet op watch ID")
_POLICY = "kubectl explain kfc.spec.rollout.unprotectedPartitions"

AWAY = (
    Entry(
        "MovingAway",
        _CHECK,
        "Brokers that are to be restarted next have replicas that their partitions cannot spare (replication factor "
        "not above min.insync.replicas), and rollout.unprotectedPartitions is MoveAway.",
        "A KafkaRebalance with goal MoveAway moves them to other brokers; the roll leaves the cell to it and goes on "
        "once they are gone. It is made once for each batch that needs it.",
        "Nothing. The message names the KafkaRebalance and what that waits for.",
        (*_LOOK, _POLICY),
    ),
    Entry(
        "MoveAwaitsApproval",
        _CHECK,
        "The KafkaRebalance that is to move replicas off the brokers that are next waits for an approval: the cluster "
        "requires them (rollout.approval), and whatever moves its data needs one of its own.",
        "The roll waits. What it asked for does not change meanwhile; it goes once the roll has no use for it.",
        "Approve or deny that KafkaRebalance. Denied, it is not asked for again by this roll.",
        ("kfleet approve kafkarebalance/NAME", *_LOOK),
    ),
    Entry(
        "MoveAwayImpossible",
        _CHECK,
        "There is no plan for moving replicas off the brokers that are next: too few others may have them (a tenant's "
        "shard is as small as its replication factor), or they have no room.",
        "No broker of that batch is stopped. The KafkaRebalance plans again by itself and goes on when there is a way.",
        "Change what the message names: add brokers, enlarge a shard, lower rollout.maxUnavailable or a replication "
        "factor, or set rollout.unprotectedPartitions to Accept.",
        (*_LOOK, _POLICY),
    ),
    Entry(
        "MoveAwayFailed",
        _CHECK,
        "The KafkaRebalance that was to move replicas off the brokers that are next was denied or cancelled, or failed "
        "three times.",
        "No broker of that batch is stopped, and this roll does not ask again.",
        "Delete that KafkaRebalance to have it asked for once more, or raise the replication factor of the partitions "
        "named, or set rollout.unprotectedPartitions to Accept. Another spec is another roll, and asks anew.",
        (*_LOOK, _POLICY),
    ),
    Entry(
        "MoveAwayRefused",
        _CHECK,
        "The API server did not let the operator create the KafkaRebalance that is to move replicas off the brokers "
        "that are next; the message has its words.",
        "The roll waits, and it is tried again.",
        "See what refuses it: an object of that name that is somebody else's, an admission policy, a quota.",
        _LOOK,
    ),
)

AWAY_STEPS = (
    Entry(
        "MoveAway",
        _STEP,
        "In a roll's plan: replicas that their partitions cannot spare are moved off brokers that are then restarted.",
        "A KafkaRebalance does it, throttled and resumable, with its own approval where the cluster requires "
        "approvals. The replicas stay where they were moved.",
        see=(_POLICY,),
    ),
)

AWAY_ACTIONS = (
    Entry(
        "RequestMove",
        _ACTION,
        "A KafkaRebalance is made: with goal MoveAway for brokers that are to be restarted next, with goal Drain for "
        "brokers that are to leave.",
        "Its name follows from what it is for, so that there is never a second one.",
        see=("kfleet explain MovingAway", "kfleet explain BrokersDraining"),
    ),
    Entry(
        "DropMove",
        _ACTION,
        "A KafkaRebalance that the cluster has asked for is deleted: it has moved nothing and nobody has a use for it "
        "any more, or it is over and newer ones are.",
        "One that has begun is never deleted. The ledger keeps the operation.",
    ),
)
