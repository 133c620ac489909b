"""What may stand in `spec.config`: the one list behind the admission policies and behind reconcile's own check.

Values reach server.properties, where `${...}` would be expanded by a config provider and a line break would begin
another setting; keys of the operator's own would take its listeners, identity or security away from it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

KEY_PATTERN = "^[A-Za-z0-9][A-Za-z0-9._-]*$"
"""Shape of Kafka's own keys: nothing that means something in a properties file (spaces, line breaks, =, :, #, !)."""
MAX_KEY_LENGTH = 200
MAX_VALUE_LENGTH = 4096


@dataclass(frozen=True, slots=True)
class OwnedConfig:
    """Keys that only the operator sets: exact ones and whole families by prefix. `remedy` ends the refusal."""

    keys: tuple[str, ...]
    prefixes: tuple[str, ...]
    remedy: str

    def owns(self, key: str) -> bool:
        return key in self.keys or key.startswith(self.prefixes)


CLUSTER = OwnedConfig(
    keys=(
        "advertised.host.name",
        "advertised.listeners",
        "advertised.port",
        "allow.everyone.if.no.acl.found",
        "authorizer.class.name",
        "broker.id",
        "broker.id.generation.enable",
        "broker.rack",
        "config.providers",
        "connections.max.reauth.ms",
        "control.plane.listener.name",
        "controlled.shutdown.enable",
        "controller.listener.names",
        "early.start.listeners",
        "host.name",
        "inter.broker.listener.name",
        "inter.broker.protocol.version",
        "listeners",
        "log.dir",
        "log.dirs",
        "metadata.log.dir",
        "node.id",
        "port",
        "principal.builder.class",
        "process.roles",
        "reserved.broker.max.id",
        "security.inter.broker.protocol",
        "super.users",
    ),
    prefixes=(
        "config.providers.",
        "controller.quorum.",
        "delegation.token.",
        "listener.",
        "password.encoder.",
        "remote.log.",
        "rlmm.config.",
        "rsm.config.",
        "sasl.",
        "ssl.",
        "zookeeper.",
    ),
    remedy="is set by the operator; remove it",
)
"""Broker and controller settings. Prefix `listener.` covers listener.security.protocol.map and listener.name.*."""

TOPIC = OwnedConfig(
    keys=("follower.replication.throttled.replicas", "leader.replication.throttled.replicas"),
    prefixes=(),
    remedy="is set by the operator while replicas move; remove it",
)

BAD_KEY = "is not a setting's name: use letters, digits, '.', '_' and '-'"
KEY_TOO_LONG = f"is longer than {MAX_KEY_LENGTH} characters"
NOT_SCALAR = "must be text, a number or a boolean; write a list as text with commas"
PLACEHOLDER = "must not contain '${': values are taken as they are, never expanded"
LINE_BREAK = "must not contain a line break"
VALUE_TOO_LONG = f"is longer than {MAX_VALUE_LENGTH} characters"


def field_path(key: str) -> str:
    """`spec.config[key]`, on one line whatever the key holds."""
    return f"spec.config[{key[:MAX_KEY_LENGTH]}]".replace("\n", " ").replace("\r", " ")


def check_config(config: Mapping[str, Any], owned: OwnedConfig = CLUSTER) -> list[tuple[str, str]]:
    """Everything wrong with a config map, as (field path, message), keys in order; the same the policies refuse.

    At most one message a key. An empty list means that every value is a scalar and may be written down.
    """
    return [
        (field_path(key), message)
        for key, value in sorted(config.items())
        if (message := _problem(key, value, owned)) is not None
    ]


def _problem(key: str, value: Any, owned: OwnedConfig) -> str | None:
    if len(key) > MAX_KEY_LENGTH:
        return KEY_TOO_LONG
    if re.fullmatch(KEY_PATTERN[1:-1], key) is None:
        return BAD_KEY
    if owned.owns(key):
        return owned.remedy
    if not isinstance(value, str | int | float | bool):
        return NOT_SCALAR
    if isinstance(value, str):
        if len(value) > MAX_VALUE_LENGTH:
            return VALUE_TOO_LONG
        if "${" in value:
            return PLACEHOLDER
        if "\n" in value or "\r" in value:
            return LINE_BREAK
    return None


def config_text(value: str | float) -> str:
    """A scalar as Kafka spells it: true and false in lower case, whole numbers without a fraction or an exponent.

    (YAML `1e6` arrives as a float.)
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def config_texts(config: Mapping[str, Any]) -> dict[str, str]:
    """A checked config map as Kafka takes it."""
    return {key: config_text(value) for key, value in config.items()}
