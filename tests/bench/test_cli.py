"""`make bench`: what typing `kfleet` costs, beside kubectl and a bare Python, in alternating rounds.

Figures with their raw rows go to docs/evidence/bench-cli-start.json. Only `--help` has a limit (300 ms, design): it is
judged by what it costs beyond a Python that does nothing, as another machine's Python may take longer to begin with.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from support import cli_fleet
from support.canned_api import canned_api
from support.evidence import write_record

from controlplane.sandbox.build import ensure_control_plane
from controlplane.sandbox.progress import Silence

ROUNDS = 15
HELP_LIMIT_MS = 300.0
KFLEET = Path(sys.executable).parent / "kfleet"


def milliseconds(command: Sequence[str], environment: dict[str, str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=True)
    return (time.perf_counter() - started) * 1000


def test_start_up(tmp_path: Path) -> None:
    kubectl = str(ensure_control_plane(Silence()) / "kubectl")
    calm = [cli_fleet.cluster(f"cell-{number:03}") for number in range(50)]
    with canned_api(tmp_path, cli_fleet.objects(calm)) as api:
        api.objects["Lease"] = [cli_fleet.lease(renewed=datetime.now(UTC) + timedelta(hours=1))]  # outlives the rounds
        environment = {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
        environment |= {"KUBECONFIG": str(api.kubeconfig)}
        completing = environment | {
            "_KFLEET_COMPLETE": "complete_bash",
            "COMP_WORDS": "kfleet cluster get cell",
            "COMP_CWORD": "3",
        }
        commands = {
            "python_pass": ([sys.executable, "-c", "pass"], environment),
            "kfleet_help": ([str(KFLEET), "--help"], environment),
            "kfleet_cluster_help": ([str(KFLEET), "cluster", "--help"], environment),
            "kfleet_status_50_clusters": ([str(KFLEET), "status"], environment),
            "kfleet_cluster_get_50": ([str(KFLEET), "cluster", "get", "-A"], environment),
            "kfleet_complete_names": ([str(KFLEET)], completing),
            "kubectl_help": ([kubectl, "--help"], environment),
            "kubectl_get_raw_50": (
                [kubectl, "get", "--raw", "/apis/kfleet.dev/v1alpha1/kafkaclusters"],
                environment,
            ),
        }
        for command, variables in commands.values():
            milliseconds(command, variables)  # files in the page cache, byte code compiled
        rows = [
            {name: round(milliseconds(command, variables), 1) for name, (command, variables) in commands.items()}
            for _ in range(ROUNDS)
        ]
    medians = {name: statistics.median(row[name] for row in rows) for name in commands}
    beyond = round(statistics.median(row["kfleet_help"] - row["python_pass"] for row in rows), 1)
    outcomes = {
        "medians_ms": medians,
        "kfleet_help_beyond_python_ms": beyond,
        "help_limit_ms": HELP_LIMIT_MS,
        "rounds": rows,
    }
    print(f"\nstart-up, medians of {ROUNDS} alternating rounds: {medians}; --help beyond a bare Python: {beyond} ms")
    write_record("bench-cli-start", passed=beyond < HELP_LIMIT_MS, outcomes=outcomes)
    assert beyond < HELP_LIMIT_MS
