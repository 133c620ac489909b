"""Something asked before and told after every mutating call through a port.

Two users: the Lease guard, which ends a process that is no longer the active one before it can write, and the crash
walk, which kills it before and after the Nth write. Reads pass untouched; Lease renewals and Events are not mutations
of what the operator manages and pass as well.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from controlplane.ports import ClientTls, KafkaAdmin, KafkaAdmins, KubeApi, Resource

KUBE_MUTATIONS = frozenset({"create", "replace", "apply", "patch", "delete"})
KAFKA_MUTATIONS = frozenset(
    {
        "create_topics",
        "delete_topics",
        "create_partitions",
        "alter_topic_configs",
        "alter_cluster_config",
        "alter_settings",
        "elect_preferred_leaders",
        "alter_partition_reassignments",
        "update_features",
        "add_voter",
        "remove_voter",
        "unregister_broker",
        "upsert_scram",
        "delete_scram",
        "create_acls",
        "delete_acls",
        "alter_user_quotas",
        "reload",
    }
)
UNCOUNTED = frozenset({"leases", "events"})


class Interceptor(Protocol):
    def before(self, call: str) -> None:
        """May raise or end the process: the call has not been made."""
        ...

    def after(self, call: str) -> None:
        """The call was made and answered (or failed)."""
        ...


class _Intercepted:
    def __init__(self, inner: Any, mutations: frozenset[str], interceptors: Sequence[Interceptor]) -> None:
        self._inner, self._mutations, self._interceptors = inner, mutations, interceptors

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._inner, name)
        if name not in self._mutations:
            return attribute
        return self._wrap(name, attribute)

    def _wrap(self, name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(*args: Any, **kwargs: Any) -> Any:
            if args and isinstance(args[0], Resource) and args[0].plural in UNCOUNTED:
                return await method(*args, **kwargs)
            label = describe(name, args, kwargs)
            for interceptor in self._interceptors:
                interceptor.before(label)
            try:
                return await method(*args, **kwargs)
            finally:
                for interceptor in self._interceptors:
                    interceptor.after(label)

        return call


def describe(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """`replace kafkaclusters/status kafka/orders`: enough to read a journal of calls; never any contents."""
    if not args or not isinstance(args[0], Resource):
        return f"kafka {name}"
    resource, target = args[0], args[1] if len(args) > 1 else kwargs.get("body") or kwargs.get("name")
    if isinstance(target, Mapping):
        meta = target["metadata"]
        where = f"{meta.get('namespace', '')}/{meta.get('name', meta.get('generateName', ''))}"
    else:
        where = f"{args[2] if len(args) > 2 else kwargs.get('namespace', '')}/{target}"
    sub = kwargs.get("subresource")
    return f"{name} {resource.plural}{'/' + sub if sub else ''} {where}"


class _InterceptedAdmins:
    def __init__(self, inner: KafkaAdmins, interceptors: Sequence[Interceptor]) -> None:
        self._inner, self._interceptors = inner, interceptors

    def get(self, cluster_key: str, bootstrap_servers: Sequence[str], tls: ClientTls | None = None) -> KafkaAdmin:
        admin: KafkaAdmin = _Intercepted(
            self._inner.get(cluster_key, bootstrap_servers, tls), KAFKA_MUTATIONS, self._interceptors
        )
        return admin

    async def reload(self, node: int, server: str, tls: ClientTls) -> None:
        inner: KafkaAdmins = _Intercepted(self._inner, KAFKA_MUTATIONS, self._interceptors)
        await inner.reload(node, server, tls)

    async def forget(self, cluster_key: str) -> None:
        await self._inner.forget(cluster_key)


def intercept_kube(kube: KubeApi, interceptors: Sequence[Interceptor]) -> KubeApi:
    wrapped: KubeApi = _Intercepted(kube, KUBE_MUTATIONS, interceptors)
    return wrapped


def intercept_admins(admins: KafkaAdmins, interceptors: Sequence[Interceptor]) -> KafkaAdmins:
    return _InterceptedAdmins(admins, interceptors)
