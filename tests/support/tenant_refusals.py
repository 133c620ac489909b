"""Bad input of KafkaTenants as tables (see support.refusals)."""

from __future__ import annotations

from typing import Any

import yaml
from support.refusals import ABSENT, EXAMPLES, Escape, Object, Refusal


def tenant() -> Object:
    document: Object = yaml.safe_load((EXAMPLES / "tenants" / "tenant.yaml").read_text())
    return document


_CELL = {"namespace": "kafka", "name": "orders"}
_SHARD = "spec/shard"

TENANT: tuple[Refusal, ...] = (
    Refusal("no owner", {"spec/owner": ABSENT}, "spec.owner", "Required value"),
    Refusal("no team", {"spec/owner": {"team": ""}}, "spec.owner.team"),
    Refusal("no namespaces", {"spec/namespaces": []}, "spec.namespaces", "at least 1 items"),
    Refusal("a namespace that is none", {"spec/namespaces": ["A_b"]}, "spec.namespaces[0]", "should match"),
    Refusal("a namespace twice", {"spec/namespaces": ["a", "a"]}, "spec.namespaces[1]", "Duplicate value"),
    Refusal("no prefix", {"spec/topicPrefix": ABSENT}, "spec.topicPrefix", "Required value"),
    Refusal("an empty prefix", {"spec/topicPrefix": ""}, "spec.topicPrefix"),
    Refusal("a prefix that no topic has", {"spec/topicPrefix": "a b"}, "spec.topicPrefix", "should match"),
    Refusal("Kafka's own topics", {"spec/topicPrefix": "__consumer"}, "spec.topicPrefix", "Kafka's own topics"),
    Refusal("a priority that is none", {"spec/priority": "High"}, "spec.priority", "Unsupported value"),
    Refusal("no cells", {"spec/cells": []}, "spec.cells", "at least 1 items"),
    Refusal("a cell twice", {"spec/cells": [_CELL, _CELL]}, "spec.cells[1]", "Duplicate value"),
    Refusal("a cell of nowhere", {"spec/cells": [{"name": "orders"}]}, "spec.cells[0].namespace", "Required value"),
    Refusal("no shard", {_SHARD: ABSENT}, "spec.shard", "Required value"),
    Refusal("no brokers", {f"{_SHARD}/size": 0}, "spec.shard.size", "greater than or equal to 1"),
    Refusal("a negative overlap", {f"{_SHARD}/maxOverlap": -1}, "spec.shard.maxOverlap", "greater than or equal to 0"),
    Refusal("nothing apart", {f"{_SHARD}/maxOverlap": 3}, "spec.shard.maxOverlap", "less than spec.shard.size"),
    Refusal(
        "one broker and the default overlap", {_SHARD: {"size": 1}}, "spec.shard.maxOverlap", "of one broker takes 0"
    ),
    Refusal("a delay in words", {f"{_SHARD}/replacementDelay": "soon"}, "spec.shard.replacementDelay", "should match"),
    Refusal(
        "no bytes", {"spec/quotas": {"produceBytesPerSecond": "0"}}, "spec.quotas.produceBytesPerSecond", "above zero"
    ),
    Refusal("no time", {"spec/quotas": {"requestPercentage": 0}}, "spec.quotas.requestPercentage"),
    Refusal("no topics", {"spec/limits": {"topics": 0}}, "spec.limits.topics", "greater than or equal to 1"),
    Refusal("storage in words", {"spec/limits": {"storage": "much"}}, "spec.limits.storage", "above zero"),
)
TAKEN: tuple[dict[str, Any], ...] = (
    {},
    {"spec/shard": {"size": 1, "maxOverlap": 0}},
    {"spec/quotas": ABSENT, "spec/limits": ABSENT, "spec/priority": "Critical"},
    {"spec/cells": [_CELL, _CELL | {"namespace": "elsewhere"}]},
)
ESCAPES: tuple[Escape, ...] = (
    Escape("another prefix", {"spec/topicPrefix": "other."}, "spec.topicPrefix", "immutable", {}),
    Escape("a longer prefix", {"spec/topicPrefix": "checkout.x."}, "spec.topicPrefix", "immutable", {}),
)
