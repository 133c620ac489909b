"""When a hazard applies: one function a hazard, from a situation to one sentence of evidence or None.

They are asked only when the versions are affected and what they need is known (`Hazard.needs`). None of them guesses:
what an observation does not hold (topics' own settings, clients' versions, groups) is said in the hazard's remedy.
"""

from __future__ import annotations

from controlplane.domain import versions
from controlplane.domain.cluster.dynamic import MIN_ISR
from controlplane.domain.hazards.values import Situation, number
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.values import KRAFT_VERSION

ELR_VERSION = "eligible.leader.replicas.version"
STREAMS_VERSION = "streams.version"


def double_counted_retention(at: Situation) -> str | None:
    """KAFKA-20732, as far as broker settings show it.

    The limit is what the spec declares: one that was taken out of it is on its way out of the brokers, too.
    """
    limit = (at.declared or {}).get("log.retention.bytes")
    if at.setting("remote.log.storage.system.enable") != "true" or not _positive(limit):
        return None
    return (
        f"tiered storage is on and log.retention.bytes is {limit}: after a leader election, size retention can count "
        "local and remote bytes twice and delete data that is still in retention"
    )


def static_quorum(at: Situation) -> str | None:
    """KAFKA-21426: kraft.version 0 (or absent) is a static quorum, and a release-version upgrade changes that."""
    if at.features.get(KRAFT_VERSION, 0) != 0 or versions.METADATA_VERSION not in at.features:
        return None
    return (
        "the quorum is static (kraft.version 0); `kafka-features upgrade --release-version` would make it dynamic, and "
        "there is no way back from that"
    )


def no_way_back(at: Situation) -> str | None:
    """The levels to finalise change the metadata format: binaries of before cannot read it, by no means."""
    now = at.finalised
    if now is None or at.level is None or not versions.format_changed_between(now, at.level):
        return None
    return (
        f"finalising {versions.level_name(at.level)} over {versions.level_name(now)} changes the metadata format: "
        "until then spec.version can be set back, afterwards never"
    )


def old_snapshots(at: Situation) -> str | None:
    """A binary downgrade: it dies on metadata records of a higher level that no snapshot has replaced."""
    if number(at.target) >= number(at.running):
        return None
    return (
        f"{at.running} to {at.target} is a downgrade: if metadata.version was ever lowered by hand, {at.target} dies "
        "replaying the records that were written before"
    )


def min_isr_write(at: Situation) -> str | None:
    """KIP-966: each write of min ISR clears the eligible leader replicas, which are the way back for what is out."""
    kafka, wanted = at.observation.kafka, (at.declared or {}).get(MIN_ISR)
    if kafka is None or at.features.get(ELR_VERSION, 0) < 1 or wanted in (None, kafka.dynamic_config.get(MIN_ISR)):
        return None
    out = [str(p.id) for p in kafka.partitions if set(p.replicas) - set(p.isr)]
    if not out:
        return None
    return (
        f"{MIN_ISR} is to become {wanted} while eligible leader replicas are on and {len(out)} partitions have "
        f"replicas out ({listing(out)}): the write would clear what they can be led from"
    )


def no_connections(at: Situation) -> str | None:
    value = at.setting("max.connections")
    if value is None or not value.strip().isdecimal() or int(value) != 0:
        return None
    return "max.connections is 0, which Kafka refuses: there is no dynamic way to close a listener"


def wrong_topic(at: Situation) -> str | None:
    """KAFKA-19012 is the Java producer's: brokers cannot tell; theirs is the version whose clients come with it."""
    return (
        f"Java producers from 2.8.0 on and older than the fix can write a batch to the wrong topic when a broker goes "
        f"away under them, as in every restart; the clients of {_affected_of(at, '4.1.2')} are among them"
    )


def streams_migration(at: Situation) -> str | None:
    """KAFKA-20254. Groups are not observed; without the feature there is nothing to migrate to."""
    if at.features.get(STREAMS_VERSION, 0) < 1:
        return None
    return f"{STREAMS_VERSION} is on, and Kafka 4.2.0 cannot migrate a classic group to a streams group"


def empty_metadata(at: Situation) -> str | None:
    """librdkafka 5301: possible whenever brokers restart; which clients there are is not observed."""
    brokers = sum(node.is_broker for node in at.observation.nodes)
    if not brokers:
        return None
    return (
        f"{brokers} broker{'s' if brokers != 1 else ''} will restart, and a librdkafka client that gets a metadata "
        "answer without any broker meanwhile can stay offline for good"
    )


def weak_defaults(at: Situation) -> str | None:
    """What KRaft's own defaults would be, declared: it holds for every topic that is created meanwhile."""
    brokers = sum(node.is_broker for node in at.observation.nodes)
    found = []
    if at.setting("auto.create.topics.enable") == "true":
        found.append("auto.create.topics.enable is true")
    if brokers > 1 and at.setting("default.replication.factor") == "1":
        found.append("default.replication.factor is 1")
    if brokers > 2 and at.setting(MIN_ISR) == "1":
        found.append(f"{MIN_ISR} is 1")
    return f"{', '.join(found)}: topics made so lose writes or data with one broker" if found else None


def stale_registration(at: Situation) -> str | None:
    """Node ids that Kafka knows and nobody runs: their registrations keep features from being raised."""
    stale = sorted(_known(at.observation) - {node.id for node in at.observation.nodes})
    if not stale:
        return None
    return f"Kafka knows nodes that are not part of the cluster any more ({listing(map(str, stale))})"


def old_protocols(at: Situation) -> str | None:
    """KIP-896: crossing 4.0 upwards."""
    first = (4, 0)
    if not (number(at.running) < first <= number(at.target)):
        return None
    return f"Kafka 4.0 removed the protocol versions of clients before 2.1; {at.running} still serves them"


def _known(observation: ClusterObservation) -> set[int]:
    kafka, quorum = observation.kafka, observation.quorum
    ids = {voter.id for voter in quorum.voters} if quorum is not None else set()
    if kafka is not None:
        ids |= {broker.id for broker in kafka.brokers}
        ids |= {replica for partition in kafka.partitions for replica in partition.replicas}
    return ids


def _affected_of(at: Situation, fixed: str) -> str:
    return at.running if number(at.running) < number(fixed) else at.target


def _positive(text: str | None) -> bool:
    return text is not None and text.strip().isdecimal() and int(text) > 0
