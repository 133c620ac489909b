"""`kfleet user`: who may do what, with which credentials. No command prints a password or a key."""

from __future__ import annotations

import time
from typing import Annotated

import typer

from controlplane.cli.completion_names import user_names
from controlplane.cli.errors import ExitCode
from controlplane.cli.local_option import Timeout
from controlplane.cli.options import Context, Kubeconfig, Namespace, Output, OutputOption, Where, Yes

app = typer.Typer(
    name="user",
    help="Users: describe, rotate, revoke, test.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
UserName = Annotated[str, typer.Argument(metavar="NAME", help="Name of a KafkaUser.", autocompletion=user_names)]


@app.command()
def describe(
    name: UserName,
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Show a user at length: credentials, rules, quotas, conditions, Events.

    What its principal has in Kafka and nobody declared is shown as foreign.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.render import show_one  # noqa: PLC0415
    from controlplane.cli.user_read import described  # noqa: PLC0415
    from controlplane.cli.user_view import DESCRIPTION, description_text  # noqa: PLC0415

    row = run(described(Where(namespace, kubeconfig, context), name))
    show_one(output, DESCRIPTION, row, text=lambda: description_text(row, time.time()))


@app.command()
def rotate(
    name: UserName,
    *,
    namespace: Namespace = None,
    timeout: Timeout = None,
    yes: Yes = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Give a user new credentials, and wait until its Secret has them.

    Sessions go on until they have to prove themselves again, within 15 minutes: clients have to have read the Secret by
    then. It waits 60 s by default.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.user_change import rotate_user  # noqa: PLC0415

    run(rotate_user(Where(namespace, kubeconfig, context), name, timeout, yes=yes))


@app.command()
def revoke(
    name: UserName,
    *,
    reason: Annotated[str, typer.Option("--reason", help="Why, for people and for the ledger.")] = "",
    confirm: Annotated[
        str | None, typer.Option("--confirm", metavar="NAME", help="The user's name, instead of being asked for it.")
    ] = None,
    namespace: Namespace = None,
    timeout: Timeout = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Keep a user out: denied everything at once, credentials gone.

    Open connections are refused at their next request. Asks for the user's name, and waits until the brokers deny it
    (60 s by default). It stays so until the annotation kfleet.dev/revoked is taken away.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.user_change import revoke_user  # noqa: PLC0415

    run(revoke_user(Where(namespace, kubeconfig, context), name, timeout, reason=reason, typed=confirm))


@app.command("test")
def log_in(
    name: UserName,
    *,
    namespace: Namespace = None,
    output: OutputOption = Output.table,
    timeout: Timeout = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Log in with a user's Secret as a client does, and say what works.

    Every bootstrap server is logged in to, and the brokers are asked what the user may do; nothing is written. The
    Secret has to be readable to whoever asks. Exit code 3: a check does not pass.
    """
    from controlplane.cli.connect import run  # noqa: PLC0415 - --help does without HTTP
    from controlplane.cli.user_login import show_test  # noqa: PLC0415

    if not run(show_test(Where(namespace, kubeconfig, context), name, output, timeout)):
        raise typer.Exit(ExitCode.UNHEALTHY)
