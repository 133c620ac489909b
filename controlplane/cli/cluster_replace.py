"""`kfleet cluster replace-node`: say of a node that its disk is lost for good. The operator does the rest."""

from __future__ import annotations

import secrets
import sys

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.cli.ask import confirm_by_name
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, find, read_as
from controlplane.cli.options import Where
from controlplane.cli.recorded import record
from controlplane.domain.cluster.status import REFUSALS
from controlplane.ports import ConflictError


async def replace_node(where: Where, name: str, node: int, typed: str | None) -> None:
    """Raises CliError where the node is known to be whole, or another replacement is under way."""
    async with connect(where) as connection:
        found = await find(connection, CLUSTERS, name)
        meta = found["metadata"]
        status = read_as(KafkaCluster, found).status
        seen = next((one for one in status.nodes if one.id == node), None)
        if seen is not None and seen.state == "Running":
            raise CliError(f"node {node} is {seen.state}: its disk is there, and nothing is replaced")
        asked = (meta.get("annotations") or {}).get(names.REPLACE_NODE)
        met = asked is not None and status.replacement is not None and status.replacement.request == asked
        if asked is not None and not met and asked.partition("/")[0] != str(node):
            raise CliError(f"node {asked} is being replaced; one node at a time")
        words = f"{seen.state}: {seen.message}" if seen is not None and seen.message else "not there"
        _say(f"node {node} of {name} is {words.strip()}")
        if seen is None or seen.state != REFUSALS[0]:
            _say("nothing is given up before its disk is seen to be lost: its volumes gone, or empty though formatted")
        _say("what is left on its disk is given up; it is refused where that would be the last copy of anything")
        confirm_by_name(f"replace node {node} of {name}", name, typed)
        cell = f"{connection.namespace}/{name}"
        await record(await connection.user(), "cluster replace-node", f"KafkaCluster {cell} node {node}", cell=cell)
        change = {
            "metadata": {
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
                "annotations": {names.REPLACE_NODE: request_text(node, asked, met=met)},
            }
        }
        try:
            await connection.kube.patch(CLUSTERS, name, connection.namespace, change)
        except ConflictError:
            raise CliError(f"{name} has changed meanwhile; look at it and ask again") from None
        _say(f"asked for; `kfleet op watch {name}` follows it, and status.replacement says when it is done")


def request_text(node: int, asked: str | None, *, met: bool) -> str:
    """One that stands is asked for again as it is; after one that was met it takes another word to ask anew."""
    if asked is None:
        return str(node)
    return f"{node}/{secrets.token_hex(4)}" if met else asked


def _say(text: str) -> None:
    print(f"kfleet: {text}", file=sys.stderr, flush=True)
