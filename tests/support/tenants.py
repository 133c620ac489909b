"""A cell with tenants in memory, around the pure planner: statuses that are written one by one, an operator that can
die between any two writes, and KafkaRebalances that do what they say when a test lets them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from controlplane.api import names
from controlplane.api.conditions import timestamp
from controlplane.api.kafka_tenant import KafkaTenant, TenantCellStatus
from controlplane.domain.observation import PartitionObservation, TopicPartition
from controlplane.domain.placement.values import Broker, Fleet
from controlplane.domain.rebalance.asked import MoveState
from controlplane.domain.tenants.directory import Cell, Directory, cell_status, directory
from controlplane.domain.tenants.planner import plan_cell
from controlplane.domain.tenants.status import tenant_status
from controlplane.domain.tenants.values import CellView, Move, MoveRequest, Outcome

CELL = Cell("kafka", "cell")
START = 1_800_000_000.0


def tenant_object(name: str, *, at: float = START, cells: Iterable[Cell] = (CELL,), **spec: Any) -> dict[str, Any]:
    """One that lists a namespace of its own name; `spec` in the words of the API; `annotations` apart."""
    shard = {"size": 3, "maxOverlap": 1, "replacementDelay": "10m"} | spec.pop("shard", {})
    annotations = spec.pop("annotations", {})
    return {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {
            "name": name,
            "uid": f"uid-{name}",
            "generation": 1,
            "creationTimestamp": timestamp(at),
            "annotations": annotations,
        },
        "spec": {
            "owner": {"team": name},
            "namespaces": [name],
            "topicPrefix": f"{name}.",
            "cells": [{"kind": "KafkaCluster", "namespace": cell.namespace, "name": cell.name} for cell in cells],
            "shard": shard,
        }
        | spec,
    }


def tenant(name: str, **words: Any) -> KafkaTenant:
    return KafkaTenant.model_validate(tenant_object(name, **words))


class DiedError(Exception):
    """The operator, between two writes."""


@dataclass
class TenantCell:
    """`brokers` to zones. Topics are lists of replicas."""

    brokers: dict[int, str]
    now: float = START + 1000
    tenants: dict[str, KafkaTenant] = field(default_factory=dict)
    down: set[int] = field(default_factory=set)
    topics: dict[str, list[tuple[int, ...]]] = field(default_factory=dict)
    moves: dict[str, Move] = field(default_factory=dict)
    requests: dict[str, MoveRequest] = field(default_factory=dict)
    writes: int = 0
    die_at: int | None = None

    def add(self, name: str, **words: Any) -> None:
        self.tenants[name] = tenant(name, **words)

    def change(self, name: str, **shard: Any) -> None:
        """The spec's shard, as `kubectl edit` does."""
        old = self.tenants[name]
        body = old.to_object()
        body["spec"]["shard"] |= shard
        body["metadata"]["generation"] += 1
        self.tenants[name] = KafkaTenant.model_validate(body)

    def annotate(self, name: str, **annotations: str) -> None:
        body = self.tenants[name].to_object()
        body["metadata"]["annotations"] = annotations
        self.tenants[name] = KafkaTenant.model_validate(body)

    @property
    def directory(self) -> Directory:
        return directory(self.tenants.values())

    @property
    def fleet(self) -> Fleet:
        return Fleet(tuple(Broker(broker, zone) for broker, zone in sorted(self.brokers.items())))

    def view(self, sizes: Mapping[TopicPartition, int] | None = None) -> CellView:
        partitions = [
            PartitionObservation(topic, number, replicas[0], replicas, replicas, 1)
            for topic, of_topic in sorted(self.topics.items())
            for number, replicas in enumerate(of_topic)
        ]
        return CellView(CELL, self.fleet, frozenset(self.down), partitions, sizes, dict(self.moves))

    def plan(self) -> dict[str, Outcome]:
        return plan_cell(self.directory, self.view(), self.now)

    def turn(self) -> dict[str, Outcome]:
        """One pass: statuses first, then KafkaRebalances. Raises DiedError."""
        known = self.directory
        outcomes = plan_cell(known, self.view(), self.now)
        for name, outcome in outcomes.items():
            before = self.tenants[name]
            status = tenant_status(before, {CELL: outcome.status}, known.conflicts(before), now=self.now)
            if status != before.status:
                self._write()
                self.tenants[name] = before.model_copy(update={"status": status})
        for outcome in outcomes.values():
            if (wanted := outcome.create) is not None and wanted.name not in self.moves:
                self._write()
                self.requests[wanted.name] = wanted
                self.moves[wanted.name] = Move(wanted.name, wanted.tenant, MoveState.UNDER_WAY, wanted.generation)
        return outcomes

    def _write(self) -> None:
        self.writes += 1
        if self.die_at is not None and self.writes == self.die_at:
            self.die_at = None
            raise DiedError

    def settle(self, *, work: bool = True, passes: int = 60) -> None:
        """Until nothing changes any more, an operator that dies being started again; `work` lets moves be done."""
        for _ in range(passes):
            before = (dict(self.tenants), dict(self.moves))
            try:
                self.turn()
            except DiedError:
                continue
            for name, move in list(self.moves.items()):
                if work and move.state is MoveState.UNDER_WAY:
                    self.finish(name)
            if before == (self.tenants, self.moves):
                return
        raise AssertionError(f"still changing after {passes} passes: {self.shards()}")

    def finish(self, name: str) -> None:
        """Each replica that lies elsewhere goes to a broker of the target that has none of its partition."""
        request = self.requests[name]
        for topic in request.topics:
            for number, replicas in enumerate(self.topics.get(topic, ())):
                kept = [broker for broker in replicas if broker in request.brokers]
                others = [broker for broker in request.brokers if broker not in kept]
                self.topics[topic][number] = tuple((kept + others)[: len(replicas)])
        self.moves[name] = replace(self.moves[name], state=MoveState.COMPLETE, ended_at=self.now - 60)

    def fail(self, name: str, reason: str = "Denied") -> None:
        self.moves[name] = replace(
            self.moves[name], state=MoveState.FAILED, reason=reason, message="bob: not now", ended_at=self.now
        )

    def status(self, name: str) -> TenantCellStatus:
        found = cell_status(self.tenants[name], CELL)
        assert found is not None, f"{name} has no record"
        return found

    def ready(self, name: str) -> tuple[str, str]:
        """(status of Ready, its reason)."""
        found = next(one for one in self.tenants[name].status.conditions if one.type == "Ready")
        return found.status, found.reason

    def shards(self) -> dict[str, tuple[int, ...]]:
        found = {name: cell_status(one, CELL) for name, one in self.tenants.items()}
        return {name: one.shard for name, one in found.items() if one is not None}

    def stray(self, name: str) -> list[str]:
        """Topics of a tenant with a replica where none may be."""
        prefix, allowed = self.tenants[name].spec.topic_prefix, set(self.status(name).shard)
        return [
            topic
            for topic, of_topic in self.topics.items()
            if topic.startswith(prefix) and not {broker for one in of_topic for broker in one} <= allowed
        ]


def cell_of(zones: int, each: int) -> TenantCell:
    return TenantCell({zone * each + at: "abcdefgh"[zone] for zone in range(zones) for at in range(each)})


SHARD = names.SHARD
