"""Names of pods and Services for a cell whose nodes are addressed by name: a hosts file that follows the API server.

A sandbox has no DNS of its own. `make campaign-access` gives its processes a mount namespace with an /etc/hosts of its
own, and names the file in HOSTS_FILE; what is written there everybody below that run resolves, and nobody else.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.cell import Cell

HOSTS_FILE = "KFLEET_CAMPAIGN_HOSTS"
LOOK_SECONDS = 0.5


@contextmanager
def names_of(cell: Cell) -> Iterator[None]:
    """While the block runs the cell's pods and Services have names; a pod as soon as it has an address."""
    path = os.environ.get(HOSTS_FILE)
    assert path, f"{HOSTS_FILE} is not set: `make campaign-access` gives the run a hosts file of its own"
    file, over = Path(path), threading.Event()
    before = file.read_text()
    failed: list[BaseException] = []

    def follow() -> None:
        known: dict[str, str] = {}
        while not over.wait(LOOK_SECONDS):
            try:
                found = known | _names(cell)
            except BaseException as error:  # noqa: BLE001 - told at the end of the block
                failed.append(error)
                return
            if found != known:
                known = found
                # In place: another file under that name would not be the one that is mounted.
                file.write_text(before + "".join(f"{address} {name}\n" for name, address in sorted(known.items())))

    thread = threading.Thread(target=follow, name="hosts file", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        file.write_text(before)
    assert not failed, f"the hosts file was not kept: {failed[0]}"


def _names(cell: Cell) -> dict[str, str]:
    found = {}
    for item in cell.get("pods,services")["items"]:
        name = item["metadata"]["name"]
        if item["kind"] == "Service":
            address = item["spec"].get("clusterIP")
            full = f"{name}.{cell.namespace}.svc"
        else:
            address = item.get("status", {}).get("podIP")
            full = f"{name}.{cell.name}-nodes.{cell.namespace}.svc"
        if address and address != "None":
            found[full] = address
    return found
