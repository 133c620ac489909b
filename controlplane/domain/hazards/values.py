"""The words of the hazard catalogue: one hazard, the situation it is asked about, and what was found. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.check import Check
from controlplane.domain.observation import ClusterObservation

HAZARD = "Hazard"
"""Name of the failed check; its evidence begins with the hazard's id."""


class Blocks(StrEnum):
    """What must not be done while a hazard applies."""

    RESTART = "Restart"
    """Stopping any node, for whatever reason."""
    FINALISATION = "Finalisation"
    """Raising feature levels."""
    CONFIG = "Config"
    """A setting that Kafka, or our own rule for it, refuses or defers; no roll is held for it."""
    NOTHING = "Nothing"
    """Advice for whoever upgrades."""


class Section(StrEnum):
    """What a condition has to know; a hazard whose section is missing is undecided, never absent."""

    KAFKA = "Kafka"
    LEVEL = "Level"
    SPEC = "Spec"


@dataclass(frozen=True, slots=True)
class Affected:
    """Versions from `since` (None: all before) up to, and not including, `fixed` (None: no fix is known)."""

    since: str | None = None
    fixed: str | None = None

    def __contains__(self, version: object) -> bool:
        found = number(str(version))
        return (self.since is None or number(self.since) <= found) and (
            self.fixed is None or found < number(self.fixed)
        )

    def __str__(self) -> str:
        if self.since is None:
            return f"before {self.fixed}" if self.fixed else "all versions"
        return f"{self.since} up to before {self.fixed}" if self.fixed else f"{self.since} and later"


def number(version: str) -> tuple[int, ...]:
    """(4, 3, 1) for "4.3.1"; for comparing. What is no number counts as 0."""
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


@dataclass(frozen=True, slots=True)
class Situation:
    """What a hazard is asked about: a cluster that runs `running` and is to run `target`.

    `running` is the oldest version that any node runs. `declared` is spec.config as Kafka spells it, None when the spec
    is not known (a snapshot has none). `finalised` is the metadata.version level that is finalised now, None if nobody
    has said; `level` the one to finalise afterwards, None for none.
    """

    observation: ClusterObservation
    running: str
    target: str
    declared: Mapping[str, str] | None = None
    finalised: int | None = None
    level: int | None = None

    @property
    def known(self) -> frozenset[Section]:
        there = {
            Section.KAFKA: self.observation.kafka is not None,
            Section.LEVEL: self.finalised is not None,
            Section.SPEC: self.declared is not None,
        }
        return frozenset(section for section, known in there.items() if known)

    @property
    def features(self) -> Mapping[str, int]:
        return self.observation.kafka.features if self.observation.kafka is not None else {}

    def setting(self, key: str) -> str | None:
        """What is declared, else what is set cluster-wide; None for Kafka's default or ours."""
        dynamic = self.observation.kafka.dynamic_config if self.observation.kafka is not None else {}
        return (self.declared or {}).get(key, dynamic.get(key))

    def affects(self, affected: Affected) -> bool:
        """Whether nodes run an affected version now or will: a roll takes its nodes through both."""
        return self.running in affected or self.target in affected


Condition = Callable[[Situation], str | None]
"""Evidence, one sentence, when the hazard applies to a situation whose versions are affected; else None."""


@dataclass(frozen=True, slots=True)
class Hazard:
    """One known defect or trap.

    `source` is where it is known from. `affected` are versions of brokers; `needs` is what has to be known to decide.
    """

    id: str
    title: str
    source: str
    affected: Affected
    blocks: Blocks
    condition: Condition
    remedy: str
    needs: frozenset[Section] = frozenset()

    @property
    def waivable(self) -> bool:
        """Whether an Approval can accept it: nothing is held for the others."""
        return self.blocks in (Blocks.RESTART, Blocks.FINALISATION)


@dataclass(frozen=True, slots=True)
class Finding:
    """A hazard that applies, and what shows it."""

    hazard: Hazard
    evidence: str

    @property
    def check(self) -> Check:
        return Check(HAZARD, ok=False, evidence=f"{self.hazard.id}: {self.evidence}.", remedy=self.hazard.remedy)


@dataclass(frozen=True, slots=True)
class Undecided:
    """A hazard of these versions, and what is not known that it needs."""

    hazard: Hazard
    missing: frozenset[Section]


@dataclass(frozen=True, slots=True)
class Findings:
    """What applies, and what nobody can say; every other hazard does not apply."""

    applying: tuple[Finding, ...] = ()
    undecided: tuple[Undecided, ...] = ()

    @property
    def blocking(self) -> tuple[Finding, ...]:
        return tuple(found for found in self.applying if found.hazard.waivable)
