"""Checks of what was declared: while one fails, nothing of the cluster or the topic is touched."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_UNTOUCHED = "Nothing is created, restarted, formatted or deleted. Nodes that were down come back as they were last."
_SET_BACK = "Set the field back to what exists; the message says what that is."
_SHOW = ("kfleet cluster describe NAME",)

CLUSTER_SPEC = (
    Entry(
        "InvalidSpec",
        (Sort.CHECK, Sort.REASON, Sort.EVENT),
        "The spec breaks a rule that the API server would have refused today: it was let in by an older schema, or "
        "while the admission policies were not installed. The message names the fields.",
        _UNTOUCHED,
        "Correct the fields named. Install the CRDs and policies of this version.",
        ("kubectl explain kfc.spec", *_SHOW),
    ),
    Entry(
        "UnknownVersion",
        _CHECK,
        "spec.version is not a Kafka release that this version of kfleet can run.",
        _UNTOUCHED,
        "Use one of the versions in the message, or a newer kfleet.",
    ),
    Entry(
        "InvalidMetadataVersion",
        _CHECK,
        "spec.metadataVersion is no metadata.version, or one that the declared Kafka version cannot run at.",
        _UNTOUCHED,
        "Use a level in the range that the message gives, or leave the field out to follow spec.version.",
    ),
    Entry(
        "MetadataDowngradeRefused",
        _CHECK,
        "spec.metadataVersion lies below the level that is finalised. Older binaries may die on records that were "
        "written since.",
        "metadata.version is never lowered.",
        "Set it to the finalised level or later, or leave it out.",
        _SHOW,
    ),
    Entry(
        "VersionChangeRefused",
        _CHECK,
        "The declared Kafka version cannot read the metadata as it is finalised: an upgrade was finalised and is to be "
        "taken back, or releases were skipped that first have to be finalised.",
        _UNTOUCHED,
        "Stay on the version that the message names or a later one.",
        _SHOW,
    ),
    Entry(
        "ReplicationFactorTooLarge",
        _CHECK,
        "More replicas are asked for than there are brokers to hold them.",
        "Nothing of that object is touched.",
        "Lower the number that the message names, or add brokers.",
    ),
    Entry(
        "MinIsrTooLarge",
        _CHECK,
        "min.insync.replicas exceeds the replication factor: no acks=all write would ever succeed.",
        "Nothing of that object is touched.",
        "Lower min.insync.replicas, or raise the replication factor. To survive one broker it is one less than that.",
    ),
    Entry(
        "ScaleDownRefused",
        _CHECK,
        "A pool declares fewer replicas than it has nodes, and its highest ids cannot leave: the brokers that would be "
        "left are too few for partitions with more replicas, have no room for what lies there (the size of volumes, a "
        "tenant's shard), or lower a default such as the replication factor.",
        "Nothing is moved and no node leaves. Where there is no plan for the move, it is planned again by itself and "
        "goes on once there is one.",
        "Change what the message names (lower a replication factor, enlarge a shard or volumes, declare the settings), "
        "and it goes on. Or set it back.",
        (*_SHOW, "kubectl get kfr"),
    ),
    Entry(
        "VolumeChangeUnsupported",
        _CHECK,
        "Volumes are declared in a way that those that exist cannot follow: smaller, of another storage class, without "
        "one that holds data, with a new one below the one that holds the metadata log, or one whose PVC is gone.",
        _UNTOUCHED,
        f"{_SET_BACK} A PVC that is gone: restore it with its marks; if it is lost for good, `kfleet cluster "
        "replace-node NAME ID` asks for the node on an empty one.",
        ("kubectl get pvc",),
    ),
    Entry(
        "VolumeNotExpandable",
        _CHECK,
        "A volume is declared larger than its PVC, whose StorageClass does not allow expansion.",
        _UNTOUCHED,
        "Set the size back, or have allowVolumeExpansion: true set on the class, if its driver can do it. More room "
        "without either: declare another volume.",
        ("kubectl get storageclass", "kubectl get pvc"),
    ),
    Entry(
        "VolumeMissing",
        _CHECK,
        "Kafka knows nodes whose volumes are gone: their PVCs were deleted or lost.",
        f"{_UNTOUCHED} A new empty volume would look like a node that has forgotten everything.",
        "Restore the PVCs with their marks (annotations kfleet.dev/identity and kfleet.dev/formatted). If a disk is "
        "lost for good, `kfleet cluster replace-node NAME ID` asks for the node on an empty one.",
        ("kubectl get pvc", "kfleet cluster snapshot NAME"),
    ),
    Entry(
        "VolumeTerminating",
        _CHECK,
        "A PVC of the cluster is being deleted: it goes with its data as soon as its pod does.",
        "No pod is restarted meanwhile, since that would let the volume go.",
        "Save its data, then put a claim with the same marks back. If it is lost for good, `kfleet cluster "
        "replace-node NAME ID`, and delete the node's pod if it still runs.",
        ("kubectl get pvc", "kubectl describe pvc CLAIM"),
    ),
    Entry(
        "UnknownPool",
        _CHECK,
        "Nodes exist whose pool is no longer declared; their volumes hold data.",
        _UNTOUCHED,
        "Declare the pool as it was.",
        _SHOW,
    ),
    Entry(
        "ClusterIdMismatch",
        _CHECK,
        "Declared cluster id, volumes and running brokers do not agree on which Kafka cluster this is.",
        "Nothing is touched and no pod is started until they do.",
        "Declare the volumes' id (spec.clusterId), or give the object another name; if brokers of another cluster "
        "answer, find out whose they are.",
        ("kubectl get pvc -o yaml",),
    ),
    Entry(
        "ForeignVolume",
        _CHECK,
        "A PVC that would be used does not carry the identity of this node of this cluster (annotation "
        "kfleet.dev/identity): it may hold another cluster's data.",
        "Nothing is touched and no pod is started.",
        "Move the claim away, or restore its mark if it is surely this node's.",
        ("kubectl describe pvc CLAIM",),
    ),
    Entry(
        "ConfigRejected",
        _CHECK,
        "Kafka refused a setting of spec.config that it takes without a restart; the message has its words.",
        "It tries again at every pass; nothing else waits for it.",
        "Correct the setting.",
        _SHOW,
    ),
    Entry(
        "NameTaken",
        _CHECK,
        "An object that the cluster needs (a Service, a ConfigMap, a PDB, a PVC, a pod) exists under that name and is "
        "not kfleet's.",
        "It is never taken over. The action is tried again.",
        "Remove the other object, or rename one of the two.",
        ("kubectl get all -l kfleet.dev/cluster=NAME",),
    ),
    Entry(
        "StepFailed",
        _CHECK,
        "The API server or Kafka refused an action: a quota, a policy, missing rights. The message names the action "
        "and has the refusal's words.",
        "It tries again; one action's failure keeps no other from being carried out.",
        "Take the reason away; `kfleet explain ACTION` says what the action does.",
        _SHOW,
    ),
)

TOPICS = (
    Entry(
        "InvalidTopicName",
        _CHECK,
        "Kafka takes no topic of that name: 1 to 249 letters, digits, '.', '_' and '-', not beginning with '__'.",
        "The object's topic is not created.",
        "Give it another spec.topicName, in a new object: the field is immutable.",
    ),
    Entry(
        "InvalidConfig",
        _CHECK,
        "A value under spec.config is not a finite number.",
        "The object's topic is left alone.",
        "Give a number, or take the key out for Kafka's default.",
    ),
    Entry(
        "InvalidTopic",
        _CHECK,
        "spec.partitions or spec.replicas is below 1.",
        "The object's topic is not created.",
        "Raise it.",
    ),
    Entry(
        "PartitionsCannotShrink",
        _CHECK,
        "Fewer partitions are declared than the topic has. Kafka cannot remove partitions.",
        "The topic is left alone altogether, its settings included.",
        "Declare as many as it has or more, or create another topic.",
        ("kubectl get kft",),
    ),
    Entry(
        "ReplicaChangeUnsupported",
        _CHECK,
        "Another replication factor is declared than the topic has. Changing it is a rebalance.",
        "The topic is left alone altogether, its settings included, until it has that factor.",
        "Create a KafkaRebalance with goal ChangeReplicas, or declare the replication factor that it has.",
        ("kubectl get kft", "kubectl get kfr"),
    ),
    Entry(
        "TopicNameCollides",
        _CHECK,
        "Kafka takes '.' and '_' in topic names for the same (their metrics would collide), and a topic of such a name "
        "exists.",
        "The object's topic is not created.",
        "Choose another name.",
    ),
    Entry(
        "TopicNameTaken",
        _CHECK,
        "Two objects declare the same topic. The older one has it, whatever its state.",
        "This object's declaration is not carried out.",
        "Choose another name, or delete the other object: its topic is kept, and this object then adopts it.",
        ("kubectl get kft",),
    ),
)
