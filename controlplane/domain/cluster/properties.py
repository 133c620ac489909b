"""server.properties of one node.

Values we write may refer to `${env:...}` (Kafka's EnvVarConfigProvider): the pod's address and the prefix under which a
pod's paths lie. Values of users never may; `controlplane.api.owned_config` refuses `${` in them. Keys and values are
escaped as java.util.Properties reads them, so nothing a user writes can start a second line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from controlplane.api.access import Authorization
from controlplane.domain.access import listeners as access
from controlplane.domain.access.listeners import Listener as Listener

CONTROLLER_PORT = 9090
REPLICATION_PORT = 9091
CONTROLLER_LISTENER = "CONTROLLER"
REPLICATION_LISTENER = "REPLICATION"
DATA_DIR = "/var/lib/kafka/data-{volume}"
POD_ROOT = "${env:KFLEET_POD_ROOT}"
POD_HOST = "${env:KFLEET_NODE_HOST}"


@dataclass(frozen=True, slots=True)
class NodeProperties:
    """What decides one node's static configuration."""

    node_id: int
    controller: bool
    broker: bool
    rack: str | None
    volumes: Sequence[int]
    listeners: Sequence[Listener]
    static_config: Mapping[str, str]
    min_isr: str
    mutual_tls: bool = False
    """Nodes know one another by certificates."""
    authorization: Authorization | None = None


SMALL_HEAP_BYTES = 2**30


def defaults(brokers: int, heap_bytes: int = SMALL_HEAP_BYTES) -> dict[str, str]:
    """What Kafka gets wrong for production, set right; a declared value wins. RF follows the number of brokers up to 3.

    After a leader change acks=all waits for followers to ask the new leader. One that asked before the new leader knew
    of it waits out `replica.fetch.backoff.ms` (1,000 by default), and then for the request that its fetcher has open to
    the same broker for other partitions, which returns at once only if those have something new, else after
    `replica.fetch.wait.max.ms` (500): with a back-off of 100 the latter at 100 took one preferred election from 680 to
    80 ms. The price is ten requests a second instead of two from each follower's fetcher to a leader where nobody
    writes. A controlled shutdown takes the heartbeats in which brokers tell that they have seen the leaders move, and a
    broker that was stopped cannot register again before its session is over (KAFKA-19047 left that so: the end of a
    controlled shutdown fences it): heartbeats every 500 ms and sessions of 4.5 s, nine heartbeats, instead of 2,000 ms
    and 9 s. The log cleaner's buffer is 128 MiB whatever the heap, which a small heap cannot carry; below 1 GiB it gets
    an eighth.
    """
    replicas = min(3, brokers)
    min_isr = default_min_isr(brokers)
    return {
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": min_isr,
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": min_isr,
        "replica.fetch.backoff.ms": "50",
        "replica.fetch.wait.max.ms": "100",
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "4500",
    } | ({"log.cleaner.dedupe.buffer.size": str(heap_bytes // 8)} if heap_bytes < SMALL_HEAP_BYTES else {})


def default_min_isr(brokers: int) -> str:
    return "2" if brokers >= 3 else "1"


def dynamic_defaults(brokers: int) -> dict[str, str]:
    """Cluster-wide dynamic configs every cluster gets unless declared otherwise."""
    return {"min.insync.replicas": default_min_isr(brokers)}


def render(node: NodeProperties) -> str:
    """The file's text, keys sorted, so that equal configuration is equal text.

    What clients outside are told depends on where the pod runs: its init container adds that to advertised.listeners.
    """
    names = ([CONTROLLER_LISTENER] if node.controller else []) + (
        [REPLICATION_LISTENER, *(listener.name.upper() for listener in node.listeners)] if node.broker else []
    )
    ports = {CONTROLLER_LISTENER: CONTROLLER_PORT, REPLICATION_LISTENER: REPLICATION_PORT} | {
        listener.name.upper(): listener.port for listener in node.listeners
    }
    inner = "SSL" if node.mutual_tls else "PLAINTEXT"
    protocols = {CONTROLLER_LISTENER: inner, REPLICATION_LISTENER: inner} | {
        listener.name.upper(): listener.protocol for listener in node.listeners
    }
    bind = {name: f"{name}://{POD_HOST}:{ports[name]}" for name in names}
    outside = {listener.name.upper() for listener in node.listeners if listener.external}
    owned = {
        "process.roles": ",".join(
            role for role, held in (("broker", node.broker), ("controller", node.controller)) if held
        ),
        "node.id": str(node.node_id),
        "controller.listener.names": CONTROLLER_LISTENER,
        "listeners": ",".join(bind.values()),
        "advertised.listeners": ",".join(text for name, text in bind.items() if name not in outside),
        "listener.security.protocol.map": ",".join(f"{name}:{protocol}" for name, protocol in protocols.items()),
        "log.dirs": ",".join(POD_ROOT + DATA_DIR.format(volume=volume) for volume in node.volumes),
        "config.providers": "env",
        "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        # The operator waits for a controlled shutdown up to the pod's grace period, not Kafka up to its own retries.
        "controlled.shutdown.enable": "true",
    }
    if node.broker:
        owned["inter.broker.listener.name"] = REPLICATION_LISTENER
    if node.rack is not None and node.broker:
        owned["broker.rack"] = node.rack
    if node.controller:
        owned["min.insync.replicas"] = node.min_isr
    if node.mutual_tls:
        own = [CONTROLLER_LISTENER, *([REPLICATION_LISTENER] if node.broker else [])]
        listeners = node.listeners if node.broker else ()
        owned |= access.settings(listeners, own, authorization=node.authorization, root=POD_ROOT)
    lines = {**node.static_config, **owned}
    return "".join(f"{escape(key, key=True)}={escape(value)}\n" for key, value in sorted(lines.items()))


_IN_VALUES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\f": "\\f"})
_IN_KEYS = _IN_VALUES | str.maketrans({char: f"\\{char}" for char in "=: #!"})


@lru_cache(maxsize=4096)  # every node's file is written anew at every pass, and almost all of its lines are as before
def escape(text: str, *, key: bool = False) -> str:
    """As java.util.Properties.store writes it: one logical line whatever `text` holds."""
    escaped = text.translate(_IN_KEYS if key else _IN_VALUES)
    return "\\" + escaped if escaped.startswith(" ") else escaped
