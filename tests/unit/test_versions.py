"""The version table and what follows from it."""

from __future__ import annotations

import pytest

from controlplane.domain import versions


@pytest.mark.parametrize(
    ("version", "level", "name"),
    [
        ("3.9.2", 21, "3.9-IV0"),
        ("4.0.2", 25, "4.0-IV3"),
        ("4.1.2", 27, "4.1-IV1"),
        ("4.2.0", 29, "4.2-IV1"),
        ("4.3.1", 30, "4.3-IV0"),
    ],
)
def test_each_release_has_kafkas_own_level(version: str, level: int, name: str) -> None:
    release = versions.release(version)
    assert (release.metadata_level, release.metadata_version) == (level, name)
    assert versions.metadata_level(name) == level
    assert versions.level_name(level) == name
    assert versions.check_known(version).ok


def test_names_and_levels_are_one_to_one_without_gaps() -> None:
    names = [versions.level_name(level) for level in range(1, 34)]
    assert [versions.metadata_level(name) for name in names] == list(range(1, 34))
    assert versions.level_name(99) == "level 99"


def test_an_unknown_version_is_refused_with_those_that_are_known() -> None:
    check = versions.check_known("4.4.0")
    assert not check.ok
    assert check.evidence.startswith("spec.version: Kafka '4.4.0'")
    assert all(version in check.remedy for version in versions.known_versions())
    with pytest.raises(versions.UnknownVersionError, match=r"known are 3\.9\.2, 4\.0\.2"):
        versions.release("4.4.0")
    with pytest.raises(versions.UnknownMetadataVersionError, match=r"4\.9-IV0"):
        versions.metadata_level("4.9-IV0")


@pytest.mark.parametrize(
    ("version", "pin", "features", "levels"),
    [
        ("4.3.1", None, {"metadata.version": 29}, {"metadata.version": 30}),
        ("4.3.1", None, {"metadata.version": 29, "kraft.version": 0, "group.version": 0}, {"metadata.version": 30}),
        ("4.3.1", None, {"metadata.version": 30}, None),
        ("4.3.1", "4.2-IV1", {"metadata.version": 29}, None),
        ("4.3.1", "4.2-IV1", {"metadata.version": 27}, {"metadata.version": 29}),
        ("4.2.0", None, {"metadata.version": 30}, None),
        ("4.2.0", "4.3-IV0", {"metadata.version": 27}, {"metadata.version": 29}),
        ("4.3.1", None, None, None),
        ("4.3.1", None, {}, None),
    ],
)
def test_only_metadata_version_is_finalised_and_only_upwards(
    version: str, pin: str | None, features: dict[str, int] | None, levels: dict[str, int] | None
) -> None:
    assert versions.finalisation_target(version, pin, features) == levels


@pytest.mark.parametrize(
    ("running", "version", "finalised", "ok"),
    [
        ("4.2.0", "4.3.1", 29, True),
        ("3.9.2", "4.3.1", 21, True),
        ("4.3.1", "4.2.0", 29, True),
        ("4.3.1", "4.1.2", 27, True),
        ("4.3.1", "4.2.0", 30, False),
        ("4.2.0", "4.1.2", 29, False),
        ("3.9.2", "4.3.1", 4, False),
        ("4.3.1", "4.4.0", 30, False),
    ],
)
def test_binaries_may_go_wherever_the_finalised_level_can_be_read(
    running: str, version: str, finalised: int, *, ok: bool
) -> None:
    assert versions.can_roll_binary(running, version, finalised).ok is ok


def test_the_point_of_no_return_is_named() -> None:
    check = versions.can_roll_binary("4.3.1", "4.2.0", 30)
    assert check.name == "VersionChangeRefused"
    assert "finalised at 4.3-IV0 (level 30) and Kafka 4.2.0 reads up to 4.2-IV1 (level 29)" in check.evidence
    assert "no way back" in check.evidence
    assert check.remedy == "Stay on 4.3.1 or later."
    assert "no way back" not in versions.can_roll_binary("4.2.0", "4.1.2", 29).evidence


@pytest.mark.parametrize(
    ("version", "pin", "ok"),
    [
        ("4.3.1", None, True),
        ("4.3.1", "4.2-IV1", True),
        ("4.3.1", "4.3-IV0", True),
        ("4.2.0", "4.3-IV0", False),
        ("4.3.1", "3.3-IV2", False),
        ("4.3.1", "4.2", False),
    ],
)
def test_a_pin_must_be_a_level_the_version_reads(version: str, pin: str | None, *, ok: bool) -> None:
    check = versions.check_pin(version, pin)
    assert check.ok is ok
    assert ok or (check.evidence.startswith("spec.metadataVersion: ") and check.remedy)


def test_a_pin_below_what_is_finalised_is_refused_with_both_levels() -> None:
    assert versions.check_no_downgrade("4.2-IV1", 29).ok
    assert versions.check_no_downgrade("4.3-IV0", 29).ok
    check = versions.check_no_downgrade("4.2-IV1", 30)
    assert not check.ok
    assert "4.2-IV1 (level 29) is below the finalised 4.3-IV0 (level 30)" in check.evidence


def test_what_changed_the_metadata_format() -> None:
    assert not versions.format_changed_between(27, 29)
    assert versions.format_changed_between(29, 30)
    assert versions.format_changed_between(21, 25)
    assert versions.format_changed_between(33, 34), "an unknown level may have"
