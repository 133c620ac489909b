"""What a change of members waits for, and the steps it takes."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK, _STEP, _EVENT = (Sort.CHECK,), (Sort.STEP,), (Sort.EVENT,)
_HEALTH = ("kfleet cluster health NAME",)
_LOGS = (*_HEALTH, "kubectl logs POD")
_WATCH = ("kfleet op watch ID",)
_DRAIN = ("kubectl get kfr", *_WATCH)
_WAITS = "The change waits and looks again; nobody joins or leaves meanwhile."

MEMBER_CHECKS = (
    Entry(
        "StaticQuorum",
        _CHECK,
        "kraft.version is 0: the voters stand in the configuration of every node, and Kafka cannot change them.",
        _WAITS,
        "Keep the number of controllers and their disks as they were.",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "LastVoter",
        _CHECK,
        "The controller whose disk is lost, or that shall leave, is the only voter: the cluster's metadata is nowhere "
        "else.",
        "Nothing is done to it.",
        "Restore its disk from a backup; without it there is no cluster.",
        _HEALTH,
    ),
    Entry(
        "VoterJoining",
        _CHECK,
        "A new controller follows the metadata log and has not caught up with it.",
        "It is made a voter once it has; until then it counts for nothing in the quorum.",
        "Nothing. If it does not end, read its logs.",
        _LOGS,
    ),
    Entry(
        "NodeFormatting",
        _CHECK,
        "A node that was given an empty disk is not formatted and registered yet.",
        "It waits until the node has registered under its id.",
        "Nothing. If it does not end, read the logs of its init container.",
        _LOGS,
    ),
    Entry(
        "BrokerNotEmpty",
        _CHECK,
        "A broker that shall leave has replicas.",
        _WAITS,
        "Nothing: once nothing else holds the change, a KafkaRebalance with goal Drain moves them to other brokers.",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "BrokersDraining",
        _CHECK,
        "A pool declares fewer replicas than it has nodes, and brokers that shall leave have replicas.",
        "A KafkaRebalance with goal Drain moves them to the brokers that stay: one that the operator makes for this, "
        "or one that somebody has made. The change leaves the cell to it and goes on once they are gone.",
        "Nothing. The message names the KafkaRebalance and what that waits for. Set the number back to keep the "
        "brokers: what has moved nothing yet is deleted then.",
        _DRAIN,
    ),
    Entry(
        "DrainAwaitsApproval",
        _CHECK,
        "The KafkaRebalance that is to empty brokers which shall leave waits for an approval: the cluster requires "
        "them (rollout.approval), and whatever moves its data needs one of its own.",
        "No node leaves.",
        "Approve or deny that KafkaRebalance. Denied, it is not asked for again while these brokers are to leave.",
        ("kfleet approve kafkarebalance/NAME", *_DRAIN),
    ),
    Entry(
        "DrainFailed",
        _CHECK,
        "The KafkaRebalance that was to empty brokers which shall leave was denied or cancelled, or failed three "
        "times.",
        "No node leaves, and it is not asked for again while these brokers are to leave.",
        "Delete that KafkaRebalance to have it asked for once more, make a Drain yourself, or set the number of "
        "replicas back.",
        _DRAIN,
    ),
    Entry(
        "DrainRefused",
        _CHECK,
        "The API server did not let the operator create the KafkaRebalance that is to empty brokers which shall leave; "
        "the message has its words.",
        "No node leaves, and it is tried again.",
        "See what refuses it: an object of that name that is somebody else's, an admission policy, a quota.",
        _DRAIN,
    ),
    Entry(
        "BrokerStillRegistered",
        _CHECK,
        "A broker that leaves is stopped, and its session with the controllers has not ended.",
        "It waits for that, some seconds, and unregisters the broker then.",
        "Nothing.",
        _HEALTH,
    ),
    Entry(
        "ReplaceWouldLoseData",
        _CHECK,
        "A node is to be replaced, and partitions have no in-sync leader but on its lost disk: a node that came back "
        "empty would make their loss final.",
        "Its disk is not given up.",
        "Restore the disk, or bring the other replicas back. A topic that is given up has to be deleted first.",
        ("kfleet cluster snapshot NAME",),
    ),
    Entry(
        "DiskNotSeenLost",
        _CHECK,
        "A node is to be replaced, is not up, and its disk was there when its pod was made.",
        "Nothing is given up: a disk counts as lost when the node's init container finds it empty, or its PVC is gone.",
        "If it was lost since, delete the node's pod: its successor looks again. Else read its logs.",
        _LOGS,
    ),
    Entry(
        "ReplaceUnknownNode",
        _CHECK,
        "The annotation kfleet.dev/replace-node names no node that the spec asks for.",
        "Nothing is replaced. Rolls and other changes go on.",
        "Name a node of status.nodes, or take the annotation off.",
        ("kubectl get kfc NAME -o yaml",),
    ),
)

MEMBER_STEPS = (
    Entry(
        "AddVoter",
        _STEP,
        "A controller that has caught up becomes a voter of the metadata quorum.",
        "One at a time, while a majority of all voters, the new one included, is up and caught up.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "RemoveVoter",
        _STEP,
        "A controller that leaves, or whose disk is lost, loses its vote.",
        "One at a time, while a majority of those that are left is up and caught up. It is stopped only after that.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "StopMember",
        _STEP,
        "The pod of a node that leaves, or that cannot start without its disk, is deleted.",
        "A node that leaves has no vote and no replica by then.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "RetireNode",
        _STEP,
        "A node has left: Kafka forgets its registration, and its PVCs are marked kfleet.dev/retired.",
        "The PVCs stay with all that is on them. No new node takes its id while they are there.",
        "Delete the PVCs when nobody needs them any more.",
        ("kubectl get pvc",),
    ),
    Entry(
        "RenewVolume",
        _STEP,
        "A person has asked for a node whose disk is lost, and its PVC's `formatted` mark is taken off.",
        "The empty volume is formatted at the node's next start.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "ReturnLeaders",
        _STEP,
        "A replaced node is in sync, and leads again what it is the preferred leader of.",
        "Preferred election for those partitions.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "FinishReplacement",
        _STEP,
        "A node that was to be replaced is whole: formatted, registered, in sync, a voter if it is a controller.",
        "status.replacement says that the request is met; the annotation kfleet.dev/replace-node may be taken off.",
        "Nothing.",
        _WATCH,
    ),
    Entry(
        "DrainBrokers",
        _STEP,
        "Brokers that leave have replicas.",
        "A KafkaRebalance with goal Drain moves them to brokers that stay, throttled and resumable, with its own "
        "approval where the cluster requires approvals. Nobody leaves before they are gone; no roll begins meanwhile.",
        "See the step's checks.",
        _DRAIN,
    ),
    Entry(
        "AwaitMember",
        _STEP,
        "A change of members waits for a node; the step's checks say what is missing.",
        "It looks again at every pass. No roll stops a node that is up meanwhile.",
        "See the checks.",
        _WATCH,
    ),
    Entry(
        "Refused",
        _STEP,
        "A change of members may not go on now; the step's checks say why and what would help.",
        "It looks again at every pass. A roll that can go on does.",
        "See the checks.",
        _WATCH,
    ),
)

MEMBER_EVENTS = (
    Entry("MembersChanging", _EVENT, "Nodes join, leave or are replaced from here on.", "See the steps.", see=_WATCH),
    Entry(
        "MemberChanging", _EVENT, "One step of a change of members is about to be taken.", "It is taken.", see=_WATCH
    ),
    Entry("MemberChangeSucceeded", _EVENT, "The members are those that are wanted.", "Nothing more.", see=_HEALTH),
    Entry(
        "MemberChangeSuperseded",
        _EVENT,
        "Other members are wanted now, or a node that was not up had to be restarted first.",
        "What is left to be done is begun anew from what is there.",
        see=_WATCH,
    ),
    Entry(
        "MemberChangeCancelled",
        _EVENT,
        "Somebody has cancelled a change of members.",
        "What was not begun stays as it was.",
        "`kfleet op resume ID` takes that back; so does a spec that asks for other members.",
        _WATCH,
    ),
    Entry(
        "MemberChangeDenied",
        _EVENT,
        "Somebody has denied the plan of a change of members.",
        "What was not begun stays as it was.",
        "Ask for something else, or delete the denial.",
        _WATCH,
    ),
)
