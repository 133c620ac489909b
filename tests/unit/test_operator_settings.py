"""Bad settings end `kfleet-operator` with one line and 2."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from operators import main as operator

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
def test_a_bad_setting_is_one_line(
    settings: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        operator.main()
    assert_said(ended.value.code, *capsys.readouterr(), says)


def test_as_a_process() -> None:
    done = subprocess.run(
        [OPERATOR],
        env=os.environ | {"KFLEET_WORKERS": "x"},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    assert_said(done.returncode, done.stdout, done.stderr, "settings: KFLEET_WORKERS: Input should be a valid integer")


def assert_said(code: object, out: str, err: str, says: str) -> None:
    assert (code, out) == (2, "")
    assert err.startswith("kfleet-operator: settings: ")
    assert err.count("\n") == 1
    assert says in err
