"""CustomResourceDefinitions from the pydantic models: structural schemas, CEL rules and printer columns.

What JSON Schema and Kubernetes' structural schemas say differently is translated here: `$ref` is inlined, `null` is
absence, `exclusiveMinimum` is a boolean, `const` an enum of one, int-or-string an extension, and a map of anything
keeps what it holds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from controlplane.api import approval, kafka_cluster, kafka_rebalance, kafka_tenant, kafka_topic, kafka_user, tenant_ref
from controlplane.api.base import ApiModel
from controlplane.api.group import GROUP, VERSION

Schema = dict[str, Any]
CATEGORY = "kfleet"
PRESERVE = "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING = "x-kubernetes-int-or-string"
_FIRST = ("description", "type", "default")
"""Words that people look for first; the rest follows in the model's order."""


@dataclass(frozen=True, slots=True)
class Column:
    """`wide` columns show with `kubectl get -o wide` only."""

    name: str
    json_path: str
    type: str = "string"
    wide: bool = False
    description: str = ""

    def to_object(self) -> Schema:
        column: Schema = {"name": self.name, "type": self.type, "jsonPath": self.json_path}
        if self.description:
            column["description"] = self.description
        return column | ({"priority": 1} if self.wide else {})


@dataclass(frozen=True, slots=True)
class Kind:
    """One custom resource: everything a CRD needs beside the model.

    `selectable` are fields (JSON paths) that a list can be filtered by on the server.
    """

    model: type[ApiModel]
    kind: str
    plural: str
    short_name: str
    columns: tuple[Column, ...]
    selectable: tuple[str, ...] = ()
    namespaced: bool = True

    @property
    def has_status(self) -> bool:
        return "status" in self.model.model_fields

    @property
    def crd_name(self) -> str:
        return f"{self.plural}.{GROUP}"


def _condition(type_: str, field: str) -> str:
    return f'.status.conditions[?(@.type=="{type_}")].{field}'


_READY = Column("Ready", _condition("Ready", "status"), description="Whether this generation is fully in effect.")
_COMPLETE = Column("Complete", _condition("Complete", "status"), description="Whether it is done.")
_REASON = Column("Reason", _condition("Ready", "reason"))
_MESSAGE = Column("Message", _condition("Ready", "message"), wide=True)
_AGE = Column("Age", ".metadata.creationTimestamp", type="date")

KINDS: tuple[Kind, ...] = (
    Kind(
        model=kafka_cluster.KafkaCluster,
        kind=kafka_cluster.KIND,
        plural=kafka_cluster.PLURAL,
        short_name=kafka_cluster.SHORT_NAME,
        columns=(
            _READY,
            _REASON,
            Column("Version", ".status.version", description="What every node runs."),
            Column("Metadata", ".status.metadataVersion", description="The finalised metadata.version."),
            Column(
                "Bootstrap", ".status.bootstrapServers[0]", description="Address for clients of the first listener."
            ),
            Column("Operation", ".status.operation.goal", wide=True),
            _MESSAGE,
            _AGE,
        ),
    ),
    Kind(
        model=kafka_topic.KafkaTopic,
        kind=kafka_topic.KIND,
        plural=kafka_topic.PLURAL,
        short_name=kafka_topic.SHORT_NAME,
        columns=(
            Column("Cell", ".status.cell", description="The cluster that holds it."),
            Column("Tenant", ".spec.tenantRef.name"),
            Column("Topic", ".status.topicName", description="Name in Kafka."),
            Column("Partitions", ".status.partitions", type="integer"),
            Column("Replicas", ".status.replicas", type="integer"),
            _READY,
            _REASON,
            Column("Drifted", _condition("Drifted", "status"), wide=True, description="Whether it lies elsewhere."),
            _MESSAGE,
            _AGE,
        ),
        selectable=(tenant_ref.CELL_PATH,),
    ),
    Kind(
        model=kafka_rebalance.KafkaRebalance,
        kind=kafka_rebalance.KIND,
        plural=kafka_rebalance.PLURAL,
        short_name=kafka_rebalance.SHORT_NAME,
        columns=(
            Column("Cluster", ".spec.clusterRef.name"),
            Column("Goal", ".spec.goal.type"),
            Column("Moves", ".status.proposal.replicasMoved", type="integer", description="Replicas to copy."),
            Column("Moved", ".status.progress.replicasMoved", type="integer", description="Replicas copied so far."),
            _COMPLETE,
            Column("Reason", _condition("Complete", "reason")),
            Column(
                "Left", ".status.progress.secondsLeft", type="integer", wide=True, description="Seconds, estimated."
            ),
            Column("Message", _condition("Complete", "message"), wide=True),
            _AGE,
        ),
    ),
    Kind(
        model=kafka_user.KafkaUser,
        kind=kafka_user.KIND,
        plural=kafka_user.PLURAL,
        short_name=kafka_user.SHORT_NAME,
        columns=(
            Column("Cluster", ".spec.clusterRef.name"),
            Column("Tenant", ".spec.tenantRef.name"),
            Column("Principal", ".status.principal", description="Name in Kafka."),
            Column("Authentication", ".spec.authentication.type"),
            Column("Secret", ".status.binding.name", description="What clients mount."),
            _READY,
            _REASON,
            Column("Cell", ".status.cell", wide=True, description="The cluster of a tenant's user."),
            Column("Credentials", _condition("CredentialsCurrent", "status"), wide=True),
            Column("Issued", ".status.credential.issuedAt", type="date", wide=True),
            _MESSAGE,
            _AGE,
        ),
        selectable=(tenant_ref.CELL_PATH,),
    ),
    Kind(
        model=kafka_tenant.KafkaTenant,
        kind=kafka_tenant.KIND,
        plural=kafka_tenant.PLURAL,
        short_name=kafka_tenant.SHORT_NAME,
        namespaced=False,
        columns=(
            Column("Team", ".spec.owner.team"),
            Column("Prefix", ".spec.topicPrefix", description="What the names of its topics begin with."),
            Column("Priority", ".spec.priority"),
            Column("Placed", _condition("Placed", "status"), description="Whether it has the shards it declares."),
            Column("Within", _condition("WithinLimits", "status"), description="Whether it keeps its limits."),
            Column("Topics", ".status.usage.topics", type="integer", wide=True),
            Column("Partitions", ".status.usage.partitions", type="integer", wide=True),
            _READY,
            _REASON,
            _MESSAGE,
            _AGE,
        ),
    ),
    Kind(
        model=approval.Approval,
        kind=approval.KIND,
        plural=approval.PLURAL,
        short_name=approval.SHORT_NAME,
        columns=(
            Column("Decision", ".spec.decision"),
            Column("Kind", ".spec.targetRef.kind"),
            Column("Target", ".spec.targetRef.name"),
            Column("Approver", ".spec.approver"),
            Column("Reason", ".spec.reason", wide=True),
            Column("Plan", ".spec.planHash", wide=True),
            _AGE,
        ),
        selectable=(approval.TARGET_NAME_PATH,),
    ),
)


