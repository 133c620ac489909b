"""`kfleet tenant repack`: what a fresh assignment would move, by what is recorded and declared. Nothing is asked of
brokers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.api import names
from controlplane.api.group import GROUP
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.bootstrap import shard_search
from controlplane.cli.connect import Connection, connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, TENANTS, find, objects, read_as
from controlplane.cli.options import Where
from controlplane.cli.render import View, table
from controlplane.cli.sections import indent
from controlplane.domain.cluster.layout import lay_out
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.cluster.world import zone_of
from controlplane.domain.placement.measure import mean_overlap
from controlplane.domain.placement.values import DoesNotFitError, Fleet, ShardSearch
from controlplane.domain.tenants.directory import Cell, directory
from controlplane.domain.tenants.repack import Offer, offers
from controlplane.services.cluster.observe import CLAIMS
from controlplane.services.tenants.read import readable
from controlplane.services.tenants.view import brokers_of


@dataclass(frozen=True)
class Offered:
    cell: Cell
    offers: tuple[Offer, ...]


async def offered(where: Where, text: str) -> Offered:
    """Raises CliError."""
    namespace, slash, name = text.partition("/")
    if slash:
        if where.namespace not in (None, namespace):
            raise CliError(f"CELL {text} is in namespace {namespace}, and --namespace says {where.namespace}")
        where = Where(namespace, where.kubeconfig, where.context)
    else:
        name = text
    async with connect(where) as connection:
        cluster = read_as(KafkaCluster, await find(connection, CLUSTERS, name))
        tenants = directory(readable(await objects(connection, TENANTS, None)))
        fleet = await _fleet(connection, cluster)
    cell = Cell(cluster.metadata.namespace, cluster.metadata.name)
    try:
        return Offered(cell, offers(tenants, cell, fleet, _search()))
    except DoesNotFitError as error:
        raise CliError(f"{cell}: {error}") from error


async def _fleet(connection: Connection, cluster: KafkaCluster) -> Fleet:
    """The brokers that are declared and have a volume."""
    ours = f"{names.CLUSTER}={cluster.metadata.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
    claims = await connection.kube.list(CLAIMS, cluster.metadata.namespace, labels=ours)
    zones = dict(zone for claim in claims if (zone := zone_of(claim)))
    layout = lay_out(cluster, observe_nodes([], claims), zones, formed=True)
    brokers = brokers_of(layout, frozenset(node.id for node in layout.brokers if node.exists))
    if not brokers:
        raise CliError(f"KafkaCluster {cluster.metadata.name} has no broker yet")
    return Fleet(brokers)


def _search() -> ShardSearch | None:
    try:
        return shard_search()
    except ImportError:
        return None


def _document(row: Offered) -> dict[str, Any]:
    return {
        "namespace": row.cell.namespace,
        "name": row.cell.name,
        "offers": [
            {
                "size": offer.rule.size,
                "maxOverlap": offer.rule.max_overlap,
                "tenants": offer.tenants,
                "worstNow": max(offer.repack.overlaps_now, default=0),
                "worstThen": max(offer.repack.overlaps_then, default=0),
                "expectedNow": mean_overlap(dict(offer.repack.overlaps_now)),
                "expectedThen": mean_overlap(dict(offer.repack.overlaps_then)),
                "better": offer.repack.better,
                "brokersMoved": offer.repack.brokers_moved,
                "moves": [
                    {"tenant": tenant, "now": list(now), "then": list(then)} for tenant, now, then in offer.repack.moves
                ],
            }
            for offer in row.offers
        ],
    }


def _names(row: Offered) -> str:
    return "\n".join(f"kafkatenant.{GROUP}/{tenant}" for offer in row.offers for tenant, _, _ in offer.repack.moves)


VIEW = View[Offered]("TenantRepack", (), _names, _document)


def repack_text(row: Offered) -> str:
    if not row.offers:
        return f"no tenant has a shard of {row.cell}"
    return "\n\n".join(_offer_text(offer) for offer in row.offers)


def _offer_text(offer: Offer) -> str:
    plan = offer.repack
    now, then = max(plan.overlaps_now, default=0), max(plan.overlaps_then, default=0)
    count = f"{offer.tenants} tenant{'' if offer.tenants == 1 else 's'}"
    head = f"{count} with {offer.rule.size} brokers, {offer.rule.max_overlap} shared at most: now {now}, afresh {then}"
    if not plan.better or not plan.moves:
        return f"{head}. Nothing is gained by moving."
    rows = [(tenant, _ids(before), _ids(after)) for tenant, before, after in plan.moves]
    lines = [f"kubectl annotate --overwrite kften {name} {names.SHARD}={_ids(after)}" for name, _, after in plan.moves]
    return (
        f"{head}. {len(rows)} would move, {plan.brokers_moved} brokers together:\n"
        + indent(table(("tenant", "now", "then"), rows))
        + "\nTo have it, for all of them and in this order:\n"
        + indent("\n".join(lines))
    )


def _ids(shard: tuple[int, ...]) -> str:
    return ",".join(map(str, shard))
