"""The catalogue: every hazard that can be decided from an observation and a spec, most harmful first.

What was tried or read is in each entry's source; a hazard that only brokers of other makes, clients or topics' own
settings could show says so in its remedy instead of guessing. An entry that blocks holds every roll it applies to, so
it is added with an observation that it must block and one that it must not (tests/unit/test_hazards).
"""

from __future__ import annotations

from controlplane.domain.hazards import conditions
from controlplane.domain.hazards.values import (
    Affected,
    Blocks,
    Finding,
    Findings,
    Hazard,
    Section,
    Situation,
    Undecided,
)

_KAFKA = frozenset({Section.KAFKA})
_SPEC = frozenset({Section.SPEC})

_ENTRIES = (
    Hazard(
        id="KAFKA-20732",
        title="size retention of tiered topics counts twice after a leader election",
        source="KAFKA-20732; fixed in 4.4.0",
        affected=Affected(fixed="4.4.0"),
        blocks=Blocks.RESTART,
        condition=conditions.double_counted_retention,
        remedy="Check that the disks have room, lift log.retention.bytes, and restore it once the fix runs everywhere. "
        "Topics with a retention.bytes of their own are not seen here: look at those too.",
        needs=_KAFKA | _SPEC,
    ),
    Hazard(
        id="STALE-REGISTRATION",
        title="registrations of nodes that are gone keep features from being raised",
        source="KIP-584, KIP-866; seen on 4.3.1",
        affected=Affected(),
        blocks=Blocks.FINALISATION,
        condition=conditions.stale_registration,
        remedy="Unregister them (kafka-cluster unregister --id N) once no partition names them.",
        needs=_KAFKA,
    ),
    Hazard(
        id="POINT-OF-NO-RETURN",
        title="finalising changes the metadata format",
        source="org.apache.kafka.server.common.MetadataVersion; 30 to 29 was tried on 4.3.1 and refused",
        affected=Affected(),
        blocks=Blocks.NOTHING,
        condition=conditions.no_way_back,
        remedy="Give spec.rollout.soak the time that your checks need, or hold the level with spec.metadataVersion.",
        needs=frozenset({Section.LEVEL}),
    ),
    Hazard(
        id="METADATA-SNAPSHOT",
        title="old binaries die on metadata records of a higher level",
        source="4.2.0 to 4.1.2 was tried: it died, and started once snapshots had been written",
        affected=Affected(),
        blocks=Blocks.NOTHING,
        condition=conditions.old_snapshots,
        remedy="If it was lowered, have every node write a snapshot first (metadata.log.max.snapshot.interval.ms).",
    ),
    Hazard(
        id="KAFKA-21426",
        title="an upgrade by release version makes a static quorum dynamic",
        source="KAFKA-21426; reproduced on 4.3.1",
        affected=Affected(since="3.9.0"),
        blocks=Blocks.NOTHING,
        condition=conditions.static_quorum,
        remedy="Nothing: kfleet raises metadata.version alone. By hand, name features and leave kraft.version out.",
        needs=_KAFKA,
    ),
    Hazard(
        id="ELR-MIN-ISR",
        title="writing min ISR clears the eligible leader replicas",
        source="KIP-966",
        affected=Affected(since="4.0.0"),
        blocks=Blocks.CONFIG,
        condition=conditions.min_isr_write,
        remedy="Nothing: kfleet writes it once every replica is in sync.",
        needs=_KAFKA | _SPEC,
    ),
    Hazard(
        id="MAX-CONNECTIONS-ZERO",
        title="max.connections=0 is refused",
        source="tried on 4.3.1",
        affected=Affected(),
        blocks=Blocks.CONFIG,
        condition=conditions.no_connections,
        remedy="Set it to 1 or more, or leave it out.",
        needs=_SPEC,
    ),
    Hazard(
        id="KIP-896",
        title="clients older than 2.1 stop working",
        source="KIP-896, KIP-724",
        affected=Affected(fixed="4.0.0"),
        blocks=Blocks.NOTHING,
        condition=conditions.old_protocols,
        remedy="Brokers do not report clients' versions to kfleet. Before the first node is upgraded, the metric "
        "kafka.network:type=RequestMetrics,name=DeprecatedRequestsPerSec of every broker has to stand still.",
    ),
    Hazard(
        id="KAFKA-19012",
        title="a Java producer can write to the wrong topic",
        source="KAFKA-19012; fixed in 4.1.2",
        affected=Affected(fixed="4.1.2"),
        blocks=Blocks.NOTHING,
        condition=conditions.wrong_topic,
        remedy="Upgrade the producers; brokers do not report their versions to kfleet.",
    ),
    Hazard(
        id="KAFKA-20254",
        title="classic groups cannot become streams groups",
        source="KAFKA-20254",
        affected=Affected(since="4.2.0", fixed="4.2.1"),
        blocks=Blocks.NOTHING,
        condition=conditions.streams_migration,
        remedy="Migrate Streams applications before or after that version. Groups are not seen here.",
        needs=_KAFKA,
    ),
    Hazard(
        id="LIBRDKAFKA-5301",
        title="a librdkafka client can stay offline after a roll",
        source="confluentinc/librdkafka issue 5301",
        affected=Affected(),
        blocks=Blocks.NOTHING,
        condition=conditions.empty_metadata,
        remedy="After the roll look for clients that do not come back, and restart them.",
    ),
    Hazard(
        id="WEAK-DEFAULTS",
        title="defaults that lose data are declared",
        source="Kafka's broker configuration",
        affected=Affected(),
        blocks=Blocks.NOTHING,
        condition=conditions.weak_defaults,
        remedy="Leave them out: kfleet's defaults are factor 3, min ISR 2, and no topics that nobody declared.",
        needs=_SPEC,
    ),
)

CATALOGUE = {hazard.id: hazard for hazard in _ENTRIES}
WAIVABLE = frozenset(hazard.id for hazard in _ENTRIES if hazard.waivable)
"""Ids that hold a roll and that an Approval can accept."""


def find(at: Situation) -> Findings:
    """What applies to the situation, and what cannot be decided for want of a section."""
    applying, undecided = [], []
    for hazard in CATALOGUE.values():
        if not at.affects(hazard.affected):
            continue
        if missing := hazard.needs - at.known:
            undecided.append(Undecided(hazard, missing))
        elif (evidence := hazard.condition(at)) is not None:
            applying.append(Finding(hazard, evidence))
    return Findings(tuple(applying), tuple(undecided))
