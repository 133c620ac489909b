"""`kfleet approve`: let an operation begin that waits for it."""

from __future__ import annotations

import typer

from controlplane.cli.approval_options import AcceptHazard, Reason, Target, Wait, WaiveWindow
from controlplane.cli.local_option import Timeout
from controlplane.cli.options import Context, Kubeconfig, Namespace, Output, OutputOption, Where, Yes

app = typer.Typer(name="approve", rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)


@app.command()
def approve(
    target: Target,
    *,
    reason: Reason = "",
    accept_hazard: AcceptHazard = None,
    waive_window: WaiveWindow = False,
    wait: Wait = False,
    timeout: Timeout = None,
    yes: Yes = False,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Approve the plan of an operation that waits for it; a plan that changes afterwards needs a new approval.

    A hazard accepted or a window waived counts for this plan only, also where plans need no approval.
    Exit 4: you may not, or you asked for it yourself. With --wait: 0 once it goes on, 4 if somebody denies it, 5 if it
    still waits for approval when --timeout is over.
    """
    from controlplane.cli.deciding import decide, overrides  # noqa: PLC0415 - HTTP and models: --help does without

    where = Where(namespace, kubeconfig, context)
    waived = overrides(accept_hazard or (), window=waive_window)
    raise typer.Exit(
        decide(where, target, "Approve", output, reason=reason, yes=yes, wait=wait, timeout=timeout, overrides=waived)
    )
