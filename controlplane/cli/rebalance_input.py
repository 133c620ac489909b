"""The files and the goal of `kfleet rebalance plan`, read into values; what is wrong with them is said by field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from controlplane.cli.brokers_file import MOST_ID, read_brokers
from controlplane.cli.errors import CliError, ExitCode
from controlplane.cli.json_file import check_object, check_whole, read_json, to_bytes
from controlplane.domain.rebalance.values import (
    Assignment,
    Balance,
    BalanceBytes,
    Broker,
    ChangeReplicas,
    Drain,
    Goal,
    Leaders,
    MoveAway,
    MoveTo,
    Partition,
    Racks,
)
from controlplane.domain.topics.rules import illegal_name

GOALS = "balance, bytes, leaders, racks, drain:1,2, move-to:4,5,6, replicas:3, move-away:1"


@dataclass(frozen=True, slots=True)
class Given:
    """What was typed."""

    assignment: Path
    brokers: Path
    goal: str
    sizes: Path | None = None
    topics: tuple[str, ...] = ()
    allowed: Path | None = None
    tolerance: float = 0.1
    min_isr: int = 2


@dataclass(frozen=True, slots=True)
class Question:
    """What was meant. `name` is the goal as typed; `sized`: sizes are known; `idle`: patterns that mean no topic."""

    name: str
    assignment: Assignment
    brokers: tuple[Broker, ...]
    goal: Goal
    sized: bool
    idle: tuple[str, ...] = ()


def read_given(given: Given) -> Question:
    """Raises OSError, and CliError for what makes no sense."""
    _goal_known(given)
    partitions = tuple(_partitions(given.assignment, given.min_isr))
    brokers = tuple(Broker(one.id, one.rack, one.weight, one.capacity) for one in read_brokers(given.brokers))
    if given.sizes is not None:
        partitions = _sized(partitions, given.sizes)
    idle: tuple[str, ...] = ()
    if given.allowed is not None:
        partitions, idle = _allowed(partitions, given.allowed)
    goal = _goal(given, frozenset(partition.topic for partition in partitions))
    return Question(given.goal, Assignment(partitions), brokers, goal, given.sizes is not None, idle)


def _goal_known(given: Given) -> None:
    kind, _, rest = given.goal.partition(":")
    if kind in {"balance", "bytes", "leaders", "racks"} and not rest:
        takes_topics = False
    elif kind in {"drain", "move-to", "move-away"}:
        if not rest or not all(_is_number(one) for one in rest.split(",")):
            raise _usage(f"--goal {given.goal}: {kind} takes ids of brokers, such as {kind}:1,2")
        takes_topics = kind == "move-to"
    elif kind == "replicas":
        if not _is_number(rest):
            raise _usage(f"--goal {given.goal}: replicas takes a number, such as replicas:3")
        takes_topics = True
    else:
        raise _usage(f"--goal {given.goal}: no such goal: use one of {GOALS}")
    if given.topics and not takes_topics:
        raise _usage(f"--topics is for move-to and replicas; {kind} is for all of them")
    if kind == "move-to" and not given.topics:
        raise _usage("--goal move-to: say which topics move with --topics, such as --topics 'checkout.*'")


def _goal(given: Given, topics: frozenset[str]) -> Goal:
    kind, _, rest = given.goal.partition(":")
    match kind:
        case "drain":
            return Drain(_ids(rest))
        case "move-away":
            return MoveAway(_ids(rest))
        case "move-to":
            return MoveTo(_ids(rest), _matching(given.topics, topics))
        case "replicas":
            return ChangeReplicas(int(rest), _matching(given.topics, topics) if given.topics else None)
        case "bytes":
            return BalanceBytes(given.tolerance)
        case "leaders":
            return Leaders()
        case "racks":
            return Racks()
    return Balance()


def _matching(patterns: tuple[str, ...], topics: frozenset[str]) -> frozenset[str]:
    for pattern in patterns:
        if not any(fnmatchcase(topic, pattern) for topic in topics):
            raise CliError(f"--topics {pattern}: no topic of the assignment is meant by it")
    return frozenset(topic for topic in topics if any(fnmatchcase(topic, pattern) for pattern in patterns))


def _partitions(file: Path, min_isr: int) -> Iterator[Partition]:
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("partitions"), list):
        raise CliError(f'{file}: not an assignment: it is {{"version": 1, "partitions": [...]}}')
    if document.get("version", 1) != 1:
        raise CliError(f"{file}: version: {document['version']!r} is not known: it is 1")
    for number, entry in enumerate(document["partitions"]):
        where = f"{file}: partitions[{number}]"
        check_object(where, entry)
        topic, partition, replicas = entry.get("topic"), entry.get("partition"), entry.get("replicas")
        if not isinstance(topic, str):
            raise CliError(f"{where}.topic: {topic!r} is not the name of a topic")
        if problem := illegal_name(topic):
            raise CliError(f"{where}.topic: {topic!r} {problem}")
        check_whole(f"{where}.partition", partition, MOST_ID)
        if not isinstance(replicas, list):
            raise CliError(f"{where}.replicas: {replicas!r} is not a list of broker ids")
        for place, one in enumerate(replicas):
            check_whole(f"{where}.replicas[{place}]", one, MOST_ID)
        yield Partition(topic, partition, tuple(replicas), min_isr=min_isr)


def _sized(partitions: tuple[Partition, ...], file: Path) -> tuple[Partition, ...]:
    document = read_json(file)
    if not isinstance(document, dict):
        raise CliError(f'{file}: not sizes: they are {{"TOPIC-PARTITION": bytes of one replica}}')
    sizes = {name: to_bytes(f"{file}: {name}", value) for name, value in document.items()}
    names = {str(partition.id) for partition in partitions}
    if strange := sorted(sizes.keys() - names):
        raise CliError(f"{file}: {strange[0]}: not a partition of the assignment{_and_more(strange)}")
    if missing := sorted(names - sizes.keys()):
        raise CliError(f"{file}: {missing[0]}: its size is missing{_and_more(missing)}: give 0 if it is empty")
    return tuple(replace(partition, size=sizes[str(partition.id)]) for partition in partitions)


def _allowed(partitions: tuple[Partition, ...], file: Path) -> tuple[tuple[Partition, ...], tuple[str, ...]]:
    """Partitions with the brokers that they are kept on, and the patterns that mean none of them."""
    document = read_json(file)
    if not isinstance(document, dict):
        raise CliError(f'{file}: not a list of what is allowed: it is {{"PATTERN of topics": [ids]}}')
    rules: dict[str, frozenset[int]] = {}
    for pattern, ids in document.items():
        if not isinstance(ids, list) or not ids:
            raise CliError(f"{file}: {pattern}: {ids!r} is not a list of broker ids")
        for place, one in enumerate(ids):
            check_whole(f"{file}: {pattern}[{place}]", one, MOST_ID)
        rules[pattern] = frozenset(ids)
    topics = {partition.topic for partition in partitions}
    by_topic = {topic: _rule(file, rules, topic) for topic in topics}
    idle = tuple(pattern for pattern in rules if not any(fnmatchcase(topic, pattern) for topic in topics))
    return tuple(replace(partition, allowed=by_topic[partition.topic]) for partition in partitions), idle


def _rule(file: Path, rules: Mapping[str, frozenset[int]], topic: str) -> frozenset[int] | None:
    meant = [pattern for pattern in rules if fnmatchcase(topic, pattern)]
    if len(meant) > 1:
        raise CliError(f"{file}: topic {topic} is meant by {meant[0]} and by {meant[1]}: leave one of them")
    return rules[meant[0]] if meant else None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ID)) and int(text) <= MOST_ID


def _ids(text: str) -> frozenset[int]:
    return frozenset(int(one) for one in text.split(","))


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _usage(message: str) -> CliError:
    return CliError(message, ExitCode.USAGE)
