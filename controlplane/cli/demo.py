"""`kfleet demo`: a declared cluster comes up, serves traffic and is upgraded live; every record is accounted for.

Everything is real: the sandbox's API server and nodes, Kafka, the operator under its own ServiceAccount, kubectl, and
the canary as a process of its own. Exit 0 only if nothing acknowledged was lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from controlplane.cli.errors import CliError

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False)

FROM, TO = "4.2.0", "4.3.1"
RATE = 1000
QUICKSTART = Path(__file__).parents[2] / "examples" / "quickstart"
OPERATOR_SECONDS, READY_SECONDS, TOPIC_SECONDS, USER_SECONDS, TRAFFIC_SECONDS = 300, 900, 300, 300, 300
ROLL_SECONDS = 1800
"""Only a demo that hangs comes to these: what is usual is a tenth of it, a busy machine takes several times that."""
AFTER_SECONDS = 5.0
"""Traffic goes on for this long after the upgrade is over."""
REPORTED = (
    "sent",
    "acknowledged",
    "consumed",
    "lost",
    "duplicated",
    "p50_ms",
    "p99_ms",
    "max_ms",
    "roll_s",
    "restarts",
)
SHOWN = (
    ("records sent", "sent", ""),
    ("acknowledged", "acknowledged", ""),
    ("consumed", "consumed", ""),
    ("lost", "lost", ""),
    ("duplicated", "duplicated", ""),
    ("produce latency p50", "p50_ms", " ms"),
    ("produce latency p99", "p99_ms", " ms"),
    ("produce latency max", "max_ms", " ms"),
    ("nodes rolled in", "roll_s", " s"),
    ("pods replaced", "restarts", ""),
)
"""Label, key in the report, unit."""


@dataclass(frozen=True)
class Upgrade:
    """What was seen of it: `account` is the canary's, `restarts` counts pods replaced, by uid."""

    account: dict[str, Any]
    roll_s: float
    restarts: int
    broker: str
    """A broker's pod."""

    def report(self) -> dict[str, Any]:
        figures = self.account | {"roll_s": self.roll_s, "restarts": self.restarts}
        return {key: figures[key] for _, key, _ in SHOWN}


@app.command()
def demo(
    *,
    name: Annotated[str, typer.Option("--name", help="Which sandbox.")] = "default",
    report: Annotated[
        Path | None, typer.Option("--report", dir_okay=False, help="Write the figures there, as JSON.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Leave the sandbox up at the end.")] = True,
) -> None:
    """Bring up a sandbox and a Kafka cluster, upgrade it under traffic, account for every record.

    An earlier demo in the same sandbox is taken down first. Exit code 0: nothing acknowledged was lost.
    """
    from controlplane.cli.ending import as_ctrl_c  # noqa: PLC0415 - HTTP and cryptography: --help does without
    from controlplane.cli.sandbox import paths_of  # noqa: PLC0415
    from controlplane.sandbox.build import ensure_control_plane  # noqa: PLC0415
    from controlplane.sandbox.images import prepare  # noqa: PLC0415
    from controlplane.sandbox.progress import Progress  # noqa: PLC0415

    if report is not None and not report.absolute().parent.is_dir():
        raise typer.BadParameter(f"--report {report}: there is no directory {report.absolute().parent}")
    if not QUICKSTART.is_dir():
        raise CliError(f"{QUICKSTART} is missing: the demo runs from a checkout of kfleet")
    begin = time.monotonic()
    progress, paths = Progress(), paths_of(name)
    with as_ctrl_c():
        for version in (FROM, TO):
            prepare(f"kfleet/kafka:{version}", progress)
        kubectl = ensure_control_plane(progress) / "kubectl"
        with _sandbox(paths, progress, name, keep=keep):
            upgrade = asyncio.run(_upgrade(paths.root, paths.kubeconfig(), kubectl, progress))
            figures = upgrade.report()
            width = max(len(label) for label, _, _ in SHOWN)
            shown = (f"{label:<{width}}  {_figure(figures[key])}{unit}" for label, key, unit in SHOWN)
            print("\n".join(shown), flush=True)
            if report is not None:
                report.write_text(json.dumps(figures, indent=2) + "\n")
            progress.say(f"the demo took {time.monotonic() - begin:.0f} s")
            if keep:
                progress.say(_next_steps(name, upgrade))
    if upgrade.account["lost"]:
        raise CliError(f"{upgrade.account['lost']} acknowledged records were not read back: that must not happen")
    if not upgrade.account["complete"]:
        raise CliError(f"the account is not complete: {upgrade.account['why']}")


@contextlib.contextmanager
def _sandbox(paths: Any, progress: Any, name: str, *, keep: bool) -> Iterator[None]:
    """Up meanwhile; what a demo leaves that did not come to its end is said, with the command that removes it."""
    from controlplane.sandbox import lifecycle  # noqa: PLC0415 - as above

    over = False
    try:
        lifecycle.up(paths, progress)
        yield
        over = keep
    finally:
        try:
            if not keep:
                lifecycle.down(paths, progress, purge=True)
                over = True
        finally:
            if not over:
                progress.say(f"sandbox {name} stays as it is; this ends it and removes its data: {_down(name)}")