class _Structural(GenerateJsonSchema):
    """JSON Schema without titles, nulls and defaults that say nothing."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002 - overridden
        return False

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        if schema.get("default") in (None, (), "", 0):
            return self.generate_inner(schema["schema"])
        return super().default_schema(schema)


def structural(node: Any, definitions: Schema) -> Any:
    """One JSON Schema node as a structural schema, references inlined. ValueError for what has no translation."""
    if isinstance(node, list):
        return [structural(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    node = dict(node)
    if (reference := node.pop("$ref", None)) is not None:
        node = definitions[reference.rsplit("/", 1)[1]] | node
    node.pop("title", None)
    _int_or_string(node)
    if "const" in node:
        node["enum"] = [node.pop("const")]
    for bound, plain in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if bound in node:
            node[plain], node[bound] = node[bound], True
    if node.get("additionalProperties") is False:
        del node["additionalProperties"]
    elif node.get("additionalProperties") is True:
        node["additionalProperties"] = {PRESERVE: True}
    node = {key: node[key] for key in _FIRST if key in node} | node
    return {
        key: {name: structural(item, definitions) for name, item in value.items()}
        if key == "properties"
        else value
        if key in ("default", "enum", "required")
        else structural(value, definitions)
        for key, value in node.items()
    }


def _int_or_string(node: Schema) -> None:
    if "anyOf" not in node:
        return
    if sorted(option.get("type", "") for option in node["anyOf"]) != ["integer", "string"]:
        raise ValueError(f"no structural schema for anyOf {node['anyOf']}")
    del node["anyOf"]
    node[INT_OR_STRING] = True


def _without_defaults(node: Any) -> Any:
    """Status is written by the operator: a default in it would claim something nobody observed."""
    if isinstance(node, dict):
        return {key: _without_defaults(value) for key, value in node.items() if key != "default"}
    return [_without_defaults(item) for item in node] if isinstance(node, list) else node


def openapi_schema(kind: Kind) -> Schema:
    """The openAPIV3Schema of one kind."""
    document = kind.model.model_json_schema(by_alias=True, schema_generator=_Structural)
    root: Schema = structural(document, document.pop("$defs", {}))
    root["properties"] |= {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    if kind.has_status:
        root["properties"]["status"] = _without_defaults(root["properties"]["status"])
    root["required"] = ["spec"]
    root["description"] = root["description"].split(" `model_validate", 1)[0]
    return root


def crd(kind: Kind) -> Schema:
    version: Schema = {"name": VERSION, "served": True, "storage": True}
    if kind.has_status:
        version["subresources"] = {"status": {}}
    if kind.selectable:
        version["selectableFields"] = [{"jsonPath": path} for path in kind.selectable]
    version |= {
        "additionalPrinterColumns": [column.to_object() for column in kind.columns],
        "schema": {"openAPIV3Schema": openapi_schema(kind)},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": kind.crd_name},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {
                "kind": kind.kind,
                "listKind": f"{kind.kind}List",
                "plural": kind.plural,
                "singular": kind.kind.lower(),
                "shortNames": [kind.short_name],
                "categories": [CATEGORY],
            },
            "versions": [version],
        },
    }
