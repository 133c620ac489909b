"""The second that completion gives a lookup is for whoever is asked, not for loading what asks."""

from __future__ import annotations

import subprocess
import sys

LOADED = (
    "import sys, controlplane.cli.completion_lookup; print('controlplane.adapters.kubernetes.client' in sys.modules)"
)


def test_the_client_is_loaded_before_the_second_begins() -> None:
    """On a busy machine loading it takes longer than that, and a name would never be offered."""
    done = subprocess.run([sys.executable, "-c", LOADED], capture_output=True, text=True, timeout=240, check=False)
    assert (done.stdout, done.stderr) == ("True\n", "")
