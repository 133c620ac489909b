"""The commands of docs/sandbox.md, run as a reader would: all `sh` blocks, in order, in one shell."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.sandbox import lifecycle
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.progress import Silence

pytestmark = [pytest.mark.sandbox, pytest.mark.timeout(900)]
CHECKOUT = Path(__file__).parents[2]
SECONDS = 720.0


@pytest.fixture
def state(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    lifecycle.down(SandboxPaths(tmp_path / "sandboxes" / "default"), Silence(), purge=True)


def test_the_commands_of_the_page_work(state: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```$", (CHECKOUT / "docs" / "sandbox.md").read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    programs = str(Path(sys.executable).parent)
    environment = os.environ | {"KFLEET_STATE": str(state), "PATH": f"{programs}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", "\n".join(blocks)],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert re.search(r"^hello from web-", done.stdout, re.MULTILINE)
    assert re.search(r"^service +default/web +", done.stdout, re.MULTILINE)
    assert not (state / "sandboxes" / "default").exists(), "down --purge leaves no file"
