"""What holds a cluster's roll beside the roll's own checks: hazards of its versions, and maintenance windows. Pure.

Each can be set aside by an Approval of the plan and by nothing else (domain/operation/approval.waivers). A cluster
without windows that no blocking hazard applies to has none.
"""

from __future__ import annotations

from controlplane.api.approval import OverrideType
from controlplane.api.owned_config import config_texts
from controlplane.api.validate import check_windows
from controlplane.domain import hazards, versions, windows
from controlplane.domain.cluster import way_back
from controlplane.domain.cluster.world import World
from controlplane.domain.hazards.values import number
from controlplane.domain.operation.permit import Waivable
from controlplane.domain.rolling import values as rolling

GUARDS = frozenset({hazards.HAZARD, windows.OUTSIDE_WINDOW})
"""Names of their checks. They bar stops of ready nodes and finalising, and nothing else (`RollTarget.guards`)."""
_PASSIVE = frozenset({rolling.Step.SOAKING.value})
_AFTER_RESTARTS = frozenset({rolling.Step.ELECTING.value, rolling.Step.SOAKING.value, rolling.Step.FINALISING.value})
_BEFORE_FINALISING = frozenset(step.value for step in rolling.Step) - {rolling.Step.FINALISING.value}
_UNLESS = {hazards.Blocks.RESTART: _AFTER_RESTARTS, hazards.Blocks.FINALISATION: _BEFORE_FINALISING}
"""Verbs of steps that do nothing of what a hazard blocks."""


def guards(world: World) -> tuple[Waivable, ...]:
    """Failed checks, as of the observation's own time. A window bars everything but the soak and the way back.

    Windows that cannot be read say nothing here: the spec is refused for them, with all that it asks for.
    """
    found = []
    declared = world.cluster.spec.maintenance_windows
    window = windows.check_window(declared if not check_windows(declared) else (), world.observation.as_of)
    if not window.ok:
        found.append(Waivable(window, (OverrideType.WINDOW.value, ""), _PASSIVE, forward_only=True))
    at = situation(world)
    if at is not None:
        found += [
            Waivable(finding.check, (OverrideType.HAZARD.value, finding.hazard.id), _UNLESS[finding.hazard.blocks])
            for finding in hazards.find(at).blocking
        ]
    return tuple(found)


def situation(world: World) -> hazards.Situation | None:
    """What hazards are asked about; None while no node has a pod, or for a version that is not known."""
    spec, kafka = way_back.as_recorded(world).cluster.spec, world.observation.kafka
    running = [node.pod.version for node in world.observation.nodes if node.pod]
    if (
        not running
        or not versions.check_known(spec.version).ok
        or not versions.check_pin(spec.version, spec.metadata_version).ok
    ):
        return None
    features = kafka.features if kafka is not None else {}
    levels = versions.finalisation_target(spec.version, spec.metadata_version, features) or {}
    return hazards.Situation(
        observation=world.observation,
        running=min(running, key=number),
        target=spec.version,
        declared=config_texts(spec.config),
        finalised=features.get(versions.METADATA_VERSION),
        level=levels.get(versions.METADATA_VERSION),
    )
