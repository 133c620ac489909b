"""The catalogue behind `kfleet explain`: every name that kfleet says, what it means and what to do.

A test walks the source and fails when a name is produced that is not here, or is here and nobody produces it.
"""

from __future__ import annotations

import difflib

from controlplane.domain.explain.access import ACCESS, ACCESS_ACTIONS
from controlplane.domain.explain.away import AWAY, AWAY_ACTIONS, AWAY_STEPS
from controlplane.domain.explain.clients import CANARY_ACTIONS, CLIENTS
from controlplane.domain.explain.conditions import CONDITIONS, REASONS
from controlplane.domain.explain.entry import Entry as Entry
from controlplane.domain.explain.entry import Sort as Sort
from controlplane.domain.explain.external import EXTERNAL, EXTERNAL_ACTIONS, EXTERNAL_CAUSES
from controlplane.domain.explain.health import CLUSTER_STATES, HEALTH_CHECKS, OPERATION_STATES
from controlplane.domain.explain.members import MEMBER_CHECKS, MEMBER_EVENTS, MEMBER_STEPS
from controlplane.domain.explain.nodes import NODES
from controlplane.domain.explain.operations import APPROVALS, EVENTS, FROZEN, GUARDS, HOLDS, OUTCOMES
from controlplane.domain.explain.rebalance import REBALANCE_CHECKS, REBALANCE_CONDITIONS, REBALANCE_STEPS
from controlplane.domain.explain.rolling import ACTIONS, CAUSES, GATES, HEALTH, STEPS
from controlplane.domain.explain.sandbox import SANDBOX
from controlplane.domain.explain.shedding import SHEDDING
from controlplane.domain.explain.spec import CLUSTER_SPEC, TOPICS
from controlplane.domain.explain.tenants import TENANT_CONDITIONS, TENANTS
from controlplane.domain.explain.topics import TENANT_TOPICS, TOPIC_CONDITIONS
from controlplane.domain.explain.users import USERS

CHAPTERS: dict[str, tuple[Entry, ...]] = {
    "Conditions": CONDITIONS,
    "Reasons of conditions": REASONS,
    "States of a cluster": CLUSTER_STATES,
    "What `kfleet cluster health` asks": HEALTH_CHECKS,
    "What a cluster's spec is refused for": CLUSTER_SPEC,
    "Certificates and listeners": (*ACCESS, *EXTERNAL),
    "What a topic is refused for": TOPICS,
    "Conditions of a tenant's topic": TOPIC_CONDITIONS,
    "What a tenant's topic is refused for": TENANT_TOPICS,
    "Users": USERS,
    "Conditions of a tenant": TENANT_CONDITIONS,
    "Tenants": TENANTS,
    "States of an operation": OPERATION_STATES,
    "What keeps any operation waiting": HOLDS,
    "Hazards and maintenance windows": GUARDS,
    "Approvals": APPROVALS,
    "What ends a plan whose steps are fixed": FROZEN,
    "What a roll waits for: nodes": HEALTH,
    "What a roll waits for: before a node is stopped": (*GATES, *AWAY),
    "What an upgrade asks of clients": CLIENTS,
    "Steps of a roll": (*STEPS, *AWAY_STEPS),
    "What a change of members waits for": MEMBER_CHECKS,
    "Steps of a change of members": MEMBER_STEPS,
    "Conditions of a rebalance": REBALANCE_CONDITIONS,
    "What a rebalance waits for": REBALANCE_CHECKS,
    "Steps of a rebalance": REBALANCE_STEPS,
    "Load shedding": SHEDDING,
    "Why a node is restarted": (*CAUSES, *EXTERNAL_CAUSES),
    "Actions": (*ACTIONS, *ACCESS_ACTIONS, *EXTERNAL_ACTIONS, *CANARY_ACTIONS, *AWAY_ACTIONS),
    "How an operation ends": OUTCOMES,
    "Events": (*EVENTS, *MEMBER_EVENTS),
    "States of a node": NODES,
    "Events of the sandbox": SANDBOX,
}
CATALOGUE: dict[str, Entry] = {entry.name: entry for chapter in CHAPTERS.values() for entry in chapter}
NEAREST = 3


def find(name: str) -> Entry | None:
    """The entry of that name, in any case of its letters."""
    wanted = name.lower()
    return next((entry for known, entry in CATALOGUE.items() if known.lower() == wanted), None)


def nearest(name: str) -> list[str]:
    """Names that may have been meant: those that contain it, then those that look like it; at most three."""
    wanted = name.lower()
    inside = sorted((known for known in CATALOGUE if len(wanted) > 2 and wanted in known.lower()), key=len)
    lower = {known.lower(): known for known in CATALOGUE}
    alike = [lower[found] for found in difflib.get_close_matches(wanted, lower, n=NEAREST, cutoff=0.6)]
    return list(dict.fromkeys([*inside, *alike]))[:NEAREST]
