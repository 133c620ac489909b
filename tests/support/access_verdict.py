"""What a scenario of `make campaign-access` and its record have to say to count. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from support.campaign_verdict import whole_problems

RECORD = "campaign-access"
MINIMUM_ACKNOWLEDGED = 200
REFUSALS = frozenset(
    {"_AUTHENTICATION", "_SSL", "SASL_AUTHENTICATION_FAILED"}
    | {f"{what}_AUTHORIZATION_FAILED" for what in ("TOPIC", "GROUP", "CLUSTER", "TRANSACTIONAL_ID")}
)
"""librdkafka's names of what a broker, or the client itself, says to somebody who is not let in. Everything else that
a client tells while nodes restart it tries again by itself."""

GIVEN = "given certificate: another host, renewed, another key, expired"
REFUSED = "refused through every listener"
OUTSIDE = "outside of ACLs through every users' listener"
REVOKED = "revoked on a live connection"
ROTATED = "credentials rotated with running clients"
BY_HAND = "Secrets edited and deleted by hand"
CLUSTER_CA = "succession of the cluster's authority, of a few minutes' life"
CLIENTS_CA = "succession of the clients' authority with users of certificates"
KILLED = "operator killed in each stage of a succession"
LEAKS = "no secret anywhere but in Secrets"
POOLS = "controllers and brokers apart, with TLS"
BY_NAME = "nodes addressed by name"
STAGES = "authorization turned on in stages, operator killed in each"
CONTROL = "control: a client that does not follow, a loss and a leak are found"
SCENARIOS = (
    *(GIVEN, REFUSED, OUTSIDE, REVOKED, ROTATED, BY_HAND, CLUSTER_CA, CLIENTS_CA, KILLED),
    *(LEAKS, POOLS, BY_NAME, STAGES, CONTROL),
)
"""What the record must hold, all of it passed."""
UNDER_TRAFFIC = frozenset({GIVEN, ROTATED, BY_HAND, CLUSTER_CA, CLIENTS_CA, KILLED, STAGES})
"""Scenarios that prove nothing without clients that went on all the time."""


def complaints(account: Mapping[str, Any]) -> list[str]:
    """What speaks against how one client fared; empty when it had nothing but retried requests."""
    wrong = [f"{account[key]} records {key}" for key in ("lost", "failed") if account[key]]
    wrong += [f"{times} times {code}" for code, times in sorted(account["errors"].items()) if code in REFUSALS]
    if account["acknowledged"] < MINIMUM_ACKNOWLEDGED:
        wrong.append(f"only {account['acknowledged']} records acknowledged: no traffic to speak of")
    return wrong


def account_of(acknowledged: Iterable[str], read: Mapping[str, int]) -> dict[str, int]:
    """Records that were acknowledged against how often each stands in the log."""
    acked = set(acknowledged)
    return {
        "acknowledged": len(acked),
        "lost": sum(record not in read for record in acked),
        "duplicated": sum(read.get(record, 0) > 1 for record in acked),
    }


def scenario_problems(outcomes: Any) -> list[str]:
    """Why the outcomes of a record are not those of a whole campaign that passed; empty when they are."""
    found = whole_problems(outcomes, SCENARIOS)
    if found:
        return found
    for entry in outcomes["scenarios"]:
        traffic = entry["figures"].get("traffic")
        if entry["name"] in UNDER_TRAFFIC and not traffic:
            found.append(f"scenario {entry['name']!r} had no traffic")
        for client, account in (traffic or {}).items():
            found += [f"scenario {entry['name']!r}, {client}: {wrong}" for wrong in complaints(account)]
    return found
