"""Which broker configs Kafka changes cluster-wide without a restart.

Source: `DynamicBrokerConfig.AllDynamicConfigs` less the per-broker ones, Kafka 4.0 to 4.3 ("Update Mode: cluster-wide"
in the broker configuration reference). Thread counts are left out although Kafka can change them: it refuses steps
above a factor of two, so a declared value could never be reached in one go; they are static here and take a roll.
"""

from __future__ import annotations

from collections.abc import Mapping

MIN_ISR = "min.insync.replicas"

CLUSTER_WIDE: frozenset[str] = frozenset(
    {
        "compression.gzip.level",
        "compression.lz4.level",
        "compression.type",
        "compression.zstd.level",
        "log.cleaner.backoff.ms",
        "log.cleaner.delete.retention.ms",
        "log.cleaner.io.max.bytes.per.second",
        "log.cleaner.max.compaction.lag.ms",
        "log.cleaner.min.cleanable.ratio",
        "log.cleaner.min.compaction.lag.ms",
        "log.cleanup.policy",
        "log.flush.interval.messages",
        "log.flush.interval.ms",
        "log.index.interval.bytes",
        "log.index.size.max.bytes",
        "log.local.retention.bytes",
        "log.local.retention.ms",
        "log.message.timestamp.after.max.ms",
        "log.message.timestamp.before.max.ms",
        "log.message.timestamp.type",
        "log.preallocate",
        "log.retention.bytes",
        "log.retention.ms",
        "log.roll.jitter.ms",
        "log.roll.ms",
        "log.segment.bytes",
        "log.segment.delete.delay.ms",
        "max.connection.creation.rate",
        "max.connections",
        "max.connections.per.ip",
        "max.connections.per.ip.overrides",
        "message.max.bytes",
        MIN_ISR,
        "producer.id.expiration.ms",
        "remote.fetch.max.wait.ms",
        "remote.log.manager.copy.max.bytes.per.second",
        "remote.log.manager.fetch.max.bytes.per.second",
        "transaction.partition.verification.enable",
        "unclean.leader.election.enable",
    }
)


def split(config: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """(cluster-wide dynamic, static): the first is set through the admin API, the second in server.properties."""
    dynamic = {key: value for key, value in config.items() if key in CLUSTER_WIDE}
    return dynamic, {key: value for key, value in config.items() if key not in CLUSTER_WIDE}


def changes(
    desired: Mapping[str, str], owned: frozenset[str], current: Mapping[str, str], *, replicas_out: bool
) -> dict[str, str | None]:
    """What to alter so that declared keys hold and keys that were declared once (`owned`) and no longer are go.

    Min ISR is never removed, and not written while replicas are out of sync: with ELR each write clears the eligible
    leader replicas (KIP-966), which are then the way back.
    """
    wanted: dict[str, str | None] = {key: value for key, value in desired.items() if current.get(key) != value}
    wanted |= {key: None for key in owned if key not in desired and key in current and key != MIN_ISR}
    if replicas_out:
        wanted.pop(MIN_ISR, None)
    return wanted
