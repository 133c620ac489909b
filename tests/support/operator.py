"""Run a real operator process against a sandbox, under its own ServiceAccount, for one test module."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

STOP_SECONDS = 60
HOME = "kfleet"
"""The operator's own namespace: its ServiceAccount and its Leases."""

QUICK = {
    "KFLEET_ADDRESSING": "PodIP",
    "KFLEET_RESYNC_INTERVAL": "5",
    "KFLEET_BUSY_INTERVAL": "0.5",
    "KFLEET_SETTLE_INTERVAL": "0.1",
    "KFLEET_RETRY_MAX": "2",
    "KFLEET_PROBE_PERIOD": "1",
    "KFLEET_LEASE_DURATION": "30",
    "KFLEET_LEASE_RENEW_INTERVAL": "1",
    "KFLEET_CELL_LOCK_DURATION": "30",
    "KFLEET_LEDGER_RETRY": "1",
    "KFLEET_HEALTH_PORT": "0",
    "KFLEET_LOG_FORMAT": "text",
    "KFLEET_STOP_GRACE": "30",
    "KFLEET_LEARN_SECONDS": "3",
    "KFLEET_LEARN_LONGEST": "4",
}
"""Shorter intervals than in production; nothing else differs but the Leases, which are longer.

In so short a time a canary of few brokers gives no level: it comes and goes, and is compared with nothing.

An operator that could not renew its Lease in time ends, and here nobody starts it again: a machine that stalls for
seconds must not come to that. A start under the same identity retakes the Lease at once; only a takeover has to wait.
"""


def write_kubeconfig(path: Path, *, server: str, ca_pem: str, token: str) -> None:
    """A kubeconfig with a bearer token, readable by its owner only."""
    import base64

    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "c",
                "cluster": {"server": server, "certificate-authority-data": base64.b64encode(ca_pem.encode()).decode()},
            }
        ],
        "users": [{"name": "u", "user": {"token": token}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "x",
    }
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(document))


@dataclass
class OperatorProcess:
    """`start` and `stop` as often as a test wants; the log of all lives is one file."""

    kubeconfig: Path
    namespace: str
    log: Path
    identity: str = "test-operator"
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def environment(self) -> dict[str, str]:
        return (
            {key: value for key, value in os.environ.items() if not key.startswith("KFLEET_")}
            | QUICK
            | {
                "KFLEET_KUBECONFIG": str(self.kubeconfig),
                "KFLEET_NAMESPACE": HOME,
                "KFLEET_WATCH_NAMESPACES": f'["{self.namespace}"]',
                "KFLEET_LEASE_NAME": f"operator-{self.namespace}",
                "KFLEET_IDENTITY": self.identity,
                "PYTHONPATH": str(Path(__file__).parents[1]),
            }
            | self.settings
        )

    def start(self, *arguments: str) -> None:
        """Without arguments the operator itself, else a module such as `support.crash_walk STATE`."""
        command = [sys.executable, "-m", *(arguments or ("operators",))]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, env=self.environment(), stdout=log, stderr=log)

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def wait(self, timeout: float = 30) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> None:
        """End it, with SIGKILL if it does not follow SIGTERM within STOP_SECONDS. Nothing when it has ended."""
        if self.process is None or self.process.poll() is not None:
            return
        self.signal(signal.SIGCONT)
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def tail(self, lines: int = 60) -> str:
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""
