"""What `kfleet approve` and `kfleet deny` share on the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from controlplane.cli.completion_names import operation_ids

Target = Annotated[
    str,
    typer.Argument(
        metavar="TARGET",
        help="Id of an operation, or whose it is: kafkacluster/NAME or NAME. `kfleet pending` lists them.",
        autocompletion=operation_ids,
    ),
]
Reason = Annotated[str, typer.Option("--reason", help="Why, for people and for the ledger.", show_default=False)]
Wait = Annotated[bool, typer.Option("--wait", help="Until the operator has acted on it.", show_default=False)]
AcceptHazard = Annotated[
    list[str] | None,
    typer.Option(
        "--accept-hazard",
        metavar="ID",
        help="Accept this hazard for this plan; may be given several times.",
        show_default=False,
    ),
]
WaiveWindow = Annotated[
    bool, typer.Option("--waive-window", help="Let this plan go on outside maintenance windows.", show_default=False)
]
