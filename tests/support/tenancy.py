"""KafkaTenants that have a shard already, as their own pass would have written it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from controlplane.api.kafka_tenant import KafkaTenant

Object = dict[str, Any]
CELL = {"kind": "KafkaCluster", "namespace": "kafka", "name": "cell"}


def tenant(
    name: str = "shop",
    *,
    shard: Sequence[int] = (),
    target: Sequence[int] = (),
    cells: Sequence[Object] = (CELL,),
    usage: Object | None = None,
    created: str = "2026-01-01T00:00:00Z",
    **spec: Any,
) -> Object:
    """`shard` and `target` in CELL, nothing recorded without; `usage` in another cell, kafka/west."""
    body: Object = {
        "apiVersion": "kfleet.dev/v1alpha1",
        "kind": "KafkaTenant",
        "metadata": {"name": name, "creationTimestamp": created},
        "spec": {
            "owner": {"team": name},
            "namespaces": [name],
            "topicPrefix": f"{name}.",
            "cells": list(cells),
            "shard": {"size": 3},
        }
        | spec,
    }
    places: list[Object] = []
    if shard:
        places.append(CELL | {"shard": list(shard)} | ({"target": list(target)} if target else {}))
    if usage:
        places.append(CELL | {"name": "west", "usage": usage})
    return body | ({"status": {"cells": places}} if places else {})


def read(*objects: Object) -> list[KafkaTenant]:
    return [KafkaTenant.model_validate(obj) for obj in objects]
