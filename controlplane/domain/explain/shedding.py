"""What load shedding says: the levels of its ladder, in the condition LoadShedding and in Events."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_LEVEL = (Sort.REASON, Sort.EVENT)
_SEE = ("kubectl get kfc NAME -o jsonpath='{.status.loadShedding}'", "kubectl get kften")
_RELEASED = "One level is left whenever the cluster has been relaxed for spec.loadShedding.releaseAfter."

SHEDDING = (
    Entry(
        "LoadShedding",
        (Sort.CONDITION,),
        "Of a KafkaCluster with spec.loadShedding.mode Enabled: True while anything is shed because brokers are "
        "saturated. Its reason says how far it has come.",
        "Brokers are asked every few seconds how long a small request waits. Level by level, rebalances are paused, "
        "Bulk tenants tightened, then Standard ones; never Critical ones.",
        "Find out which clients ask for so much, and give the cluster brokers.",
        _SEE,
    ),
    Entry(
        "NotSaturated",
        (Sort.REASON,),
        "Requests wait on no broker for long enough: nothing is shed.",
        "It goes on looking.",
    ),
    Entry(
        "RebalancesPaused",
        _LEVEL,
        "Level 1: a broker has been saturated for spec.loadShedding.raiseAfter.",
        "A KafkaRebalance finishes the batch that it is at and begins no other (BrokersSaturated). " + _RELEASED,
        "Look at status.loadShedding.saturation for the brokers, and at who leads partitions there.",
        _SEE,
    ),
    Entry(
        "BulkTightened",
        _LEVEL,
        "Level 2: a broker stayed saturated although rebalances are paused.",
        "Users of tenants of priority Bulk get spec.loadShedding.tightenToPercent of their quotas, of the request "
        "handlers' time in any case. " + _RELEASED,
        "Look at what the Bulk tenants do. Their quotas come back by themselves, exactly as they were.",
        _SEE,
    ),
    Entry(
        "StandardTightened",
        _LEVEL,
        "Level 3: a broker stayed saturated although Bulk tenants are tightened.",
        "Users of tenants of priority Standard are tightened as well. There is no further level: Critical tenants, and "
        "users without a tenant, keep theirs. " + _RELEASED,
        "The load is that of Critical tenants or of users without one, or the brokers are too few or ill.",
        _SEE,
    ),
    Entry(
        "LoadReleased",
        (Sort.EVENT,),
        "The cluster has been relaxed for spec.loadShedding.releaseAfter, or load is not shed there any more.",
        "What the level shed is given back: rebalances go on, and quotas are what they were.",
    ),
    Entry(
        "BrokersSaturated",
        (Sort.CHECK,),
        "The KafkaRebalance's cluster sheds load: its brokers have more requests than they can serve.",
        "No batch is begun; the one under way is finished. It goes on by itself.",
        "Wait, or lower the load.",
        ("kfleet explain RebalancesPaused",),
    ),
)
