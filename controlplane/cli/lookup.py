"""Objects by name, with errors that say what is missing: the object, its kind, or kfleet itself."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from controlplane.api import kafka_cluster, kafka_rebalance, kafka_tenant, kafka_user
from controlplane.api.group import GROUP, VERSION
from controlplane.cli.connect import Connection, check_name
from controlplane.cli.errors import CliError
from controlplane.ports import NotFoundError, Object, Resource

Model = TypeVar("Model", bound=BaseModel)

CLUSTERS = Resource(GROUP, VERSION, kafka_cluster.PLURAL, kafka_cluster.KIND)
REBALANCES = Resource(GROUP, VERSION, kafka_rebalance.PLURAL, kafka_rebalance.KIND)
TENANTS = Resource(GROUP, VERSION, kafka_tenant.PLURAL, kafka_tenant.KIND, namespaced=False)
USERS = Resource(GROUP, VERSION, kafka_user.PLURAL, kafka_user.KIND)


async def find(connection: Connection, resource: Resource, name: str) -> Object:
    """One object, of the connection's namespace unless its kind has none. Raises CliError for what cannot be a name,
    and with the nearest names when it is not there."""
    check_name(name, f"a {resource.kind}")
    try:
        return await connection.kube.get(resource, name, connection.namespace)
    except NotFoundError:
        there = await objects(connection, resource, connection.namespace)
    known = sorted(obj["metadata"]["name"] for obj in there)
    where = f" in namespace {connection.namespace}" if resource.namespaced else ""
    raise CliError(f"no {resource.kind} {name}{where}{did_you_mean(name, known)}")


def read_as(model: type[Model], obj: Object) -> Model:
    """`model` is that of the object's kind. Raises CliError that names the fields which this version cannot read."""
    try:
        return model.model_validate(obj)
    except ValidationError as error:
        from controlplane.api.validate import explain, problems_of  # noqa: PLC0415 - completion does without all kinds

        name = obj["metadata"]["name"]
        raise CliError(f"{model.__name__} {name} cannot be read: {explain(problems_of(error))}") from error


async def objects(connection: Connection, resource: Resource, namespace: str | None) -> Sequence[Object]:
    """Every object of a namespace (None: of all), by namespace and name. Raises CliError without kfleet's CRDs."""
    try:
        found = await connection.kube.list(resource, namespace)
    except NotFoundError as error:
        raise CliError(
            f"kfleet is not installed at {connection.kube.config.server}: it knows no {resource.kind}; "
            "install the chart (kubectl apply -f charts/kfleet), or choose another --context"
        ) from error
    return sorted(found, key=lambda obj: (obj["metadata"].get("namespace", ""), obj["metadata"]["name"]))


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The end of a "not found" line: the nearest names, else the names there are, else that there are none."""
    if near := difflib.get_close_matches(name, known, n=3, cutoff=0.5):
        return f"; did you mean {' or '.join(near)}?"
    if not known:
        return "; there are none"
    return f"; there are {', '.join(known[:5])}" + (f" and {len(known) - 5} more" if len(known) > 5 else "")