async def _upgrade(root: Path, kubeconfig: Path, kubectl: Path, progress: Any) -> Upgrade:
    from controlplane.adapters.kubernetes.client import KubeClient  # noqa: PLC0415 - as above
    from controlplane.adapters.kubernetes.config import from_kubeconfig  # noqa: PLC0415
    from controlplane.cli.demo_canary import WARM_UP_SECONDS, CanaryProcess  # noqa: PLC0415
    from controlplane.cli.demo_cluster import CLUSTER, NAMESPACE, TOPIC, USER, DemoCluster  # noqa: PLC0415
    from controlplane.cli.demo_login import mounted  # noqa: PLC0415
    from controlplane.cli.demo_roll import RollWatch  # noqa: PLC0415
    from controlplane.domain.versions import release  # noqa: PLC0415

    async with KubeClient(from_kubeconfig(kubeconfig), field_manager="kfleet-demo") as kube:
        cluster = DemoCluster(kube, kubectl, kubeconfig, progress)
        await cluster.wait("the operator", "5 s", cluster.operator_ready, OPERATOR_SECONDS)
        await cluster.claim_namespace()
        cluster.kubectl("apply", "-f", _short(QUICKSTART))
        await cluster.wait(f"cluster {CLUSTER} on Kafka {FROM}", "30 to 60 s", cluster.ready, READY_SECONDS)
        await cluster.wait(f"topic {TOPIC}", "5 s", cluster.topic_ready, TOPIC_SECONDS)
        await cluster.wait(f"user {USER}", "5 s", cluster.user_ready, USER_SECONDS)
        status = (await cluster.cluster())["status"]
        broker = next(f"{CLUSTER}-{node['pool']}-{node['id']}" for node in status["nodes"] if "Broker" in node["roles"])
        uids = await cluster.pod_uids()
        stamp = datetime.now(UTC).strftime("canary-%Y%m%d-%H%M%S")
        files, login = root / "demo", root / "demo" / USER
        with mounted(await cluster.user_secret(), login), CanaryProcess(login, TOPIC, RATE, files, stamp) as canary:

            async def flowing() -> tuple[bool, str]:
                return canary.flowing(), canary.last_line()

            progress.say(f"kfleet-canary: {RATE} records/s to {TOPIC} as {USER}, over TLS, acks=all, journal:")
            progress.say(f"  {canary.journal}")
            await cluster.wait("records to be acknowledged", "3 s", flowing, TRAFFIC_SECONDS)
            await asyncio.sleep(WARM_UP_SECONDS + 1)
            watch = RollWatch(cluster, TO, release(TO).metadata_version, uids)
            patch = json.dumps({"spec": {"version": TO}})
            cluster.kubectl("patch", "-n", NAMESPACE, "kfc", CLUSTER, "--type=merge", "-p", patch)
            what = f"the upgrade to {TO} under traffic"
            usual = "2 to 4 minutes, 30 s of it soak"
            await cluster.wait(what, usual, watch.look, ROLL_SECONDS, tell=False, begin=watch.begin, alive=canary.check)
            await asyncio.sleep(AFTER_SECONDS)
            progress.say(f"canary: {canary.last_line()}; stopping it and reading the log to its end")
            account = await asyncio.to_thread(canary.stop)
        return Upgrade(account, round(watch.roll_s or 0.0, 1), watch.replaced, broker)


def _short(path: Path) -> str:
    return min(str(path), os.path.relpath(path), key=len)


def _program() -> Path:
    return Path(_short(Path(sys.argv[0]))) if sys.argv[0].endswith("kfleet") else Path("kfleet")


def _option(name: str) -> str:
    return "" if name == "default" else f" --name {name}"


def _down(name: str) -> str:
    """The command that ends the sandbox and removes its data."""
    return "make demo-down" if name == "default" else f"{_program()} sandbox down --purge{_option(name)}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:>10.1f}" if isinstance(value, float) else f"{value:>10}"


def _next_steps(name: str, upgrade: Upgrade) -> str:
    program, option = _program(), _option(name)
    kubectl = f"{program} sandbox kubectl{option} -n kafka"
    canary = program.with_name("kfleet-canary")
    secret = f"{kubectl} get secret orders-app -o go-template='{{{{index .data \"librdkafka.json\" | base64decode}}}}'"
    setting = '\'{"spec":{"config":{"message.max.bytes":2097152}}}\''
    return f"""
It is all still running. What to try next:
  point your shell to it eval "$({program} sandbox env{option})"
  the fleet              {program} status
  the upgrade, in steps  {program} op show kafkacluster/quickstart -n kafka
  the record of it       {program} audit list --cell kafka/quickstart
  its status in full     {kubectl} get kfc quickstart -o yaml
  change a setting live  {kubectl} patch kfc quickstart --type=merge -p {setting}
  ask for nonsense       {kubectl} patch kfc quickstart --type=merge -p '{{"spec":{{"version":"9.9.9"}}}}'
  lose a broker          {program} sandbox fail{option} kill kafka/{upgrade.broker}
  who may do what        {program} user describe orders-app -n kafka
  log in as it           {program} user test orders-app -n kafka
  measure for yourself   {canary} run --config <({secret}) --topic orders --journal my.jsonl --duration 30
  what a word means      {program} explain Blocked
  end it                 {_down(name)}"""
