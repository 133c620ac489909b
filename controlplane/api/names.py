"""Labels, annotations and fixed names that kfleet writes on objects, in the one place that spells them."""

from controlplane.api.group import GROUP

FIELD_MANAGER = "kfleet"
"""Server-side apply owner of every child object."""

OPERATOR = "kfleet-operator"
OPERATOR_NAMESPACE = "kfleet"

# Recommended Kubernetes labels.
APP_NAME = "app.kubernetes.io/name"
APP_INSTANCE = "app.kubernetes.io/instance"
APP_MANAGED_BY = "app.kubernetes.io/managed-by"
APP_COMPONENT = "app.kubernetes.io/component"
APP_VERSION = "app.kubernetes.io/version"
MANAGED_BY_KFLEET = "kfleet"
KAFKA_APP = "kafka"

ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"

# Labels of ours.
CLUSTER = f"{GROUP}/cluster"
POOL = f"{GROUP}/pool"
NODE_ID = f"{GROUP}/node-id"
VOLUME_ID = f"{GROUP}/volume-id"
RING = f"{GROUP}/ring"
REGION = f"{GROUP}/region"
ROLE_CONTROLLER = f"{GROUP}/controller"
"""`"true"` on pods whose node is a KRaft controller."""
ROLE_BROKER = f"{GROUP}/broker"
"""`"true"` on pods whose node is a broker."""
PLAN_OF = f"{GROUP}/plan-of"
"""On a ConfigMap that holds a part of a plan: uid of the object whose operation follows it."""

# Annotations of ours.
SPEC_HASH = f"{GROUP}/spec-hash"
"""What a pod was made from; a pod whose hash differs from the wanted one is out of date."""
KAFKA_VERSION = f"{GROUP}/version"
"""The Kafka version a pod runs."""
CERTIFICATES = f"{GROUP}/certificates"
"""On a pod: digest of the certificates it was started with; not part of its spec hash, since they may be reloaded."""
RACK = f"{GROUP}/rack"
"""The zone a node belongs to, which becomes broker.rack."""
IDENTITY = f"{GROUP}/identity"
"""Mark on a PVC, JSON of cluster id, node id and directory id: written before any pod exists, never changed."""
FORMATTED = f"{GROUP}/formatted"
"""Mark on a PVC: the directory id read back from meta.properties once the node first registered."""
RETIRED = f"{GROUP}/retired"
"""Mark on a PVC, `"true"`: its node has left the cluster for good. What is on it is nobody's replica any more."""
REPLACE_NODE = f"{GROUP}/replace-node"
"""Node id, or `ID/word`: a person asks for that node, whose disk is lost, on a new one. It stays; what was met is in
status.replacement."""
PAUSED = f"{GROUP}/paused"
"""`"true"` on a custom resource stops new steps; what was begun is finished."""
CANCEL = f"{GROUP}/cancel"
"""Id of the operation to cancel: no new step; what was begun is finished or undone. Stays until it is resumed."""
REQUESTED_BY = f"{GROUP}/requested-by"
"""The user who asked for the spec as it stands; a policy keeps it true wherever an approval is required."""
CELL_FINALIZER = f"{GROUP}/operation"
"""Kept only while an operation has something to undo outside the object; a deletion waits until that is done."""
RECONCILE_AT = f"{GROUP}/reconcile-at"
"""Any new value makes the operator look at the object at once."""
