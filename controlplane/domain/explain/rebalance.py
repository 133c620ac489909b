"""What a rebalance says: its conditions, why there is no plan, what it waits for, its steps."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_STEP = (Sort.STEP,)
_REASON = (Sort.REASON,)
_LOOK = ("kubectl get kfr", "kfleet op show NAME")
_NOT_PLANNED = "There is no plan, and nothing is moved. It looks again every half minute."

REBALANCE_CONDITIONS = (
    Entry(
        "Proposed",
        (Sort.CONDITION,),
        "Of a KafkaRebalance: True once there is a plan; status.proposal says what it costs.",
        "The plan is kept as it is: those steps are carried out or none.",
        "While it is False its reason says why there is no plan.",
        _LOOK,
    ),
    Entry(
        "Approved",
        (Sort.CONDITION,),
        "Of a KafkaRebalance: True once the plan may begin: it was approved, or spec.approval asks for nobody.",
        "Nothing is moved before.",
        "Have somebody other than who asked for it look at the plan.",
        ("kfleet pending", "kfleet approve NAME"),
    ),
    Entry(
        "PlanMade", _REASON, "There is a plan; the message says what it costs.", "It waits for its approval.", see=_LOOK
    ),
    Entry("PlanApproved", _REASON, "Somebody has approved this very plan.", "It is carried out."),
    Entry(
        "ApprovalNotRequired",
        _REASON,
        "spec.approval is NotRequired.",
        "The plan is carried out as soon as it is made.",
    ),
)

REBALANCE_CHECKS = (
    Entry(
        "GoalInfeasible",
        _CHECK,
        "No assignment of replicas meets the goal: too few brokers or racks, or too little room. The message says what "
        "is missing and by how much.",
        _NOT_PLANNED,
        "Ask for another goal, or change what stands in the way. A spec never changes: make another object.",
    ),
    Entry(
        "PlanningFailed",
        (Sort.CHECK, Sort.EVENT),
        "The process that makes the plan, of a rebalance or of a cell's tenants, ended without an answer, or took "
        "longer than KFLEET_PLANNING_TIMEOUT.",
        f"{_NOT_PLANNED} Shards that are in effect stay so.",
        "Look at the operator's memory, or ask for less at once.",
    ),
    Entry(
        "ApprovalNeeded",
        _CHECK,
        "The KafkaRebalance says NotRequired, and its cluster requires approvals (spec.rollout.approval).",
        _NOT_PLANNED,
        "Make another object with spec.approval: Required.",
    ),
    Entry(
        "BrokersLeaving",
        _CHECK,
        "The cluster is to have fewer nodes, and this goal might give replicas to one that is to go.",
        _NOT_PLANNED,
        "Drain the brokers named first. A ChangeReplicas is planned before they leave only while they cannot "
        "(ScaleDownRefused): fewer replicas may be what they wait for.",
    ),
    Entry(
        "CapacityShort",
        _CHECK,
        "A broker has no room for the replicas that it would get at the same time: until they have arrived it also "
        "holds all that it is to give up. The message says by how much.",
        "Nothing is begun that does not fit. It is looked at again, and goes on by itself.",
        "Give the broker a larger disk, shorten retention, or allow fewer moves at the same time.",
    ),
    Entry(
        "CellWanted",
        _CHECK,
        "The cluster itself has an operation that waits for the cell, such as a roll.",
        "Between two batches the rebalance lets it go first, with nothing throttled or on its way.",
        see=("kfleet op list",),
    ),
)

REBALANCE_STEPS = (
    Entry(
        "SetThrottle",
        _STEP,
        "Replication of what the next batch moves is throttled: a rate on all brokers, the replicas on their topics.",
        "What others have set there stays.",
    ),
    Entry(
        "MoveReplicas",
        _STEP,
        "A batch of partitions is reassigned, one replica of each, and waited for.",
        "Cancelled, it is moved back.",
        see=("kfleet op watch NAME",),
    ),
    Entry(
        "LiftThrottle",
        _STEP,
        "The throttle of the batch is taken away, and nobody else's.",
        "Neither a pause nor a roll holds it up.",
    ),
    Entry(
        "RestoreThrottle",
        _STEP,
        "The throttle of a batch is set again, for its way back.",
        "It is lifted when that is over.",
    ),
    Entry(
        "MoveBack",
        _STEP,
        "What a batch moved goes back: what is on its way is cancelled, and the leaders of before lead again.",
        "It is tried for as long as it takes; what somebody else has moved elsewhere meanwhile is left there.",
        see=("kfleet op watch NAME",),
    ),
    Entry(
        "OrderReplicas",
        _STEP,
        "Replicas of partitions get another order, and so another preferred leader.",
        "No data moves.",
    ),
)
