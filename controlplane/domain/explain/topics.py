"""What a topic of a tenant is refused for or waits for, and what is said of one that lies elsewhere."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_OF_USERS_TOO = (Sort.CHECK, Sort.EVENT)
_TOPICS = ("kubectl get kft",)
_TENANT = ("kfleet tenant describe NAME",)
_LEFT_ALONE = "The object's topic is not created; one that exists is left alone."

TOPIC_CONDITIONS = (
    Entry(
        "Drifted",
        (Sort.CONDITION,),
        "Of a tenant's topic: True while replicas of it lie on brokers that are not in its tenant's shard.",
        "The tenant asks for a KafkaRebalance that moves them there.",
        "While it is True its message names the brokers, and the KafkaRebalance.",
        _TOPICS,
    ),
    Entry(
        "OnShard",
        (Sort.REASON,),
        "All replicas of the topic lie on its tenant's shard.",
        "New partitions are put there too.",
    ),
)

TENANT_TOPICS = (
    Entry(
        "CellNotNamed",
        _OF_USERS_TOO,
        "spec.tenantRef.cell names a cluster that the tenant does not have, or names none where it has several.",
        _LEFT_ALONE,
        "Name one of the tenant's spec.cells in a new object: tenantRef is immutable.",
        _TENANT,
    ),
    Entry(
        "CellLeft",
        _OF_USERS_TOO,
        "The tenant does not name the cell any more that this topic or user has been given for life.",
        "What is there already stays there, untouched. Revoking and deleting a user work as ever.",
        "Have the cell named again, or create another object in a cell that the tenant has.",
        _TENANT,
    ),
    Entry(
        "TopicOutsidePrefix",
        _CHECK,
        "The topic names a tenant, and its name in Kafka does not begin with the tenant's spec.topicPrefix.",
        _LEFT_ALONE,
        "Give it a spec.topicName that does, in a new object: the field is immutable.",
        _TENANT,
    ),
    Entry(
        "PrefixOfTenant",
        _CHECK,
        "The topic names a cluster, and its name begins with the prefix of a tenant that has a shard there.",
        _LEFT_ALONE,
        "Choose another name; the tenant's own topics name it in spec.tenantRef.",
        _TENANT,
    ),
    Entry(
        "TenantLimitExceeded",
        _CHECK,
        "What the topic asks for does not fit into the tenant's spec.limits. The message says which limit and by how "
        "much. Every topic that begins with the prefix counts, and whoever asked first gets what is left.",
        "Nothing of it is created, grown or changed. It goes on by itself once there is room.",
        "Ask for less, delete topics that nobody needs, or have the limits raised.",
        _TENANT,
    ),
    Entry(
        "TenantNotPlaced",
        _CHECK,
        "The tenant has no shard in the topic's cell yet, so that there is nowhere to create it.",
        "It goes on once the tenant has one.",
        "See why the tenant is not placed.",
        _TENANT,
    ),
    Entry(
        "OutsideShard",
        _CHECK,
        "Replicas of a tenant's topic lie on brokers that are not in its shard: they were moved by hand, the topic was "
        "there before the tenant, or the shard is becoming another one.",
        "Its tenant asks for a KafkaRebalance that moves them; the topic is kept as declared meanwhile.",
        "See what that KafkaRebalance waits for: the message names it.",
        ("kubectl get kfr", *_TENANT),
    ),
)
