"""Which version may follow which, and what to finalise. Pure questions to the table; no answer depends on a guess.

Kafka sets two limits only: binaries read metadata.version from their minimum to their own level, and a level is never
lowered by this operator (Kafka lowers it within one format only, and old binaries die on records written before).
Releases may be skipped, upwards and downwards, within these limits.
"""

from __future__ import annotations

from collections.abc import Mapping

from controlplane.domain.check import Check
from controlplane.domain.versions.table import LEVEL_OF, LEVELS, METADATA_VERSION, RELEASES, Release


class UnknownVersionError(ValueError):
    """Not a release this operator can run; the message lists those it can."""


class UnknownMetadataVersionError(ValueError):
    """Not the name of a metadata.version."""


def known_versions() -> tuple[str, ...]:
    """Releases this operator can run, oldest first."""
    return tuple(RELEASES)


def release(version: str) -> Release:
    """Raises UnknownVersionError."""
    found = RELEASES.get(version)
    if found is None:
        raise UnknownVersionError(f"Kafka {version!r} is not known; known are {', '.join(known_versions())}.")
    return found


def metadata_level(name: str) -> int:
    """The level of a metadata.version name: 29 for "4.2-IV1". Raises UnknownMetadataVersionError."""
    level = LEVEL_OF.get(name)
    if level is None:
        raise UnknownMetadataVersionError(
            f"metadata.version {name!r} is not known; known names end with {', '.join(list(LEVEL_OF)[-4:])}."
        )
    return level


def level_name(level: int) -> str:
    """The name of a level: "4.2-IV1" for 29; a level newer than the table is named by its number."""
    entry = LEVELS.get(level)
    return entry.name if entry else f"level {level}"


def format_changed_between(low: int, high: int) -> bool:
    """Whether any level above `low` up to `high` changed the metadata format; unknown levels count as a change."""
    return any(level not in LEVELS or LEVELS[level].format_changed for level in range(low + 1, high + 1))


def check_known(version: str) -> Check:
    """spec.version against the table."""
    return Check(
        "UnknownVersion",
        ok=version in RELEASES,
        evidence=f"spec.version: Kafka {version!r} is not known to this operator.",
        remedy=f"Use one of {', '.join(known_versions())}.",
    )


def check_pin(version: str, pin: str | None) -> Check:
    """spec.metadataVersion must be a level that the declared version can read; `version` must be known."""
    name = "InvalidMetadataVersion"
    if pin is None:
        return Check(name, ok=True)
    target = release(version)
    level = LEVEL_OF.get(pin)
    if level is None:
        return Check(
            name,
            ok=False,
            evidence=f"spec.metadataVersion: {pin!r} is not a metadata.version.",
            remedy=f"Kafka {version} takes up to {target.metadata_version}; leave the field out to follow the version.",
        )
    return Check(
        name,
        ok=target.minimum_level <= level <= target.metadata_level,
        evidence=f"spec.metadataVersion: Kafka {version} cannot run at {pin} (level {level}).",
        remedy=f"It takes {level_name(target.minimum_level)} to {target.metadata_version}.",
    )


def check_no_downgrade(pin: str, finalised: int) -> Check:
    """spec.metadataVersion may not lie below what is finalised. An unknown pin is `check_pin`'s finding, not ours."""
    level = LEVEL_OF.get(pin, finalised)
    return Check(
        "MetadataDowngradeRefused",
        ok=level >= finalised,
        evidence=f"spec.metadataVersion: {pin} (level {level}) is below the finalised {level_name(finalised)} "
        f"(level {finalised}); metadata.version is never lowered.",
        remedy=f"Set it to {level_name(finalised)} or later, or leave it out.",
    )


def can_roll_binary(running: str, version: str, finalised: int) -> Check:
    """Whether nodes that run `running` may be restarted with `version` while metadata.version is at `finalised`.

    `running` need not be known (an older operator may have started it): what counts is what `version` can read.
    """
    if version not in RELEASES:
        return check_known(version)
    target = RELEASES[version]
    name = "VersionChangeRefused"
    if finalised > target.metadata_level:
        gone = format_changed_between(target.metadata_level, finalised)
        why = "finalising it changed the metadata format, there is no way back" if gone else "it is never lowered"
        return Check(
            name,
            ok=False,
            evidence=f"spec.version: {running} to {version} is refused: metadata.version is finalised at "
            f"{level_name(finalised)} (level {finalised}) and Kafka {version} reads up to {target.metadata_version} "
            f"(level {target.metadata_level}); {why}.",
            remedy=f"Stay on {_oldest_reading(finalised)} or later.",
        )
    return Check(
        name,
        ok=finalised >= target.minimum_level,
        evidence=f"spec.version: {running} to {version} is refused: metadata.version is finalised at "
        f"{level_name(finalised)} (level {finalised}) and Kafka {version} reads {level_name(target.minimum_level)} "
        "and later.",
        remedy=f"Finalise {level_name(target.minimum_level)} or later on {running} first.",
    )


def can_read_features(version: str, finalised: Mapping[str, int]) -> Check:
    """Whether `version` has the levels at which opt-in features were finalised, which nobody but people does: a broker
    that has not is not let into the cluster. Raises UnknownVersionError."""
    target = release(version)
    own = {
        "eligible.leader.replicas.version": target.eligible_leader_replicas,
        "share.version": target.share or 0,
        "streams.version": target.streams or 0,
    }
    higher = [name for name, level in own.items() if finalised.get(name, 0) > level]
    told = ", ".join(f"{name} is finalised at level {finalised[name]} and it has {own[name]}" for name in higher)
    return Check(
        "VersionChangeRefused",
        ok=not higher,
        evidence=f"spec.version: Kafka {version} is refused: {told}.",
        remedy="Lower that feature with kafka-features.sh, or stay on a release that has it.",
    )


def finalisation_target(version: str, pin: str | None, features: Mapping[str, int] | None) -> dict[str, int] | None:
    """The feature levels to finalise once every node runs `version`; None when there is nothing to raise.

    metadata.version alone, at the release's level or at the pin: other features are opt-in, and kraft.version would
    turn a static quorum into a dynamic one for good (KAFKA-21426), which `--release-version` does behind one's back.
    Unknown features (None, or no finalised metadata.version) give None: what cannot be read is not raised. A pin below
    what is finalised raises nothing; `check_no_downgrade` says so. Raises UnknownVersionError and, for a pin that is no
    name, UnknownMetadataVersionError.
    """
    target = release(version)
    wanted = target.metadata_level if pin is None else min(metadata_level(pin), target.metadata_level)
    if features is None or METADATA_VERSION not in features or features[METADATA_VERSION] >= wanted:
        return None
    return {METADATA_VERSION: wanted}


def _oldest_reading(level: int) -> str:
    """The oldest known release that reads `level`, for a remedy."""
    return next(
        (r.version for r in RELEASES.values() if r.metadata_level >= level), f"a release that has level {level}"
    )
