"""Options that commands share, so that each is spelled, explained and completed the same everywhere."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.completion_names import cluster_names


class Output(StrEnum):
    table = "table"
    wide = "wide"
    json = "json"
    yaml = "yaml"
    name = "name"


@dataclass(frozen=True, slots=True)
class Where:
    """Which Kubernetes and which namespace; None means what the kubeconfig says."""

    namespace: str | None = None
    kubeconfig: Path | None = None
    context: str | None = None
    all_namespaces: bool = False


Namespace = Annotated[
    str | None, typer.Option("-n", "--namespace", help="Namespace; by default the context's.", show_default=False)
]
AllNamespaces = Annotated[bool, typer.Option("-A", "--all-namespaces", help="Every namespace.", show_default=False)]
Kubeconfig = Annotated[
    Path | None,
    typer.Option("--kubeconfig", help="File; by default $KUBECONFIG, else ~/.kube/config.", show_default=False),
]
Context = Annotated[
    str | None, typer.Option("--context", help="Context of the kubeconfig; by default its current one.")
]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="Format on stdout.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.", show_default=False)]
ClusterName = Annotated[
    str, typer.Argument(metavar="NAME", help="Name of a KafkaCluster.", autocompletion=cluster_names)
]
