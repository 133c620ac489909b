"""What is said of a download that takes minutes where each file is minutes away."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from controlplane.sandbox import kafka_jars, progress
from controlplane.sandbox.progress import Progress


class Heard(Progress):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.beats: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)

    def beat(self, text: str) -> None:
        self.beats.append(text)


def test_a_download_says_how_far_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that lies in two of the resolver's directories counts once."""
    monkeypatch.setenv("KFLEET_CACHE", str(tmp_path))
    monkeypatch.setattr(progress, "REDRAW_SECONDS", 0.001)
    heard = Heard()

    def download(version: str, target: Path) -> None:
        for place in ("repository", "cache"):
            (target / "work" / place).mkdir(parents=True)
            (target / "work" / place / f"kafka-clients-{version}.jar").write_bytes(bytes(2_000_000))
        (target / "work" / "repository" / "kafka.pom").write_text("<project/>")
        deadline = time.monotonic() + 30
        while not any("2 files are here, 2 MB (0:0" in beat for beat in heard.beats):
            assert time.monotonic() < deadline, "it says nothing"
            time.sleep(0.001)

    monkeypatch.setattr(kafka_jars, "_download", download)
    there = kafka_jars.ensure_kafka("4.3.1", heard)
    assert there.is_dir()
    assert [line.split()[0] for line in heard.said] == ["downloading", "Kafka"]
