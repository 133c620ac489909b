"""Records of campaigns and benchmarks: what ran, on which commit and machine, and what came out."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
EVIDENCE = ROOT / "docs" / "evidence"


def machine() -> dict[str, Any]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30),
        "python": platform.python_version(),
    }


def commit() -> str:
    """HEAD, with "+changes" when the tree differs from it in anything but the records themselves."""

    def git(*arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

    changed = git("status", "--porcelain", "--", ".", ":!docs/evidence")
    return git("rev-parse", "HEAD") + ("+changes" if changed else "")


def write_record(name: str, *, passed: bool, outcomes: dict[str, Any]) -> Path:
    EVIDENCE.mkdir(parents=True, exist_ok=True)
    path = EVIDENCE / f"{name}.json"
    document = {
        "name": name,
        "passed": passed,
        "at": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "commit": commit(),
        "machine": machine(),
        "outcomes": outcomes,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path


def problems(record: Any) -> list[str]:
    """Why a record does not count as evidence; empty when it does."""
    if not isinstance(record, dict):
        return ["not an object"]
    found = [f"{key} is missing" for key in ("name", "at", "commit", "machine", "outcomes") if not record.get(key)]
    if record.get("passed") is not True:
        found.append("it did not pass")
    return found
