"""`kfleet deny`: end an operation that waits for approval."""

from __future__ import annotations

import typer

from controlplane.cli.approval_options import Reason, Target, Wait
from controlplane.cli.local_option import Timeout
from controlplane.cli.options import Context, Kubeconfig, Namespace, Output, OutputOption, Where, Yes

app = typer.Typer(name="deny", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def deny(
    target: Target,
    *,
    reason: Reason = "",
    wait: Wait = False,
    timeout: Timeout = None,
    yes: Yes = False,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Deny the plan of an operation that waits for approval: it ends, and stays ended while the denial stands.

    What has begun is stopped by `kfleet op cancel`. Exit 4: you may not. With --wait: until it has ended.
    """
    from controlplane.cli.deciding import decide  # noqa: PLC0415 - HTTP and models: --help does without

    where = Where(namespace, kubeconfig, context)
    raise typer.Exit(decide(where, target, "Deny", output, reason=reason, yes=yes, wait=wait, timeout=timeout))
