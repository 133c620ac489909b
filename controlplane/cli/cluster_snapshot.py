"""`kfleet cluster snapshot`: a ClusterObservation as JSON, for bug reports, tests and comparing before with after."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

from pydantic import ValidationError

from controlplane.cli.cluster_observe import observer, why_silent
from controlplane.cli.connect import connect
from controlplane.cli.errors import CliError
from controlplane.cli.lookup import CLUSTERS, find
from controlplane.cli.options import Where
from controlplane.cli.render import document
from controlplane.domain.observation import ClusterObservation


async def take(where: Where, name: str, file: Path | None) -> None:
    async with connect(where) as connection, observer(connection) as observe:
        observation = await observe(await find(connection, CLUSTERS, name))
    if observation.kafka is None:
        print(f"kfleet: kafka is null: {why_silent(observation)}", file=sys.stderr)
    text = document("ClusterSnapshot", observation.to_json())
    if file is None:
        print(text)
    else:
        write_whole(file, text + "\n")
        print(f"kfleet: {len(observation.nodes)} nodes written to {file}", file=sys.stderr)


def read_snapshot(file: Path, name: str) -> ClusterObservation:
    """Raises OSError, and CliError for a file that is no snapshot of that cluster."""
    try:
        observation = ClusterObservation.from_json(json.loads(file.read_text()))
    except (ValidationError, ValueError, TypeError):
        raise CliError(f"{file}: not a snapshot: write one with `kfleet cluster snapshot NAME -f FILE`") from None
    if observation.name != name:
        raise CliError(f"{file} is a snapshot of {observation.namespace}/{observation.name}, not of {name}")
    return observation


def write_whole(file: Path, text: str) -> None:
    """The whole text or nothing: a reader never meets half of it. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{file.name}.", dir=file.parent)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(text)
        Path(temporary).replace(file)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
