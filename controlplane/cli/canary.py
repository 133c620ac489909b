"""`kfleet-canary`: writes and reads a topic steadily, journals every acknowledgement, and says what was lost.

Exit 0: nothing acknowledged was lost. 1: lost, or it could not find out, or it could not run. 2: usage.
"""

from __future__ import annotations

import json
import re
import signal
import sys
import threading
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.canary_render import account_text
from controlplane.domain.accounting import AccountingError
from controlplane.domain.canary import READ_END, READ_LIVE, CanaryError, CanaryOptions
from controlplane.domain.journal import JournalError

app = typer.Typer(
    name="kfleet-canary",
    help="Write and read a topic steadily, and account for every record.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_SERVER = re.compile(r"(\[[0-9a-fA-F:]+\]|[^:,\s]+):\d{1,5}")


class Client(StrEnum):
    librdkafka = "librdkafka"


class Output(StrEnum):
    text = "text"
    json = "json"


class Read(StrEnum):
    live = READ_LIVE
    end = READ_END


def _servers(value: str | None) -> str | None:
    if value is not None and not all(_SERVER.fullmatch(server) for server in value.split(",")):
        raise typer.BadParameter(f"{value!r} is not HOST:PORT[,HOST:PORT...]")
    return value


def _login(path: Path) -> dict[str, str]:
    """What the operator wrote for a user: the one way in for a password. BadParameter quotes no value."""
    from controlplane.domain.users import secret  # noqa: PLC0415 - pydantic is not loaded for --help

    file = path / secret.LIBRDKAFKA if path.is_dir() else path
    try:
        return secret.read_librdkafka(file.read_text(encoding="utf-8", errors="replace"))
    except OSError as error:
        raise typer.BadParameter(f"cannot read {file}: {error.strerror}", param_hint="--config") from None
    except ValueError as error:
        raise typer.BadParameter(f"{file}: {error}", param_hint="--config") from None


WarmUp = Annotated[
    float, typer.Option("--warm-up", min=0, help="Seconds from the first send that latencies and stalls leave out.")
]
OutputOption = Annotated[Output, typer.Option("-o", "--output", help="Format of the result on stdout.")]


@app.command()
def run(
    *,
    topic: Annotated[str, typer.Option(help="An existing topic; records of others in it are passed over.")],
    journal: Annotated[Path, typer.Option(help="A new file, JSON lines; it is evidence and never overwritten.")],
    config: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            help="A login: a KafkaUser's librdkafka.json, or the directory that its Secret is mounted at.",
        ),
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option(callback=_servers, help="HOST:PORT[,HOST:PORT...], instead of those in --config.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.1, max=100_000, help="Records a second.")] = 1000.0,
    duration: Annotated[float | None, typer.Option(min=0.1, help="Seconds; else until SIGTERM or SIGINT.")] = None,
    client: Annotated[Client, typer.Option(help="The producer's library.")] = Client.librdkafka,
    read: Annotated[
        Read, typer.Option(help="Follow the log, or read it only after producing has stopped.")
    ] = Read.live,
    delivery_timeout: Annotated[float, typer.Option(min=1, help="Seconds a record is retried, without limit.")] = 120.0,
    connect_timeout: Annotated[float, typer.Option(min=1, help="Seconds for the first broker and the topic.")] = 15.0,
    drain_timeout: Annotated[float, typer.Option(min=1, help="Seconds for the last answers and the log's end.")] = 60.0,
    warm_up: WarmUp = 5.0,
    output: OutputOption = Output.text,
) -> None:
    """Produce with acks=all and idempotence until told to stop, read to the log's end, account for every record."""
    from controlplane.bootstrap import canary  # noqa: PLC0415 - librdkafka is not loaded for --help

    del client  # librdkafka is the only one so far; the option keeps scripts honest about what they measure
    sys.setswitchinterval(0.001)  # the reader's batches must not show up as the broker's latency
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    login = {} if config is None else _login(config)
    servers = bootstrap or login.get("bootstrap.servers")
    if servers is None:
        raise typer.BadParameter("say where the cluster is: --config FILE, or --bootstrap for one without logins")
    options = CanaryOptions(
        bootstrap=servers,
        topic=topic,
        run=uuid.uuid4().hex[:12],
        rate=rate,
        duration=duration,
        read=READ_LIVE if read is Read.live else READ_END,
        delivery_timeout=delivery_timeout,
        connect_timeout=connect_timeout,
        drain_timeout=drain_timeout,
        login=login,
    )
    result = canary(options, journal, stop, warm_up_s=warm_up, say=_say)
    print(json.dumps(result.to_json()) if output is Output.json else account_text(result.account))
    if result.why:
        _say(result.why)
    raise typer.Exit(int(result.account.lost > 0 or not result.complete))


@app.command()
def account(
    journals: Annotated[list[Path], typer.Argument(metavar="JOURNAL...", help="Journals of one run are merged.")],
    warm_up: WarmUp = 5.0,
    output: OutputOption = Output.text,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Duplicates fail, too.")] = False,
) -> None:
    """Compute the account from journals. Exit 1 if anything acknowledged was not read back."""
    from controlplane.adapters.journal import account_journals  # noqa: PLC0415 - nothing is loaded for --help

    result, readers = account_journals(journals, warm_up_s=warm_up)
    torn = sum(reader.torn for reader in readers)
    for reader in readers:
        if reader.torn:
            _say(f"{reader.name}: the last line is half-written (the canary was killed); passed over")
    if output is Output.json:
        print(json.dumps({**result.to_json(), "torn": torn}))
    else:
        print(account_text(result))
    raise typer.Exit(int(result.lost > 0 or (strict and result.duplicated > 0)))


def _say(text: str) -> None:
    print(f"kfleet-canary: {text}", file=sys.stderr, flush=True)


def main() -> None:
    try:
        app()
    except (CanaryError, JournalError, AccountingError) as error:
        _say(str(error))
        sys.exit(1)


if __name__ == "__main__":
    main()
