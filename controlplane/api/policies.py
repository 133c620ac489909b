"""ValidatingAdmissionPolicies for what a CRD's own CEL rules cannot see: maps with values of any type.

They are in-tree objects installed with the CRDs and need no webhook. Each looks only at objects whose spec is new or
changes, so that a key which becomes the operator's in a later version never blocks a label, an annotation or a
deletion. The same rules in Python: `owned_config.check_config`. Who may approve is decided in approval_policies.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from controlplane.api import approval_policies, kafka_cluster, kafka_topic, owned_config
from controlplane.api.approval_policies import bound, matching
from controlplane.api.group import GROUP
from controlplane.api.owned_config import OwnedConfig

Object = dict[str, Any]


_VALUE = "variables.config[k]"
_SCALARS = ("string", "int", "uint", "double", "bool")


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Keys `k` for which `bad` (CEL) is true are refused with `message`."""

    bad: str
    message: str

    def to_object(self) -> Object:
        first = f"variables.config.filter(k, {self.bad})[0].replace('\\n', ' ').replace('\\r', ' ')"
        return {
            "expression": f"!variables.config.exists(k, {self.bad})",
            "message": f"spec.config: a setting {self.message}",
            "messageExpression": f"'spec.config[' + {first} + ']: ' + {_cel(self.message)}",
            "reason": "Invalid",
        }


def _cel(text: str) -> str:
    """A CEL string literal; JSON's escapes are a subset of CEL's."""
    return json.dumps(text)


def _refusals(owned: OwnedConfig) -> tuple[_Refusal, ...]:
    families = "".join(f" || k.startsWith({_cel(prefix)})" for prefix in owned.prefixes)
    text = f"type({_VALUE}) == string"
    return (
        _Refusal(f"size(k) > {owned_config.MAX_KEY_LENGTH}", owned_config.KEY_TOO_LONG),
        _Refusal(f"!k.matches({_cel(owned_config.KEY_PATTERN)})", owned_config.BAD_KEY),
        _Refusal(f"k in {json.dumps(list(owned.keys))}{families}", owned.remedy),
        _Refusal(" && ".join(f"type({_VALUE}) != {scalar}" for scalar in _SCALARS), owned_config.NOT_SCALAR),
        _Refusal(f"{text} && size({_VALUE}) > {owned_config.MAX_VALUE_LENGTH}", owned_config.VALUE_TOO_LONG),
        _Refusal(f"{text} && {_VALUE}.contains('${{')", owned_config.PLACEHOLDER),
        _Refusal(f"{text} && ({_VALUE}.contains('\\n') || {_VALUE}.contains('\\r'))", owned_config.LINE_BREAK),
    )


def _policy(name: str, plural: str, owned: OwnedConfig) -> list[Object]:
    return bound(
        name,
        {
            "matchConstraints": matching(plural, ("CREATE", "UPDATE")),
            "matchConditions": [
                {
                    "name": "config-is-new-or-changes",
                    "expression": "has(object.spec) && has(object.spec.config) && (request.operation == 'CREATE'"
                    " || !has(oldObject.spec.config) || object.spec.config != oldObject.spec.config)",
                }
            ],
            "variables": [{"name": "config", "expression": "object.spec.config"}],
            "validations": [refusal.to_object() for refusal in _refusals(owned)],
        },
    )


def policies() -> list[Object]:
    """Every policy with its binding, in the order to apply them."""
    return [
        *_policy(f"kafkacluster-config.{GROUP}", kafka_cluster.PLURAL, owned_config.CLUSTER),
        *_policy(f"kafkatopic-config.{GROUP}", kafka_topic.PLURAL, owned_config.TOPIC),
        *approval_policies.policies(),
    ]
