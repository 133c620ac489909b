"""Everything admission refuses about one object by itself, refused again: reconcile may meet objects that older CRDs or
policies let in. Each problem is (field path, message); no problems means that nothing but other objects and Kafka
itself can stand in the way. What compares with the object's past (immutable fields) is not here: reconcile compares
with the marks on the claims instead.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from pydantic import ValidationError

from controlplane.api import access as access_kind
from controlplane.api import external as external_kind
from controlplane.api import kafka_cluster as cluster_kind
from controlplane.api import kafka_rebalance as rebalance_kind
from controlplane.api import kafka_topic as topic_kind
from controlplane.api import schedule
from controlplane.api.access import Listener
from controlplane.api.duration import parse_seconds
from controlplane.api.external import ListenerType
from controlplane.api.kafka_cluster import KafkaCluster, KafkaClusterSpec, NodePool
from controlplane.api.kafka_rebalance import KafkaRebalance
from controlplane.api.kafka_topic import KafkaTopic
from controlplane.api.load_shedding import BOUNDS_CROSSED, LoadShedding
from controlplane.api.owned_config import CLUSTER, TOPIC, check_config
from controlplane.api.quantity import QuantityError, parse_quantity
from controlplane.api.roles import Role
from controlplane.api.rollout import MaintenanceWindow

Problem = tuple[str, str]


def check_cluster(cluster: KafkaCluster) -> list[Problem]:
    """What is wrong with a KafkaCluster by itself."""
    spec = cluster.spec
    return [
        *_cluster_name(cluster.metadata.name),
        *_pools(spec.node_pools),
        *(problem for pool in spec.node_pools for problem in _pool(pool)),
        *_listeners(spec.listeners),
        *(problem for item in spec.listeners for problem in _external(item)),
        *_node_ports(spec.listeners),
        *_security(spec),
        *check_config(spec.config, CLUSTER),
        *check_windows(spec.maintenance_windows),
        *check_shedding(spec.load_shedding),
    ]


def check_shedding(spec: LoadShedding) -> list[Problem]:
    """What is wrong with spec.loadShedding by itself."""
    if parse_seconds(spec.relaxed_below) < parse_seconds(spec.saturated_above):
        return []
    return [_split(BOUNDS_CROSSED)]


def check_windows(windows: Sequence[MaintenanceWindow]) -> list[Problem]:
    """What the patterns of maintenance windows let through and nobody can read."""
    return [
        (f"spec.maintenanceWindows[{index}].{field}", message)
        for index, window in enumerate(windows)
        for field, message in schedule.problems(window.schedule, window.duration, window.time_zone)
    ]


def check_topic(topic: KafkaTopic) -> list[Problem]:
    """What is wrong with a KafkaTopic by itself."""
    problems = check_home(topic)
    name = topic.topic_name
    if name in (".", "..") or name.startswith("__"):
        problems.append(_split(topic_kind.BAD_TOPIC_NAME))
    if len(name) > topic_kind.MAX_TOPIC_NAME:
        problems.append(_split(topic_kind.NAME_TOO_LONG))
    return problems + check_config(topic.spec.config, TOPIC)


def check_home(topic: KafkaTopic) -> list[Problem]:
    """Whether it says where it lives, in one way."""
    one = (topic.spec.cluster_ref is None) != (topic.spec.tenant_ref is None)
    return [] if one else [_split(topic_kind.ONE_HOME)]


def check_rebalance(rebalance: KafkaRebalance) -> list[Problem]:
    """What is wrong with a KafkaRebalance by itself."""
    spec = rebalance.spec
    problems = [_split(message) for message, wrong in rebalance_kind.WRONG if wrong(spec.goal)]
    try:
        rebalance_kind.throttle_bytes(spec.limits)
    except QuantityError:
        problems.append(_split(rebalance_kind.THROTTLE))
    return problems


def problems_of(error: ValidationError) -> list[Problem]:
    """What `KafkaCluster.model_validate` or `KafkaTopic.model_validate` could not read, by field path."""
    return [(_field_path(entry["loc"]), entry["msg"].removeprefix("Value error, ")) for entry in error.errors()]


def _field_path(location: tuple[int | str, ...]) -> str:
    """("spec", "nodePools", 0, "name") as spec.nodePools[0].name."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return text.removeprefix(".")


def explain(problems: Iterable[Problem]) -> str:
    """All problems as one condition message."""
    return "; ".join(f"{path}: {message}" for path, message in problems)


def _split(message: str) -> Problem:
    path, _, text = message.partition(": ")
    return path, text


def _cluster_name(name: str) -> list[Problem]:
    if len(name) <= cluster_kind.MAX_CLUSTER_NAME and re.fullmatch(cluster_kind.CLUSTER_NAME_PATTERN[1:-1], name):
        return []
    return [_split(cluster_kind.BAD_NAME)]


def _pools(pools: tuple[NodePool, ...]) -> list[Problem]:
    problems: list[Problem] = []
    voters = sum(pool.replicas for pool in pools if Role.CONTROLLER in pool.roles)
    if voters == 0:
        problems.append(_split(cluster_kind.NO_CONTROLLERS))
    elif voters % 2 == 0:
        problems.append(_split(cluster_kind.EVEN_VOTERS))
    if not any(Role.BROKER in pool.roles for pool in pools):
        problems.append(_split(cluster_kind.NO_BROKERS))
    if sum(pool.replicas for pool in pools) > cluster_kind.MAX_NODES:
        problems.append(_split(cluster_kind.TOO_MANY_NODES))
    problems += [("spec.nodePools", f"two pools are named {name}") for name in _repeated(pool.name for pool in pools)]
    return problems


