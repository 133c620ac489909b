"""Access as Kafka has it: ACL bindings, SCRAM credentials and quotas of principals, in Kafka's own words."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import SecretStr

CLUSTER_RESOURCE = "kafka-cluster"
"""The one name of a resource of type cluster (org.apache.kafka.common.resource.Resource.CLUSTER_NAME)."""
ANY_HOST = "*"
ANY_NAME = "*"
"""With pattern type literal it means every resource of the type (ResourcePattern.WILDCARD_RESOURCE)."""
LITERAL, PREFIXED = "literal", "prefixed"
ALLOW, DENY = "allow", "deny"
ALL = "All"


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One ACL binding. `resource` is topic, group, transactionalId, cluster, delegationToken or user; `operation` is as
    Kafka's tools print it (Read, DescribeConfigs); a code that nobody here knows reads as `unknown-<code>`."""

    principal: str
    resource: str
    name: str
    pattern: str
    operation: str
    permission: str
    host: str = ANY_HOST

    def __str__(self) -> str:
        where = f"{self.resource} {self.name}" if self.pattern == LITERAL else f"{self.resource} {self.name}*"
        host = "" if self.host == ANY_HOST else f" from {self.host}"
        return f"{self.permission} {self.operation} on {where}{host}"


@dataclass(frozen=True, slots=True)
class ScramPassword:
    """A SCRAM-SHA-512 credential to set. Neither repr nor str shows the password.

    `iterations` is all that Kafka says about a credential afterwards.
    """

    user: str
    password: SecretStr
    iterations: int
