"""The files and the goal of `kfleet rebalance plan`, read into values; what is wrong with them is said by field."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from controlplane.api.quantity import QuantityError, parse_bytes
from controlplane.cli.brokers_file import MOST_WEIGHT
from controlplane.cli.errors import CliError, ExitCode
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

MOST_ID = 2**31 - 1
"""Broker ids and partitions are int32 in Kafka's protocol."""
MOST_BYTES = 2**60
GOALS = "balance, bytes, leaders, racks, drain:1,2, move-to:4,5,6, replicas:3, move-away:1"
BROKER_FIELDS = ("id", "rack", "weight", "capacity")


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
    """What was meant. `name` is the goal as typed; `sized`: sizes are known."""

    name: str
    assignment: Assignment
    brokers: tuple[Broker, ...]
    goal: Goal
    sized: bool


def read_given(given: Given) -> Question:
    """Raises OSError, and CliError for what makes no sense."""
    _goal_known(given)
    partitions = tuple(_partitions(given.assignment, given.min_isr))
    brokers = tuple(_brokers(given.brokers))
    if given.sizes is not None:
        partitions = _sized(partitions, given.sizes)
    if given.allowed is not None:
        partitions = _allowed(partitions, given.allowed)
    goal = _goal(given, frozenset(partition.topic for partition in partitions))
    return Question(given.goal, Assignment(partitions), brokers, goal, given.sizes is not None)


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
    document = _read(file)
    if not isinstance(document, dict) or not isinstance(document.get("partitions"), list):
        raise CliError(f'{file}: not an assignment: it is {{"version": 1, "partitions": [...]}}')
    if document.get("version", 1) != 1:
        raise CliError(f"{file}: version: {document['version']!r} is not known: it is 1")
    for number, entry in enumerate(document["partitions"]):
        where = f"{file}: partitions[{number}]"
        _object(where, entry)
        topic, partition, replicas = entry.get("topic"), entry.get("partition"), entry.get("replicas")
        if not isinstance(topic, str):
            raise CliError(f"{where}.topic: {topic!r} is not the name of a topic")
        if problem := illegal_name(topic):
            raise CliError(f"{where}.topic: {topic!r} {problem}")
        _whole(f"{where}.partition", partition, MOST_ID)
        if not isinstance(replicas, list):
            raise CliError(f"{where}.replicas: {replicas!r} is not a list of broker ids")
        for place, one in enumerate(replicas):
            _whole(f"{where}.replicas[{place}]", one, MOST_ID)
        yield Partition(topic, partition, tuple(replicas), min_isr=min_isr)


def _brokers(file: Path) -> Iterator[Broker]:
    document = _read(file)
    if not isinstance(document, list):
        raise CliError(f'{file}: not a list of brokers: it is [{{"id": 1, "rack": "a", "weight": 1.0}}]')
    for number, entry in enumerate(document):
        where = f"{file}: [{number}]"
        _object(where, entry)
        if strange := sorted(set(entry) - set(BROKER_FIELDS)):
            raise CliError(f"{where}.{strange[0]}: no such field; a broker has {', '.join(BROKER_FIELDS)}")
        _whole(f"{where}.id", entry.get("id"), MOST_ID)
        rack, weight = entry.get("rack"), entry.get("weight", 1.0)
        if rack is not None and not isinstance(rack, str):
            raise CliError(f"{where}.rack: {rack!r} is not text: put it in quotes")
        if isinstance(weight, bool) or not isinstance(weight, int | float):
            raise CliError(f"{where}.weight: {weight!r} is not a number")
        if abs(weight) > MOST_WEIGHT:
            raise CliError(f"{where}.weight: not above 0 and at most {MOST_WEIGHT}: only proportions count")
        capacity = entry.get("capacity")
        yield Broker(
            entry["id"],
            rack or None,
            float(weight),
            None if capacity is None else _bytes(f"{where}.capacity", capacity),
        )


def _sized(partitions: tuple[Partition, ...], file: Path) -> tuple[Partition, ...]:
    document = _read(file)
    if not isinstance(document, dict):
        raise CliError(f'{file}: not sizes: they are {{"TOPIC-PARTITION": bytes of one replica}}')
    sizes = {name: _bytes(f"{file}: {name}", value) for name, value in document.items()}
    names = {str(partition.id) for partition in partitions}
    if strange := sorted(sizes.keys() - names):
        raise CliError(f"{file}: {strange[0]}: not a partition of the assignment{_and_more(strange)}")
    if missing := sorted(names - sizes.keys()):
        raise CliError(f"{file}: {missing[0]}: its size is missing{_and_more(missing)}: give 0 if it is empty")
    return tuple(replace(partition, size=sizes[str(partition.id)]) for partition in partitions)


def _allowed(partitions: tuple[Partition, ...], file: Path) -> tuple[Partition, ...]:
    document = _read(file)
    if not isinstance(document, dict):
        raise CliError(f'{file}: not a list of what is allowed: it is {{"PATTERN of topics": [ids]}}')
    rules: dict[str, frozenset[int]] = {}
    for pattern, ids in document.items():
        if not isinstance(ids, list) or not ids:
            raise CliError(f"{file}: {pattern}: {ids!r} is not a list of broker ids")
        for place, one in enumerate(ids):
            _whole(f"{file}: {pattern}[{place}]", one, MOST_ID)
        rules[pattern] = frozenset(ids)
    by_topic = {topic: _rule(file, rules, topic) for topic in {partition.topic for partition in partitions}}
    return tuple(replace(partition, allowed=by_topic[partition.topic]) for partition in partitions)


def _rule(file: Path, rules: Mapping[str, frozenset[int]], topic: str) -> frozenset[int] | None:
    meant = [pattern for pattern in rules if fnmatchcase(topic, pattern)]
    if len(meant) > 1:
        raise CliError(f"{file}: topic {topic} is meant by {meant[0]} and by {meant[1]}: leave one of them")
    return rules[meant[0]] if meant else None


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except json.JSONDecodeError as error:
        raise CliError(f"{file}: not JSON: line {error.lineno} column {error.colno}: {error.msg}") from None
    except (UnicodeDecodeError, RecursionError, ValueError) as error:
        raise CliError(f"{file}: not JSON: {error}") from None


def _object(where: str, entry: Any) -> None:
    if not isinstance(entry, dict):
        raise CliError(f"{where}: {entry!r} is not an object")


def _whole(where: str, value: Any, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise CliError(f"{where}: {value!r} is not a whole number from 0 to {most}")


def _bytes(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise CliError(f"{where}: {value!r} is not a size: give bytes, or text such as '10Gi'")
    try:
        amount = parse_bytes(value)
    except QuantityError as error:
        raise CliError(f"{where}: {error}") from None
    if amount > MOST_BYTES:
        raise CliError(f"{where}: {value!r} is more than an exbibyte")
    return amount


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= len(str(MOST_ID)) and int(text) <= MOST_ID


def _ids(text: str) -> frozenset[int]:
    return frozenset(int(one) for one in text.split(","))


def _and_more(names: list[str]) -> str:
    return f" (and {len(names) - 1} more)" if len(names) > 1 else ""


def _usage(message: str) -> CliError:
    return CliError(message, ExitCode.USAGE)
