"""What a roll waits for, the steps it takes, and why it restarts a node."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_STEP = (Sort.STEP,)
_ACTION = (Sort.ACTION,)
_HEALTH = ("kfleet cluster health NAME",)
_LOGS = (*_HEALTH, "kubectl logs POD")
_WATCH = ("kfleet op watch ID",)
_WAITS = "The roll waits and looks again; no further node is stopped."

HEALTH = (
    Entry("NodeMissing", _CHECK, "A node has no pod.", "Its pod is created in this pass.", "Nothing.", _HEALTH),
    Entry(
        "NodeStopping",
        _CHECK,
        "A node's pod is being stopped: Kafka hands over its leaders and closes its log (controlled shutdown).",
        "It waits until the pod is gone, then starts its successor.",
        "Nothing. If it does not end, its Kubernetes node may be lost: remove that node, or delete the pod by force.",
        (*_HEALTH, "kubectl get nodes"),
    ),
    Entry(
        "NodeNotReady",
        _CHECK,
        "A node's pod is there and not ready; the message has what Kubernetes says about it.",
        "No other node is stopped meanwhile. If the spec has changed since, this node gets the new spec first.",
        "Read its logs. A corrected spec reaches this node before all others.",
        (*_LOGS, "kubectl describe pod POD"),
    ),
    Entry(
        "BrokerNotRegistered",
        _CHECK,
        "A broker's pod is ready, and the cluster does not list it among its live brokers.",
        _WAITS,
        "Read its logs: it may be fenced, or not reach the controllers.",
        _LOGS,
    ),
    Entry(
        "ReplicasOutOfSync",
        _CHECK,
        "A node that was restarted is catching up: replicas that were in sync before are not yet.",
        _WAITS,
        "Nothing. If the number does not fall, look at that broker's disks and at replication traffic.",
        _HEALTH,
    ),
    Entry(
        "NotAVoter",
        _CHECK,
        "A controller runs and is not among the voters of the metadata quorum.",
        _WAITS,
        "Find out who removed it; add it again (kafka-metadata-quorum.sh add-controller).",
        _LOGS,
    ),
    Entry(
        "VoterBehind",
        _CHECK,
        "A controller has not caught up with the metadata log.",
        _WAITS,
        "Nothing. If it does not end, read its logs.",
        _LOGS,
    ),
    Entry(
        "ClusterUnreachable",
        _CHECK,
        "No broker answers the operator, so nothing is known about partitions and who may be stopped.",
        "Brokers that may be serving are left alone. Nodes without a pod get one; when every broker is down they get "
        "the new spec.",
        "Read the brokers' logs. A pod deleted by hand comes back with the new spec.",
        _LOGS,
    ),
    Entry(
        "QuorumUnknown",
        _CHECK,
        "The metadata quorum cannot be described, so it is not known which controllers have caught up.",
        "Controllers that are ready are left alone.",
        "Read the controllers' logs. A pod deleted by hand comes back with the new spec.",
        _LOGS,
    ),
)

GATES = (
    Entry(
        "VolumesWaitForReplicas",
        _CHECK,
        "A volume was added to nodes that exist, and some partition has a replica out of sync.",
        "No node is restarted for it until every replica is in sync; a node that is not up gets its spec at any time.",
        "Wait until they are back; if they do not come back, see the brokers' disks.",
        _HEALTH,
    ),
    Entry(
        "VolumeOnCordonedMachine",
        _CHECK,
        "A node's volume can be reached on one machine only, and that one is cordoned. Its pod waits for that machine, "
        "or runs on it and would have to.",
        "A node that runs is not stopped, and no roll that would restart it stops another one; `kubectl drain` may "
        "evict it while all nodes are in sync. While one waits no other node is stopped or may be evicted.",
        "`kubectl uncordon` the machine when the work on it is done.",
        ("kubectl get nodes", "kubectl describe pod POD"),
    ),
    Entry(
        "NoMachineLeft",
        _CHECK,
        "A node's pod is on a cordoned machine or waits for one, and no other machine is seen to take it: those of its "
        "zone, or those that its volumes can be reached from, are all cordoned or tainted.",
        "As for VolumeOnCordonedMachine: it is not stopped, and while a pod waits nobody else is.",
        "Uncordon one of the machines named, or add one that takes it.",
        ("kubectl get nodes", "kubectl describe pod POD"),
    ),
    Entry(
        "VolumeNotBound",
        _CHECK,
        "A volume was added to nodes that exist, and its claim is not bound although nothing has to wait for a pod: "
        "its StorageClass is not there, or makes volumes at once and has not made this one.",
        "No node that is up is stopped for it.",
        "See the claim's Events. A class that is misspelt: take the volume out of the spec, delete its claims, declare "
        "it again.",
        ("kubectl describe pvc CLAIM", "kubectl get storageclasses"),
    ),
    Entry(
        "NodesLeaving",
        _CHECK,
        "Another Kafka version is declared, and nodes that are to leave have not left.",
        "No node that is up is restarted on the new version, and no level is made final: those that leave would stay "
        "on the old one.",
        "See what keeps them (`kfleet explain BrokersDraining`). If their leaving was cancelled, or the upgrade has "
        "begun, set spec.nodePools back to the replicas that there are.",
        ("kfleet cluster describe NAME", "kfleet op watch ID"),
    ),
    Entry(
        "DrainCancelled",
        _CHECK,
        "A node would leave a cordoned machine by a restart, and a roll of the same spec was cancelled. A drain is in "
        "no plan: it is done by whatever roll there is, so it counts as the one that was cancelled.",
        "The node is not stopped. The drain gate stays open while all nodes are in sync.",
        "`kfleet op resume` the operation, or let `kubectl drain` evict the pod.",
        ("kfleet op list", "kubectl get nodes"),
    ),
    Entry(
        "VolumeUnreadable",
        _CHECK,
        "A node's machine is cordoned, and the operator cannot read its PersistentVolume, so it is not known whether "
        "the node could come back elsewhere.",
        "The volume is taken to be tied to the machine: the node is not stopped.",
        "Grant `get` on persistentvolumes (they are cluster-wide), or let `kubectl drain` evict the pod.",
        ("kubectl auth can-i get persistentvolumes",),
    ),
    Entry(
        "WouldStopWrites",
        _CHECK,
        "Stopping the next node now would leave partitions with fewer in-sync replicas than acks=all writes need.",
        _WAITS,
        "Wait until the other replicas of the partitions named are in sync; if they do not catch up, see those "
        "brokers.",
        (*_HEALTH, "kfleet cluster snapshot NAME"),
    ),
    Entry(
        "WouldLoseQuorum",
        _CHECK,
        "Stopping the next controller now would leave the quorum without a majority that is up and caught up.",
        _WAITS,
        "Wait until the other controllers have caught up; if they do not, read their logs.",
        _LOGS,
    ),
    Entry(
        "UnprotectedPartitions",
        _CHECK,
        "Partitions whose replication factor does not exceed min.insync.replicas: they refuse acks=all writes while "
        "any of their replicas is down, so no restart can spare them.",
        "With rollout.unprotectedPartitions: Block (the default) nothing is stopped. With Accept they are named and "
        "their writes pause during a restart. With MoveAway their replicas are moved off each batch first, and this is "
        "said of those that have a replica on every broker, so that there is nowhere to move one to.",
        "Raise their replication factor, lower their min.insync.replicas, accept the pause, or have them moved away.",
        ("kubectl explain kfc.spec.rollout.unprotectedPartitions", "kfleet cluster snapshot NAME"),
    ),
    Entry(
        "UnprotectedQuorum",
        _CHECK,
        "A quorum of one or two controllers has no majority while one of them restarts.",
        "With rollout.unprotectedPartitions: Block (the default) none is stopped; with Accept the pause is taken.",
        "Run three controllers, or accept the pause.",
        ("kubectl explain kfc.spec.rollout.unprotectedPartitions",),
    ),
    Entry(
        "ReassignmentInFlight",
        _CHECK,
        "Partitions are being moved between brokers. A restart in the middle of that makes it longer and hides what "
        "went wrong.",
        _WAITS,
        "Wait until it is complete, or cancel it (kafka-reassign-partitions.sh --cancel).",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "NodeOutOfSync",
        _CHECK,
        "So many replicas of the next node are out of sync that it could not be told afterwards whether the restart "
        "did harm.",
        _WAITS,
        "Wait until it has caught up; if it does not, look at its disks.",
        _HEALTH,
    ),
    Entry(
        "UpgradeFault",
        _CHECK,
        "Something has been wrong with an upgrade for spec.rollout.faultAfter (a crash of an upgraded node: for 1m). "
        "The message says what, since when, and why it is not rolled back: the fault is not confined to upgraded "
        "nodes, there is no way back, or spec.rollout.onFault is Hold.",
        "No further node that is up is stopped and nothing is finalised. A node that is not up gets a corrected spec "
        "at once.",
        "Remove the cause: it goes on by itself. Setting spec.version back rolls everything back where that is "
        "possible.",
        (*_LOGS, "kubectl explain kfc.spec.rollout.onFault"),
    ),
    Entry(
        "NodeCrashes",
        _CHECK,
        "A node's pod was restarted three times or more since it was made for the new version, even if it is up now.",
        "It is a fault of the upgrade once it is restarted again within faultAfter; else it is forgiven.",
        "Read the logs of its last start.",
        ("kubectl logs POD --previous",),
    ),
    Entry(
        "LearningClientLevel",
        _CHECK,
        "Before the first node of an upgrade is stopped, what clients feel now is measured: that is what they are "
        "compared with during the upgrade.",
        "The upgrade begins by itself, after one minute at the latest (KFLEET_LEARN_SECONDS, KFLEET_LEARN_LONGEST); "
        "without a level nothing is compared. A node that is not up is not held.",
        "Nothing.",
        _WATCH,
    ),
)

STEPS = (
    Entry(
        "Pending",
        (Sort.STEP, Sort.STATE),
        "Step: nothing was begun yet. Node: its pod has no place to run yet.",
        "It waits for the scheduler, or for the first observation.",
        "If a pod stays pending, see why no Kubernetes node takes it.",
        ("kubectl describe pod POD",),
    ),
    Entry(
        "Stopping",
        (Sort.STEP, Sort.STATE),
        "A node is being stopped for a restart: its pod is deleted, Kafka hands over its leaders and closes its log.",
        "The pod is deleted with its uid as precondition, so that never a newer one is hit.",
        "Nothing; clients of that broker go on with the other replicas.",
        _WATCH,
    ),
    Entry(
        "Starting",
        (Sort.STEP, Sort.STATE),
        "A node's pod is being made, or is there and not ready yet.",
        "The pod is made from the spec as it stands.",
        "Nothing for a minute; then read its logs.",
        _LOGS,
    ),
    Entry(
        "Awaiting",
        _STEP,
        "A restarted node is not back yet; the step's checks say what is missing.",
        "It waits until the node is in sync with everything that it was in sync with before.",
        "Nothing; look at the checks if it takes long.",
        _WATCH,
    ),
    Entry(
        "Electing",
        _STEP,
        "Leaders go back to their preferred replicas on a node that has been restarted.",
        "Preferred election (KIP-460), at most 500 partitions at a time; safe to repeat.",
    ),
    Entry(
        "Soaking",
        _STEP,
        "Every node is back on the new version; spec.rollout.soak passes before metadata.version is finalised. Until "
        "then setting spec.version back rolls everything back.",
        "It waits, and starts over if a node has to be restarted meanwhile or a check of the upgrade fails.",
        "Look at your metrics. Set spec.version back if you do not like them.",
        _WATCH,
    ),
    Entry(
        "Finalising",
        _STEP,
        "metadata.version is raised to the new release's level (or to spec.metadataVersion). If that level changed "
        "the metadata format there is no way back afterwards.",
        "Only this feature is raised, explicitly and once; others (kraft.version, eligible leader replicas) never.",
    ),
    Entry(
        "RestartNode",
        _STEP,
        "In a plan: this node is restarted, with everything that belongs to it (stop, start, wait, leaders back).",
        "In the order of the plan if nothing surprises it; each step is planned anew from what is seen then.",
        see=("kfleet cluster plan NAME",),
    ),
    Entry(
        "RestartBatch",
        _STEP,
        "In a plan: these brokers of one rack are restarted together; no partition falls below its min ISR with all of "
        "them down.",
        "One is stopped after the other without waiting for each other, each only if that still holds; if one of them "
        "shows a symptom the others wait.",
        "Nothing. spec.rollout.maxUnavailable bounds its size.",
        ("kfleet cluster plan NAME", "kubectl explain kfc.spec.rollout.maxUnavailable"),
    ),
    Entry(
        "Soak",
        _STEP,
        "In a plan: spec.rollout.soak passes with every node back before features are finalised.",
        "See Soaking.",
        see=("kfleet explain Soaking",),
    ),
    Entry(
        "FinaliseFeatures",
        _STEP,
        "In a plan: metadata.version is raised. There is no way back to the old version afterwards if the metadata "
        "format changes.",
        "See Finalising.",
        see=("kfleet explain Finalising",),
    ),
    Entry("Done", (Sort.STEP, Sort.OUTCOME), "The step was taken and its effect was seen.", "The next step follows."),
)

CAUSES = (
    Entry(
        "VersionChanged",
        (Sort.CAUSE,),
        "A node is restarted because its pod runs another Kafka version than declared.",
        "Controllers first, the active one last, then brokers; on the way back brokers first.",
    ),
    Entry(
        "ConfigChanged",
        (Sort.CAUSE,),
        "A node is restarted because it was started with other settings (spec.config that Kafka cannot change live, "
        "listeners) than are declared now; also where it is not known any more what it was started with.",
        "One node at a time, or in batches of one rack where spec.rollout.maxUnavailable allows it.",
    ),
    Entry(
        "VolumesChanged",
        (Sort.CAUSE,),
        "A node is restarted because a volume was declared that it does not have yet.",
        "The PVC is made at once; the node gets it as another log dir when it is restarted. Only the new log dir is "
        "formatted.",
    ),
    Entry(
        "ResourcesChanged",
        (Sort.CAUSE,),
        "A node is restarted because other CPU or memory is declared than its pod has.",
        "With all its other reasons in one restart.",
    ),
    Entry(
        "JvmChanged",
        (Sort.CAUSE,),
        "A node is restarted because another Java heap is declared than it was started with.",
        "With all its other reasons in one restart.",
    ),
    Entry(
        "PodTemplateChanged",
        (Sort.CAUSE,),
        "A node is restarted because the operator makes pods in another way now: image prefix, grace period, probe, "
        "addressing, scheduling.",
        "With all its other reasons in one restart.",
    ),
    Entry(
        "CertificateChanged",
        (Sort.CAUSE,),
        "A node is restarted because its certificates changed since it was started, and it cannot take them without.",
        "Once for each change.",
    ),
    Entry(
        "Drain",
        (Sort.CAUSE,),
        "A node is restarted because the machine that its pod runs on is cordoned; its volumes can be reached from "
        "another one.",
        "Like any other restart, under all gates of a roll; `kubectl drain` is refused meanwhile and asks again.",
        see=("kubectl get nodes", "kfleet explain VolumeOnCordonedMachine"),
    ),
)

ACTIONS = (
    Entry(
        "CreateVolume",
        _ACTION,
        "A PVC of a node is made, with its identity marked on it before any pod may use it.",
        "Done once; an existing claim is never replaced.",
    ),
    Entry(
        "GrowVolume",
        _ACTION,
        "A PVC is asked to grow to the size that is declared.",
        "One node after the other, without a restart; never smaller.",
        see=("kfleet explain VolumeGrowing",),
    ),
    Entry("ApplyService", _ACTION, "A Service of the cluster is made or corrected.", "Server-side apply."),
    Entry(
        "ApplyPeers",
        _ACTION,
        "The list of the first controllers is published, for their first start.",
        "Once, when every one of them has an address; it never changes afterwards.",
    ),
    Entry(
        "ApplyDisruptionBudget",
        _ACTION,
        "The PodDisruptionBudget is set: it lets a drain take one node while "
        "everything is in sync, and none otherwise.",
        "It follows every observation.",
    ),
    Entry(
        "MarkFormatted",
        _ACTION,
        "The claim of a node that has registered gets the mark that its log dir was "
        "formatted (annotation kfleet.dev/formatted).",
        "From then on an empty volume there is DiskLost, never formatted again.",
        see=("kfleet explain DiskLost",),
    ),
    Entry("StartPod", _ACTION, "A node's pod is made, after its ConfigMap.", "From the spec as it stands."),
    Entry(
        "RemoveEndedPod",
        _ACTION,
        "A pod that ended for good (evicted, or its Kubernetes node was shut down) makes way for its successor.",
        "Deleted with its uid as precondition; its volume stays.",
    ),
    Entry(
        "AlterClusterConfig",
        _ACTION,
        "Settings that Kafka changes live are set cluster-wide, or reset when they are no longer declared.",
        "Only settings that kfleet set are ever reset; nothing restarts.",
    ),
    Entry(
        "StopNode",
        _ACTION,
        "A roll deletes a node's pod, to make it anew from the spec.",
        "With the pod's uid as precondition.",
        see=("kfleet explain Stopping",),
    ),
    Entry(
        "ElectLeaders",
        (*_ACTION, Sort.STEP),
        "A roll, or the end of a rebalance, asks Kafka to give leadership to preferred replicas.",
        "Safe to repeat.",
        see=("kfleet explain Electing",),
    ),
    Entry("Finalise", _ACTION, "A roll raises metadata.version.", "Never lowered.", see=("kfleet explain Finalising",)),
)
