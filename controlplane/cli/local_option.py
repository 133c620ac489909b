"""The option --local, apart from what it does: --help of a command need not load an operator for it."""

from __future__ import annotations

from typing import Annotated

import typer

Local = Annotated[
    bool,
    typer.Option(
        "--local",
        help="When the operator is down: take its Lease and do its work for this cluster in this process.",
        show_default=False,
    ),
]
Timeout = Annotated[
    float | None, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait.", show_default=False)
]
