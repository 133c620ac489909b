"""What an upgrade asks of clients: the canary and consumer lag, against the level before."""

from __future__ import annotations

from controlplane.domain.explain.entry import Entry, Sort

_CHECK = (Sort.CHECK,)
_ACTION = (Sort.ACTION,)
_LASTS = "It counts once it has lasted for spec.rollout.faultAfter; a spike does not. A soak begins anew after it."
_SEE = ("kfleet cluster health NAME", "kubectl logs POD")

CLIENTS = (
    Entry(
        "CanaryErrors",
        _CHECK,
        "Writes of the operator's own canary (acks=all, one partition a broker) fail, several in half a minute and "
        "more than before the upgrade. Each was tried for ten seconds, so other clients' writes fail as well.",
        _LASTS,
        "Read the logs of the brokers that were upgraded, and of those named.",
        _SEE,
    ),
    Entry(
        "CanarySlow",
        _CHECK,
        "Half of the canary's writes to some broker, or the slowest hundredth of all, take more than three times as "
        "long as before the upgrade, by more than a restart explains.",
        _LASTS,
        "Look at the disks and logs of the brokers named, and of the followers that their writes wait for.",
        _SEE,
    ),
    Entry(
        "ConsumerLagGrows",
        _CHECK,
        "Consumer groups have fallen behind for most of a minute without catching up once, to more than twice the lag "
        "before the upgrade and at least 1,000 records more, and faster than they did before.",
        _LASTS,
        "Read the logs of these consumers: whether they still fetch and commit, and what the brokers answer.",
        _SEE,
    ),
    Entry(
        "CanaryRefused",
        _CHECK,
        "Kafka refused to make or delete the canary's topic __kfleet_canary (a policy, for example); the message has "
        "its words.",
        "An upgrade goes on without a canary. So does one that finds a topic of that name with other settings: it is "
        "never written to or deleted, and the operator's log says so.",
        "Let the topic be made, or set spec.rollout.canary to Disabled; delete a topic of that name that nobody uses.",
    ),
)

CANARY_ACTIONS = (
    Entry(
        "CreateCanaryTopic",
        _ACTION,
        "An upgrade begins: the topic __kfleet_canary is made, one partition led by each broker, for the operator's "
        "own small writes (spec.rollout.canary).",
        "Once, while every broker is up; it holds ten minutes of records, and its min ISR is 1 so that it blocks "
        "nothing.",
        see=("kfleet explain CanaryErrors",),
    ),
    Entry(
        "DeleteCanaryTopic",
        _ACTION,
        "No upgrade is under way any more, spec.rollout.canary is Disabled, or brokers that it lies on leave: the "
        "topic __kfleet_canary goes.",
        "By its topic id, and only with the settings that kfleet gave it; others may have been added to them.",
    ),
)
