"""Listeners that clients outside Kubernetes reach: `spec.listeners[].external` of a KafkaCluster."""

from __future__ import annotations

from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

from pydantic import Field

from controlplane.api.base import ApiModel
from controlplane.api.rules import Schema, map_list, rule, rules

MAX_BROKERS = 100
MAX_ANNOTATIONS = 32
NODE_ID = "{nodeId}"
"""In an advertised host: the broker's node id."""
HOST_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9.:-]*[A-Za-z0-9])?$"
"""A name, or an address of either family without brackets."""
TEMPLATE_PATTERN = r"^([A-Za-z0-9.:-]|\{nodeId\})+$"

NOT_EXTERNAL = "spec.listeners[].external: needs type NodePort or LoadBalancer"
NODE_PORT_ONLY = "spec.listeners[].external: addressTypes and nodePort need type NodePort"
LOAD_BALANCER_ONLY = "spec.listeners[].external.loadBalancerClass: needs type LoadBalancer"
OWN_ANNOTATION = "spec.listeners[].external.annotations: annotations of kfleet.dev are the operator's; take them out"
_NO_ADDRESS = "with ':' it has to be an IPv6 address; take a port out of it, "
ADVERTISED_HOST_WITH_PORT = (
    f"spec.listeners[].external.advertisedHost: {_NO_ADDRESS}brokers[].advertisedPort is for that"
)
BROKER_HOST_WITH_PORT = f"spec.listeners[].external.brokers[].advertisedHost: {_NO_ADDRESS}advertisedPort is for that"
BOOTSTRAP_HOST_WITH_PORT = f"spec.listeners[].external.bootstrapHost: {_NO_ADDRESS}clients begin at the Service's own"

_NO_OWN = rule("self.all(key, !key.startsWith('kfleet.dev/'))", OWN_ANNOTATION)


def _host_rule(message: str, host: str = "self") -> Schema:
    return rules(rule(f"!self.contains(':') || isIP({host})", message))


def is_host(text: str) -> bool:
    """Whether an advertised or bootstrap host is a name or an address: what has a ':' is nothing else than IPv6."""
    try:
        return ":" not in text or bool(ip_address(text.replace(NODE_ID, "0")))
    except ValueError:
        return False


class ListenerType(StrEnum):
    """From where a listener is reached."""

    INTERNAL = "Internal"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"


class AddressType(StrEnum):
    """Kinds of addresses of a Kubernetes node, in Kubernetes' spelling."""

    EXTERNAL_IP = "ExternalIP"
    EXTERNAL_DNS = "ExternalDNS"
    INTERNAL_IP = "InternalIP"
    INTERNAL_DNS = "InternalDNS"
    HOSTNAME = "Hostname"


ADDRESS_TYPES = (AddressType.EXTERNAL_IP, AddressType.INTERNAL_IP)
"""What a broker of a NodePort listener advertises of its Kubernetes node unless told otherwise."""

Annotations = Annotated[
    dict[str, Annotated[str, Field(max_length=1024)]],
    Field(max_length=MAX_ANNOTATIONS, json_schema_extra=rules(_NO_OWN)),
]


class ExternalBroker(ApiModel):
    """What one broker has otherwise than the others."""

    id: int = Field(ge=0, le=999, description="Kafka node id.")
    advertised_host: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=HOST_PATTERN,
        description="Name or address at which clients reach this broker.",
        json_schema_extra=_host_rule(BROKER_HOST_WITH_PORT),
    )
    advertised_port: int | None = Field(None, ge=1, le=65535, description="Port at which clients reach this broker.")
    node_port: int | None = Field(None, ge=1, le=65535, description="Node port to ask Kubernetes for.")
    annotations: Annotations = Field(
        default_factory=dict, description="Annotations of this broker's Service, beside those of the listener."
    )


class External(ApiModel):
    """How clients outside Kubernetes reach a listener."""

    address_types: tuple[AddressType, ...] | None = Field(
        None,
        min_length=1,
        max_length=5,
        description="NodePort: which address of its Kubernetes node a broker advertises, the first of these that the "
        "node has; ExternalIP, then InternalIP if absent. A node that has none of them keeps its broker waiting.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    advertised_host: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=TEMPLATE_PATTERN,
        description="Name or address at which clients reach a broker, instead of that of its Kubernetes node or load "
        f"balancer; {NODE_ID} stands for its node id, such as kafka-{NODE_ID}.example.com.",
        json_schema_extra=_host_rule(ADVERTISED_HOST_WITH_PORT, f"self.replace('{NODE_ID}', '0')"),
    )
    bootstrap_host: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=HOST_PATTERN,
        description="Name or address of your own that leads to the bootstrap Service: clients begin there, and "
        "certificates are for it.",
        json_schema_extra=_host_rule(BOOTSTRAP_HOST_WITH_PORT),
    )
    node_port: int | None = Field(
        None, ge=1, le=65535, description="Node port of the bootstrap Service; Kubernetes chooses one if absent."
    )
    load_balancer_class: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        pattern=r"^[A-Za-z0-9]([-A-Za-z0-9._/]*[A-Za-z0-9])?$",
        description="loadBalancerClass of the Services: which load balancer serves them. Kubernetes never changes it.",
    )
    annotations: Annotations = Field(
        default_factory=dict, description="Annotations of the listener's Services, which load balancers are told by."
    )
    brokers: tuple[ExternalBroker, ...] = Field(
        (),
        max_length=MAX_BROKERS,
        description="Brokers that have something otherwise, by node id.",
        json_schema_extra=map_list("id"),
    )

    def broker(self, node_id: int) -> ExternalBroker:
        """What is said of one broker; nothing, if it is not listed."""
        return next((one for one in self.brokers if one.id == node_id), ExternalBroker(id=node_id))

    @property
    def asks_for_nodes(self) -> bool:
        """Whether anything is asked for that only node ports have."""
        ports = [self.node_port, *(one.node_port for one in self.brokers)]
        return self.address_types is not None or any(port is not None for port in ports)


LISTENER_RULES = (
    rule("!has(self.external) || self.type != 'Internal'", NOT_EXTERNAL),
    rule(
        "!has(self.external) || self.type != 'LoadBalancer' || (!has(self.external.addressTypes)"
        " && !has(self.external.nodePort)"
        " && (!has(self.external.brokers) || self.external.brokers.all(b, !has(b.nodePort))))",
        NODE_PORT_ONLY,
    ),
    rule(
        "!has(self.external) || self.type == 'LoadBalancer' || !has(self.external.loadBalancerClass)",
        LOAD_BALANCER_ONLY,
    ),
)
"""Of a listener: what belongs to which type."""
