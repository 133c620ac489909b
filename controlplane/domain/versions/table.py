"""Kafka releases and metadata.version levels, as data.

Levels, names and `didMetadataChange` are Kafka's own (org.apache.kafka.server.common.MetadataVersion), read from the
artefacts of the releases below. Names are what `spec.metadataVersion` and `kafka-features` use: "4.2-IV1".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

METADATA_VERSION: Final = "metadata.version"
"""The feature whose level decides which binaries can read the metadata log."""


@dataclass(frozen=True, slots=True)
class MetadataLevel:
    """One metadata.version. `format_changed`: it writes records that lower levels cannot read, so no way leads back."""

    level: int
    name: str
    format_changed: bool


@dataclass(frozen=True, slots=True)
class Release:
    """A Kafka release this operator can run: all three artefacts of it are published.

    Binaries read metadata from `minimum_level` to `metadata_level`, the level they finalise to. The other levels are
    the highest that the release has of features that are opt-in (None: it has no such feature).
    """

    version: str
    metadata_level: int
    metadata_version: str
    minimum_level: int
    eligible_leader_replicas: int
    share: int | None
    streams: int | None


_FIRST_KRAFT_LEVEL = 1
_FIRST_LEVEL_OF_4 = 7

LEVELS: Final = {
    level: MetadataLevel(level, name, changed)
    for level, name, changed in (
        (1, "3.0-IV1", True),
        (2, "3.1-IV0", False),
        (3, "3.2-IV0", True),
        (4, "3.3-IV0", False),
        (5, "3.3-IV1", True),
        (6, "3.3-IV2", True),
        (7, "3.3-IV3", True),
        (8, "3.4-IV0", True),
        (9, "3.5-IV0", False),
        (10, "3.5-IV1", False),
        (11, "3.5-IV2", True),
        (12, "3.6-IV0", False),
        (13, "3.6-IV1", True),
        (14, "3.6-IV2", True),
        (15, "3.7-IV0", True),
        (16, "3.7-IV1", False),
        (17, "3.7-IV2", True),
        (18, "3.7-IV3", False),
        (19, "3.7-IV4", False),
        (20, "3.8-IV0", False),
        (21, "3.9-IV0", False),
        (22, "4.0-IV0", False),
        (23, "4.0-IV1", True),
        (24, "4.0-IV2", False),
        (25, "4.0-IV3", False),
        (26, "4.1-IV0", False),
        (27, "4.1-IV1", False),
        (28, "4.2-IV0", False),
        (29, "4.2-IV1", False),
        (30, "4.3-IV0", True),
        (31, "4.4-IV0", False),
        (32, "4.4-IV1", True),
        (33, "4.4-IV2", True),
    )
}
LEVEL_OF: Final = {entry.name: entry.level for entry in LEVELS.values()}

RELEASES: Final = {
    version: Release(version, level, LEVELS[level].name, minimum, elr, share, streams)
    for version, level, minimum, elr, share, streams in (
        ("3.9.2", 21, _FIRST_KRAFT_LEVEL, 0, None, None),
        ("4.0.2", 25, _FIRST_LEVEL_OF_4, 0, None, None),
        ("4.1.2", 27, _FIRST_LEVEL_OF_4, 1, 0, 0),
        ("4.2.0", 29, _FIRST_LEVEL_OF_4, 1, 1, 1),
        ("4.3.1", 30, _FIRST_LEVEL_OF_4, 1, 1, 1),
    )
}
"""Oldest first. 4.2.1 and 4.4.0 are missing because their artefacts are incomplete; 3.9 brought the dynamic quorum."""
