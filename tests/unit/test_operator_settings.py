"""Bad settings end `kfleet-operator` with one line and 2, as a process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

OPERATOR = Path(sys.executable).parent / "kfleet-operator"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"KFLEET_WORKERS": "x"}, "settings: KFLEET_WORKERS: Input should be a valid integer"),
        (
            {"KFLEET_LEASE_DURATION": "1", "KFLEET_LEASE_RENEW_INTERVAL": "1"},
            "KFLEET_LEASE_RENEW_INTERVAL must be at most half of KFLEET_LEASE_DURATION",
        ),
        (
            {"KFLEET_LEARN_SECONDS": "9", "KFLEET_LEARN_LONGEST": "8"},
            "KFLEET_LEARN_LONGEST must be at least KFLEET_LEARN_SECONDS",
        ),
        ({"KFLEET_LEDGER_RETENTION_DAYS": "1000000"}, "settings: KFLEET_LEDGER_RETENTION_DAYS: "),
    ],
)
def test_a_bad_setting_is_one_line(settings: dict[str, str], says: str) -> None:
    done = subprocess.run(
        [OPERATOR], env=os.environ | settings, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("kfleet-operator: settings: ")
    assert done.stderr.count("\n") == 1
    assert says in done.stderr
