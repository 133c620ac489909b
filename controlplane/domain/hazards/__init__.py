"""Hazards: what is known to go wrong with a Kafka version, as data, and what of it applies to one cluster now."""

from controlplane.domain.hazards.catalogue import CATALOGUE, WAIVABLE, find
from controlplane.domain.hazards.values import HAZARD, Affected, Blocks, Finding, Findings, Hazard, Situation

__all__ = [
    "CATALOGUE",
    "HAZARD",
    "WAIVABLE",
    "Affected",
    "Blocks",
    "Finding",
    "Findings",
    "Hazard",
    "Situation",
    "find",
]
