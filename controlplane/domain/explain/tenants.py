"""What a tenant says: its conditions, and why it is not placed, or not as it shall be."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_STANDING = (Sort.CHECK, Sort.EVENT)
_LOOK = ("kfleet tenant describe NAME",)
_KEPT = "A shard that is in effect stays so, and topics stay where they are."

TENANT_CONDITIONS = (
    Entry(
        "Placed",
        (Sort.CONDITION, *_STANDING),
        "Of a KafkaTenant: True once it has a shard in each of its cells and all of its topics lie there. Also the "
        "reason that goes with it.",
        "Brokers of a shard change only when one comes or goes, or when the shard's size does.",
        "While it is False its reason says why.",
        _LOOK,
    ),
    Entry(
        "WithinLimits",
        (Sort.CONDITION, Sort.REASON),
        "Of a KafkaTenant: True while its topics, partitions and storage, all cells together, keep spec.limits. Also "
        "the reason that goes with it.",
        "Topics are counted at every look, storage every few minutes (KFLEET_USAGE_INTERVAL).",
        "While it is False its message says which limit and by how much.",
        _LOOK,
    ),
    Entry(
        "NamespacesWatched",
        (Sort.CONDITION, *_CHECK),
        "Of a KafkaTenant: True while the operators of its cells watch all of spec.namespaces. Also the reason that "
        "goes with it.",
        "An operator without KFLEET_WATCH_NAMESPACES watches all there are.",
        "While it is False its message says which namespaces are not watched for which cell.",
        _LOOK,
    ),
)

TENANTS = (
    Entry(
        "Placing",
        _STANDING,
        "A cell that the tenant names has not been looked at yet.",
        "It is placed at the next look at that cell.",
        "Nothing.",
        _LOOK,
    ),
    Entry(
        "OverlapExceeded",
        _STANDING,
        "The tenant is placed, and shares more brokers with another one than spec.shard.maxOverlap: there are not "
        "brokers enough for so many tenants, or history left them in each other's way.",
        "The least overlap was taken that moves nobody else.",
        "See whether a fresh assignment would do better; add brokers, or allow more.",
        ("kfleet tenant repack CELL", *_LOOK),
    ),
    Entry(
        "Moving",
        _STANDING,
        "Some of the tenant's topics lie on brokers that its shard is not to have.",
        "Old and new brokers are both allowed until a KafkaRebalance has moved them; then the new ones alone are.",
        "Approve that KafkaRebalance if it waits for that; see what else it waits for.",
        ("kubectl get kfr", "kfleet op watch ID"),
    ),
    Entry(
        "MoveFailed",
        _STANDING,
        "The KafkaRebalance that was to move the tenant's topics was denied, cancelled, or failed. It has undone "
        "what it did.",
        f"{_KEPT} It is not tried again by itself.",
        "Delete that KafkaRebalance to have it tried again, or change spec.shard back.",
        ("kubectl get kfr", *_LOOK),
    ),
    Entry(
        "MoveRefused",
        _STANDING,
        "The API server did not let the operator create the KafkaRebalance that is to move the tenant's topics.",
        f"{_KEPT} It is tried again every half minute.",
        "See what refuses it: the message has its words.",
        _LOOK,
    ),
    Entry(
        "ShardDoesNotFit",
        _STANDING,
        "The cell has no such shard: too few brokers, or a zone with too few. The message says by how much. A shard "
        "takes its brokers from all zones alike, and is never smaller than declared.",
        f"{_KEPT} A tenant that has no shard yet gets none.",
        "Make the shard smaller, or add brokers where they are missing.",
        _LOOK,
    ),
    Entry(
        "ShardTooSmall",
        _STANDING,
        "A topic of the tenant has more replicas than its shard is to have brokers.",
        _KEPT,
        "Enlarge the shard, or give that topic fewer replicas first.",
        _LOOK,
    ),
    Entry(
        "NamespaceTaken",
        _STANDING,
        "Two tenants list one namespace. It belongs to the older one.",
        f"The younger one is not placed or moved. {_KEPT}",
        "Take the namespace out of one of the two.",
        ("kfleet tenant list",),
    ),
    Entry(
        "PrefixTaken",
        _STANDING,
        "Two tenants' prefixes mean topics in common: one begins with the other. They belong to the older one.",
        f"The younger one is not placed or moved, and no topic counts as its own. {_KEPT}",
        "Create the younger tenant anew, with another prefix.",
        ("kfleet tenant list",),
    ),
    Entry(
        "LeftWithTopics",
        _CHECK,
        "In status.cells: the tenant does not name that cell any more, and topics with its prefix are still there.",
        "They stay, and so does the shard: nobody is placed as if it were free.",
        "Delete the topics, or name the cell again.",
        _LOOK,
    ),
    Entry(
        "LimitExceeded",
        _CHECK,
        "The tenant has more topics, partitions or bytes than spec.limits.",
        "Nothing that is there is touched.",
        "Delete what is not needed, or raise the limit.",
        _LOOK,
    ),
    Entry(
        "TenantNotFound",
        _STANDING,
        "spec.tenantRef names a KafkaTenant that does not exist.",
        "What is there already stays as it is.",
        "Correct the name, or have the tenant created.",
        ("kfleet tenant list",),
    ),
    Entry(
        "NamespaceNotWatched",
        _STANDING,
        "The operator that looks after a cell of the tenant does not watch (KFLEET_WATCH_NAMESPACES) one of its "
        "namespaces. Said of the tenant, and of each object there that has this cell.",
        "Nothing new is made for such an object. What is there stays; a user that was let in goes on, and can be "
        "revoked and deleted.",
        "Add the namespace to KFLEET_WATCH_NAMESPACES of that operator, or take it out of the tenant.",
        _LOOK,
    ),
    Entry(
        "CellElsewhere",
        _STANDING,
        "The object was given a cell that another operator looks after, and that one has said nothing about it yet.",
        "That operator goes on with it, if it watches the object's namespace too.",
        "If it stays so, see the tenant's condition NamespacesWatched.",
        _LOOK,
    ),
    Entry(
        "NamespaceNotListed",
        _STANDING,
        "spec.tenantRef names a KafkaTenant that does not list the object's namespace.",
        "What is there already stays as it is.",
        "Have the namespace added to the tenant, or name the tenant that it belongs to.",
        ("kfleet tenant list",),
    ),
)