def _pool(pool: NodePool) -> list[Problem]:
    path = f"spec.nodePools[{pool.name}]"
    problems = [
        (f"{path}.storage.volumes", f"two volumes have the id {volume}")
        for volume in _repeated(str(volume.id) for volume in pool.storage.volumes)
    ]
    if _repeated(pool.roles):
        problems.append((f"{path}.roles", "a role stands there twice"))
    requests = pool.resources.requests if pool.resources else None
    limits = pool.resources.limits if pool.resources else None
    heap = pool.jvm.heap if pool.jvm else None
    for section, resources in (("limits", limits), ("requests", requests)):
        if heap and resources and resources.memory and parse_quantity(heap) >= parse_quantity(resources.memory):
            message = cluster_kind.HEAP_OVER_MEMORY.format(section=section)
            problems.append((f"{path}.jvm.heap", _split(message)[1]))
    if requests and limits:
        for name, low, high in (
            ("memory", requests.memory, limits.memory),
            ("cpu", requests.cpu, limits.cpu),
        ):
            if low is not None and high is not None and parse_quantity(low) > parse_quantity(high):
                problems.append((f"{path}.resources.requests.{name}", f"must not exceed resources.limits.{name}"))
    return problems


def _listeners(listeners: tuple[Listener, ...]) -> list[Problem]:
    problems = [
        ("spec.listeners", f"two listeners are named {name}") for name in _repeated(item.name for item in listeners)
    ]
    if _repeated(str(item.port) for item in listeners):
        problems.append(_split(access_kind.DUPLICATE_PORT))
    if any(item.name in access_kind.RESERVED_LISTENERS for item in listeners):
        problems.append(_split(access_kind.RESERVED_LISTENER))
    return problems


def _external(item: Listener) -> list[Problem]:
    """What does not belong to the listener's type, and what two brokers cannot have in common."""
    path, outside = f"spec.listeners[{item.name}].external", item.external
    if outside is None:
        return []
    if not item.is_external:
        return [(path, _split(external_kind.NOT_EXTERNAL)[1])]
    problems: list[Problem] = []
    if item.type is ListenerType.LOAD_BALANCER and outside.asks_for_nodes:
        problems.append((path, _split(external_kind.NODE_PORT_ONLY)[1]))
    if item.type is not ListenerType.LOAD_BALANCER and outside.load_balancer_class is not None:
        problems.append((f"{path}.loadBalancerClass", _split(external_kind.LOAD_BALANCER_ONLY)[1]))
    hosts = [
        (f"{path}.advertisedHost", outside.advertised_host, external_kind.ADVERTISED_HOST_WITH_PORT),
        (f"{path}.bootstrapHost", outside.bootstrap_host, external_kind.BOOTSTRAP_HOST_WITH_PORT),
    ]
    for one in outside.brokers:
        own = f"{path}.brokers[{one.id}].advertisedHost"
        hosts.append((own, one.advertised_host, external_kind.BROKER_HOST_WITH_PORT))
    wrong = [(field, words) for field, host, words in hosts if host is not None and not external_kind.is_host(host)]
    problems += [(field, _split(words)[1]) for field, words in wrong]
    twice = _repeated(str(one.id) for one in outside.brokers)
    problems += [(f"{path}.brokers", f"two entries have the id {broker}") for broker in twice]
    keys = {*outside.annotations, *(key for one in outside.brokers for key in one.annotations)}
    if any(key.startswith("kfleet.dev/") for key in keys):
        problems.append((f"{path}.annotations", _split(external_kind.OWN_ANNOTATION)[1]))
    return problems


def _node_ports(listeners: tuple[Listener, ...]) -> list[Problem]:
    """Node ports that are asked for twice: a node has each of them once, whichever Service it is for."""
    asked: dict[int, str] = {}
    problems: list[Problem] = []
    for item in listeners:
        path = f"spec.listeners[{item.name}].external"
        wanted = [(f"{path}.nodePort", item.outside.node_port)]
        wanted += [(f"{path}.brokers[{one.id}].nodePort", one.node_port) for one in item.outside.brokers]
        for field, port in wanted:
            if port is not None and port in asked:
                problems.append((field, f"{port} is asked for by {asked[port]} already: choose another one"))
            elif port is not None:
                asked[port] = field
    return problems


def _security(spec: KafkaClusterSpec) -> list[Problem]:
    problems: list[Problem] = []
    guarded = [item for item in spec.listeners if item.tls or item.authentication is not None]
    if not spec.mutual_tls and (guarded or spec.authorization is not None):
        problems.append(_split(cluster_kind.PLAINTEXT_NODES))
    for item in spec.listeners:
        path = f"spec.listeners[{item.name}]"
        if item.authentication is not None and not item.tls:
            problems.append((f"{path}.tls", _split(access_kind.AUTHENTICATION_IN_THE_CLEAR)[1]))
        if item.certificate_secret_ref is not None and not item.tls:
            problems.append((f"{path}.certificateSecretRef", _split(access_kind.CERTIFICATE_WITHOUT_TLS)[1]))
        if item.authentication is None and spec.authorization is not None:
            problems.append((f"{path}.authentication", _split(cluster_kind.ANONYMOUS_LISTENER)[1]))
    return problems


def _repeated(values: Iterable[str]) -> list[str]:
    seen: dict[str, int] = {}
    for value in values:
        seen[value] = seen.get(value, 0) + 1
    return [value for value, count in seen.items() if count > 1]
