"""What passes remember of what they rendered changes no decision: any course of edits, beside a memory that is empty.

The memory is kept from pass to pass and from edit to edit back to what was before, so that what was rendered for one
spec is at hand while another is declared.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support.ill_cell import NEW, OLD, on_old
from support.remembered import Beside, beside, forget, remembering
from support.simulation import KEY, DieAt, Namespace, service

from controlplane.api import names
from controlplane.domain.cluster import manifests
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

Edit = Callable[[dict[str, Any]], None]


def of_spec(**fields: Any) -> Edit:
    return lambda obj: obj["spec"].update(fields)


def of_pool(**fields: Any) -> Edit:
    return lambda obj: obj["spec"]["nodePools"][0].update(fields)


def of_annotations(**words: str) -> Edit:
    return lambda obj: (
        obj["metadata"]
        .setdefault("annotations", {})
        .update({getattr(names, name.upper()): word for name, word in words.items()})
    )


EDITS: dict[str, Edit] = {
    "the old version": of_spec(version=OLD),
    "the new version": of_spec(version=NEW),
    "a pin": of_spec(metadataVersion="4.2-IV1"),
    "no pin": lambda obj: obj["spec"].pop("metadataVersion", None),
    "no config": of_spec(config={}),
    "a static setting": of_spec(config={"num.io.threads": 4}),
    "the same as text": of_spec(config={"num.io.threads": "4"}),
    "another value": of_spec(config={"num.io.threads": 5}),
    "a setting that is dynamic": of_spec(config={"log.retention.ms": 60000}),
    "min ISR": of_spec(config={"min.insync.replicas": 1}),
    "a heap": of_pool(jvm={"heap": "256Mi"}),
    "another heap": of_pool(jvm={"heap": "1536Mi"}),
    "a cpu as a number": of_pool(resources={"requests": {"cpu": 1}}),
    "a cpu as text": of_pool(resources={"requests": {"cpu": "1"}}),
    "a limit": of_pool(resources={"limits": {"cpu": "1"}}),
    "no resources": lambda obj: obj["spec"]["nodePools"][0].pop("resources", None),
    "a listener": of_spec(listeners=[{"name": "clients", "port": 9092}]),
    "another port": of_spec(listeners=[{"name": "clients", "port": 9094}]),
    "two listeners": of_spec(listeners=[{"name": "clients", "port": 9092}, {"name": "more", "port": 9095}]),
    "four nodes": of_pool(replicas=4),
    "three nodes": of_pool(replicas=3),
    "paused": of_annotations(paused="true"),
    "not paused": of_annotations(paused="false"),
}


async def edit(namespace: Namespace, change: Edit) -> None:
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    change(obj)
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)


async def course(edits: list[tuple[str, int]]) -> Beside:
    """Each edit with so many passes after it, of one operator that remembers."""
    namespace = await on_old()
    forget()
    engine = service(namespace, DieAt())
    seen = beside(engine)
    for name, passes in edits:
        await edit(namespace, EDITS[name])
        for _ in range(passes):
            namespace.turn()
            await engine.reconcile(KEY)
    return seen


@settings(max_examples=12)
@given(st.lists(st.tuples(st.sampled_from(sorted(EDITS)), st.integers(1, 4)), min_size=2, max_size=8))
@example([("another value", 2), ("the same as text", 2), ("another value", 2), ("a static setting", 2)])
@example([("a cpu as a number", 3), ("a cpu as text", 3), ("no resources", 1)])
def test_no_decision_is_another_one_for_what_is_remembered(edits: list[tuple[str, int]]) -> None:
    seen = asyncio.run(course(edits))
    assert seen.asked
    assert seen.stale() == []


BY_NAME = [("a static setting", 2), ("another value", 2)]


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("_spec_hash", lambda design, node, _: (design.name, node)),
        ("_server_properties", lambda design, node: (replace(design, config=()), node)),
        ("_pod_template", lambda design, node, _: (design.uid, node.id)),
    ],
)
def test_a_memory_that_goes_by_too_little_is_found(
    name: str, key: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    made = getattr(manifests, name).__wrapped__
    memory: dict[object, str] = {}

    def remembered(*arguments: Any) -> str:
        return memory.setdefault(key(*arguments), made(*arguments))

    remembered.cache_clear = memory.clear  # type: ignore[attr-defined]
    monkeypatch.setattr(manifests, name, remembered)
    seen = asyncio.run(course(BY_NAME))
    assert len(seen.stale()) > 0


def test_every_memory_is_bounded_and_what_is_rendered_is_among_them() -> None:
    found = {function.__name__: function for function in remembering()}
    rendering = {"_server_properties", "_spec_hash", "_pod_template", "_aspects"}
    assert rendering <= found.keys()
    assert [name for name in rendering if found[name].cache_info().maxsize is None] == []
