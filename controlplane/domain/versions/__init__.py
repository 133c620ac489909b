"""Kafka versions: what is known of each, and which change is allowed."""

from controlplane.domain.versions.checks import (
    UnknownMetadataVersionError,
    UnknownVersionError,
    can_read_features,
    can_roll_binary,
    check_known,
    check_no_downgrade,
    check_pin,
    finalisation_target,
    format_changed_between,
    known_versions,
    level_name,
    metadata_level,
    release,
)
from controlplane.domain.versions.path import Hop, find_path
from controlplane.domain.versions.table import METADATA_VERSION, MetadataLevel, Release

__all__ = [
    "METADATA_VERSION",
    "Hop",
    "MetadataLevel",
    "Release",
    "UnknownMetadataVersionError",
    "UnknownVersionError",
    "can_read_features",
    "can_roll_binary",
    "check_known",
    "check_no_downgrade",
    "check_pin",
    "finalisation_target",
    "find_path",
    "format_changed_between",
    "known_versions",
    "level_name",
    "metadata_level",
    "release",
]
