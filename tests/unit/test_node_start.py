"""How kafka-node-run starts Java. Java is a script that says what it was given."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from controlplane.sandbox.images import KAFKA_SCRIPTS


@pytest.mark.parametrize(
    ("heap", "collector"), [("256m", "-XX:+UseSerialGC"), ("512m", "-XX:+UseG1GC"), ("4g", "-XX:+UseG1GC")]
)
def test_keys_in_memory_cost_one_round_whatever_the_heap(tmp_path: Path, heap: str, collector: str) -> None:
    java, properties = tmp_path / "bin" / "java", tmp_path / "etc" / "kafka" / "run" / "server.properties"
    for file in (java, properties):
        file.parent.mkdir(parents=True)
    java.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    java.chmod(0o755)
    properties.write_text("")
    env = {"JAVA_HOME": str(tmp_path), "KFLEET_POD_ROOT": str(tmp_path), "KAFKA_LIBS": "/libs", "KAFKA_HEAP": heap}
    said = subprocess.run(
        [KAFKA_SCRIPTS / "kafka-node-run"], env=env, capture_output=True, text=True, check=True
    ).stdout
    given = said.splitlines()
    assert "-Dkeystore.pkcs12.keyPbeIterationCount=1" in given
    assert collector in given
    assert given[-2:] == ["kafka.Kafka", str(properties)]
