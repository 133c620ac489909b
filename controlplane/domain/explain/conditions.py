"""Condition types, and the reasons that no failed check stands behind."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_HEALTH = ("kfleet cluster health NAME", "kfleet cluster describe NAME")
_OPERATION = ("kfleet op show ID", "kfleet op watch ID")

CONDITIONS = (
    Entry(
        "Ready",
        (Sort.CONDITION,),
        "True: this generation of the spec is fully in effect and every node is up. False: the reason says what is "
        "missing, the message what to do.",
        "It goes on until this is True, and says so with the generation that it was true for.",
        "While it is False look at its reason: `kfleet explain REASON`.",
        ("kfleet status", *_HEALTH),
    ),
    Entry(
        "Available",
        (Sort.CONDITION,),
        "True: brokers answer, every partition has a leader and at least min.insync.replicas replicas in sync, so that "
        "acks=all writes succeed everywhere. It is about clients; a cluster that is being rolled stays available.",
        "A roll stops no node that would make this False.",
        "False while nothing is being rolled means that something broke: look at the nodes that are not ready.",
        _HEALTH,
    ),
    Entry(
        "RollingOut",
        (Sort.CONDITION,),
        "True: an operation is under way on the cluster; status.operation says which one, at which step, and what it "
        "waits for.",
        "One step at a time: what is about to be done is written down, done, observed.",
        "Nothing, or watch it. `kfleet op cancel` ends it after the step that is under way.",
        ("kfleet op list", *_OPERATION),
    ),
    Entry(
        "Blocked",
        (Sort.CONDITION, Sort.STEP, Sort.CLUSTER_STATE, Sort.OPERATION_STATE),
        "Something stands in the way, and nothing further is begun. Every check that failed is in the message; the "
        "reason is the first of them. It is a state and not a failure.",
        "It looks again at every pass (once a second while something is under way) and goes on by itself.",
        "Do what the message says; `kfleet explain REASON` has more about its reason.",
        (*_OPERATION, "kfleet cluster health NAME"),
    ),
    Entry(
        "Complete",
        (Sort.CONDITION,),
        "Of an object that asks for one operation: True once that has succeeded. It never becomes False again.",
        "Nothing further; the object is a record.",
        "`kubectl wait --for=condition=Complete` waits for it.",
        _OPERATION,
    ),
    Entry(
        "Failed",
        (Sort.CONDITION, Sort.OUTCOME, Sort.REASON),
        "Of a step: this attempt did not do it. Of an operation: it has ended without reaching its goal; as an outcome "
        "also that something of it stays.",
        "A step is tried again as often as its verb allows; then what was done is undone, the last one first, where "
        "it can be.",
        "The message says why; the journal says what stays. To try again make a new object, or change the spec.",
        ("kfleet op show ID",),
    ),
    Entry(
        "RolledBack",
        (Sort.CONDITION, Sort.REASON, Sort.OUTCOME, Sort.CLUSTER_STATE),
        "Of an operation: it could not reach its goal, and everything that it did was undone. Of a cluster: an "
        "upgrade brought a fault that was confined to upgraded nodes, so every node went back to the version before; "
        "as the reason of Ready=False, spec.version still asks for what was rolled back. status.rolledBack says what "
        "was seen.",
        "The cluster stays on the version before, of all other fields it follows the spec; the same plan is not tried "
        "again, by an operator that was started anew neither.",
        "Set spec.version to the version before. Or remove the cause and try again: with a spec that asks for "
        "something else, or the same with a new spec.rollout.retryToken.",
        ("kfleet cluster describe NAME", "kfleet op show ID", "kubectl explain kfc.status.rolledBack"),
    ),
    Entry(
        "Reconciling",
        (Sort.CONDITION,),
        "For tools that use kstatus (Argo CD, Flux): True while kfleet works towards the spec and nothing blocks it.",
        "It follows Ready and Blocked.",
        "Nothing; Ready and its reason say more.",
        ("kfleet cluster describe NAME",),
    ),
    Entry(
        "Stalled",
        (Sort.CONDITION,),
        "For tools that use kstatus (Argo CD, Flux): True when kfleet cannot go on without somebody's help. Its reason "
        "is that of Ready.",
        "It looks again at every pass and goes on by itself once the reason is gone.",
        "Do what the message says.",
        _HEALTH,
    ),
)

REASONS = (
    Entry(
        "VolumeGrowing",
        (Sort.CHECK,),
        "A PVC was asked to grow and has not got its size yet; the message has what its storage says.",
        "The claims of one node at a time; nothing restarts, and the cluster serves.",
        "Nothing. If it does not end, see the claim's Events: its storage driver may be unable to, or full.",
        ("kubectl describe pvc CLAIM",),
    ),
    Entry(
        "Planning",
        (Sort.REASON,),
        "Of an object that asks for one operation: its plan is being made.",
        "The plan is made from what is there, and shown before anything of it is done.",
        see=("kfleet op list",),
    ),
    Entry(
        "Undoing",
        (Sort.REASON,),
        "The operation goes back: steps that were done are being undone, the last one first.",
        "Neither pause nor cancel stops that.",
        "Nothing, or watch it.",
        _OPERATION,
    ),
    Entry(
        "AsDeclared",
        (Sort.REASON, Sort.EVENT, Sort.CHECK),
        "Reason of Ready=True: what was declared is what is there. As a check of `kfleet cluster health` it passes "
        "also while an operation is on its way there.",
        "It looks again from time to time (KFLEET_RESYNC_INTERVAL) and at every change.",
    ),
    Entry(
        "Serving",
        (Sort.REASON,),
        "Reason of Available=True: brokers answer, and every partition has a leader and enough replicas in sync.",
        "It stops no node that would change that.",
    ),
    Entry(
        "NoBrokerAnswers",
        (Sort.REASON,),
        "Reason of Available=False: no broker answers the operator on its replication listener (port 9091).",
        "Nothing is known about partitions then, so no broker that may still be serving is stopped. Nodes without a "
        "pod get one.",
        "On a new cluster wait for its first start. Otherwise read the brokers' logs; a network policy that keeps the "
        "operator's namespace from port 9091 looks the same.",
        ("kfleet cluster health NAME", "kubectl logs POD"),
    ),
    Entry(
        "PartitionsOffline",
        (Sort.REASON, Sort.CHECK),
        "Reason of Available=False: partitions have no leader, so that nobody can write to them or read them. As a "
        "check of an upgrade: they had one before it began.",
        "It restarts nodes that are down, and no unclean election: that would give up acknowledged records.",
        "Bring back the brokers that hold their last in-sync replicas: see which nodes are not ready and why.",
        ("kfleet cluster health NAME", "kfleet cluster snapshot NAME"),
    ),
    Entry(
        "UnderMinIsr",
        (Sort.REASON, Sort.CHECK),
        "Reason of Available=False: partitions have fewer replicas in sync than min.insync.replicas, so that acks=all "
        "writes to them are refused. Reads go on. As a check of an upgrade: they had enough before it began.",
        "No further node that holds one of them is stopped.",
        "Wait for the brokers that are catching up. If they do not, look at their disks and at replication traffic.",
        ("kfleet cluster health NAME", "kfleet cluster snapshot NAME"),
    ),
    Entry(
        "RollInProgress",
        (Sort.REASON,),
        "Reason of RollingOut=True, and of Ready=False meanwhile: a roll is under way and nothing blocks it.",
        "It restarts one node after the other, each only once the one before is back in sync.",
        "Nothing, or watch it.",
        _OPERATION,
    ),
    Entry(
        "NothingToRoll",
        (Sort.REASON,),
        "Reason of RollingOut=False: every pod was made from the spec as it stands, and features are at their levels.",
        "Nothing until the spec changes.",
    ),
    Entry(
        "NotRolledBack",
        (Sort.REASON,),
        "Reason of RolledBack=False: an upgrade was rolled back earlier, and the spec asks for something else since, "
        "or for another try.",
        "It follows the spec.",
    ),
    Entry(
        "Drainable",
        (Sort.CONDITION,),
        "False while something that no waiting mends keeps a machine from being drained: partitions that cannot lose a "
        "replica, a quorum of one or two controllers, or a node that has nowhere to go. It is there once that was the "
        "case.",
        "The PodDisruptionBudget spares nobody for UnprotectedPartitions and UnprotectedQuorum: `kubectl drain` is "
        "refused (429) for as long as they last. A single broker or controller is such a case.",
        "See the reason; `rollout.unprotectedPartitions: Accept` lets one node be evicted all the same.",
        ("kubectl explain kfc.spec.rollout.unprotectedPartitions", "kubectl get poddisruptionbudgets"),
    ),
    Entry(
        "OneNodeMayGo",
        (Sort.REASON,),
        "Reason of Drainable=True: nothing lasting keeps a machine from being drained.",
        "The PodDisruptionBudget spares one node while everything is in sync and nothing is under way.",
    ),
    Entry("NotBlocked", (Sort.REASON,), "Reason of Blocked=False: nothing stands in the way.", "It goes on."),
    Entry(
        "NodesStarting",
        (Sort.REASON,),
        "Reason of Ready=False: nodes have no pod yet, or their pod is not ready yet. The message counts them.",
        "It makes volumes, Services and pods, and waits until every pod is ready.",
        "Nothing for a minute or two. If it stays, see why the pods are not ready.",
        ("kfleet cluster health NAME", "kubectl describe pod POD"),
    ),
    Entry(
        "Registering",
        (Sort.REASON,),
        "Reason of Ready=False: every node is up, and not every one of them has registered with the cluster for the "
        "first time. bootstrapServers stays empty until then.",
        "It marks each volume as formatted once its node has registered.",
        "Nothing. If it stays, read the logs of the nodes whose claims lack the annotation kfleet.dev/formatted.",
        ("kubectl get pvc -o yaml", "kubectl logs POD"),
    ),
    Entry(
        "Applying",
        (Sort.REASON, Sort.CLUSTER_STATE, Sort.EVENT),
        "Reason of a cluster's Ready=False: every node is up, and something that disturbs nobody is still to be done. "
        "The message names the actions. Of a user's: Kafka was told and does not show all of it yet.",
        "It carries them out now.",
        "Nothing; `kfleet explain ACTION` says what each one is.",
    ),
    Entry(
        "ClusterNotFound",
        (Sort.REASON, Sort.EVENT, Sort.CHECK),
        "spec.clusterRef names a cluster that is not in the object's namespace, or spec.cells of a tenant one that is "
        "not there.",
        "It waits for a KafkaCluster of that name to appear.",
        "Correct the name (in a new object: clusterRef is immutable), or create the cluster there.",
        ("kfleet cluster get", "kubectl get kft"),
    ),
    Entry(
        "ClusterNotReady",
        (Sort.REASON, Sort.EVENT, Sort.CHECK),
        "Reason of a topic's, user's or tenant's Ready=False: its cluster, or the listener that a user needs, "
        "is not up yet, or no broker of it runs.",
        "It goes on as soon as the cluster answers.",
        "Nothing while the cluster comes up.",
        ("kfleet cluster health NAME",),
    ),
    Entry(
        "KafkaUnavailable",
        (Sort.REASON, Sort.EVENT, Sort.CHECK),
        "Reason of a topic's, user's or tenant's Ready=False: its cluster did not answer, or not in time. What is "
        "known stays in the status.",
        "It tries again every second.",
        "See whether the cluster is healthy.",
        ("kfleet cluster health NAME",),
    ),
    Entry(
        "WaitingForBrokers",
        (Sort.REASON, Sort.EVENT, Sort.CHECK),
        "Reason of a topic's Ready=False: fewer brokers are up than it has replicas, or, of a tenant's topic, fewer of "
        "its shard. As many are declared, so this passes.",
        "It tries again every second.",
        "Nothing while brokers start; otherwise see which are down.",
        ("kfleet cluster health NAME",),
    ),
    Entry(
        "KafkaRefused",
        (Sort.REASON, Sort.EVENT),
        "Reason of a topic's or a user's Ready=False: Kafka refused a part of what is declared; the message has its "
        "words and its error code.",
        "It tries again at every pass; other objects are not held up.",
        "Correct what the message names.",
        ("kubectl describe kft TOPIC", "kfleet user describe NAME"),
    ),
    Entry(
        "Creating",
        (Sort.REASON, Sort.EVENT),
        "Reason of a topic's Ready=False: Kafka has taken it and does not list it yet.",
        "It looks again.",
    ),
)
