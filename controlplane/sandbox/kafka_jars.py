"""Kafka from Maven Central: one flat directory of jars a version, downloaded once and cached.

jgo (a pure-Python Maven resolver) finds the jars. Left alone it would write downloads straight under their final names
and only log a checksum that does not match, so it works in a directory that is thrown away unless everything came, and
every jar is read back in full before it counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from controlplane.sandbox.config import cache_home
from controlplane.sandbox.errors import BuildError
from controlplane.sandbox.once import make_once, remove_tree
from controlplane.sandbox.progress import Progress, beating, since

LOG4J = "2.25.4"
SLF4J_1_BINDING = "log4j-slf4j-impl"
COMPLETE_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "3.9.2": ("log4j-api", "log4j-core", SLF4J_1_BINDING, "log4j-1.2-api"),
    "4.0.2": ("log4j-api", "log4j-core", SLF4J_1_BINDING),
    "4.1.2": ("log4j-api", "log4j-core", SLF4J_1_BINDING),
    "4.2.0": ("log4j-api", "log4j-core", SLF4J_1_BINDING),
    "4.3.1": ("log4j-api", "log4j-core", SLF4J_1_BINDING),
}
"""Versions whose kafka_2.13, kafka-tools and connect-mirror are all published, with the log4j parts each needs.

Kafka's jars bring slf4j 1.7 but no binding to log4j 2, so brokers would log nothing; 3.9 still calls log4j 1.
"""

KAFKA_PARTS = ("kafka_2.13", "kafka-tools", "connect-mirror")
REPLACED_PREFIXES = ("reload4j-", "slf4j-reload4j-")
"""log4j 1 as Kafka 3.9 ships it: two bindings of slf4j on one class path would be a matter of luck."""

LOGGING_JAR = "kfleet-logging.jar"
LOGGING = """\
# Brokers log to stdout, where the node (or any kubelet) collects it. Found on the class path, so no flag is needed.
status = error
appenders = stdout
appender.stdout.type = Console
appender.stdout.name = STDOUT
appender.stdout.layout.type = PatternLayout
appender.stdout.layout.pattern = [%d{yyyy-MM-dd'T'HH:mm:ss.SSSXXX}] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRefs = stdout
rootLogger.appenderRef.stdout.ref = STDOUT
logger.requests.name = kafka.request.logger
logger.requests.level = warn
logger.network.name = kafka.network.RequestChannel$
logger.network.level = warn
"""
ATTEMPTS = 3
TIMEOUT_SECONDS = 60


def ensure_kafka(version: str, progress: Progress | None = None) -> Path:
    """The directory of that version's jars. Raises BuildError: an unknown version, or no way to download it."""
    if version not in COMPLETE_VERSIONS:
        raise BuildError(f"Kafka {version} is not one the sandbox can run; it knows {', '.join(COMPLETE_VERSIONS)}")
    progress = progress or Progress()
    target = cache_home() / "kafka" / f"{version}-{_recipe(version)}"

    def make(partial: Path) -> None:
        progress.say(f"downloading Kafka {version} (60 MB of jars, usually 10 to 60 seconds, once)")
        started = time.monotonic()
        with beating(progress, lambda: f"  {_so_far(partial)} ({since(started)})"):
            _download(version, partial)
        progress.say(f"  Kafka {version} is here, cached in {target}")

    return make_once(target, make, lambda: progress.beat(f"another process is downloading Kafka {version}; waiting"))


def _so_far(partial: Path) -> str:
    """What has come: descriptions first, then jars, in the resolver's own directories, each maybe in two of them."""
    sizes: dict[str, int] = {}
    for directory, _, files in os.walk(partial):
        for name in files:
            with contextlib.suppress(FileNotFoundError):  # moved or removed meanwhile
                sizes[name] = (Path(directory) / name).stat().st_size
    return f"{len(sizes)} files are here, {sum(sizes.values()) / 1e6:.0f} MB"


def _recipe(version: str) -> str:
    """Changes when what belongs into the directory does, so that a newer kfleet never runs an older one's jars."""
    recipe = (KAFKA_PARTS, COMPLETE_VERSIONS[version], LOG4J, REPLACED_PREFIXES, LOGGING)
    return hashlib.sha256(repr(recipe).encode()).hexdigest()[:8]


def _download(version: str, target: Path) -> None:
    """Kafka and log4j are resolved apart: log4j's BOM manages kafka-clients and jackson too, and would win."""
    kafka = "+".join(f"org.apache.kafka:{part}:{version}" for part in KAFKA_PARTS)
    logs = "+".join(f"org.apache.logging.log4j:{part}:{LOG4J}" for part in COMPLETE_VERSIONS[version])
    for coordinates, unwanted in ((kafka, (*REPLACED_PREFIXES, "log4j-")), (logs, ("slf4j-",))):
        work = target / "work"
        environment = _attempt(version, coordinates, work)
        for jar in sorted(environment.rglob("*.jar")):
            if not jar.name.startswith(unwanted):
                _verify(jar)
                shutil.move(jar, target / jar.name)
        remove_tree(work)
    if not (target / f"kafka-clients-{version}.jar").is_file():
        raise BuildError(f"Maven Central gave Kafka {version} another version's kafka-clients; try again")
    with zipfile.ZipFile(target / LOGGING_JAR, "w") as archive:
        archive.writestr("log4j2.properties", LOGGING)


def _attempt(version: str, coordinates: str, work: Path) -> Path:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return _resolve(coordinates, work)
        except Exception as error:
            if attempt == ATTEMPTS:
                raise BuildError(f"cannot download Kafka {version} from Maven Central: {error}") from error
            remove_tree(work)
    raise AssertionError("unreachable")


def _resolve(coordinates: str, work: Path) -> Path:
    from jgo.env import EnvironmentBuilder, LinkStrategy  # noqa: PLC0415 - 300 ms, and only a download needs it
    from jgo.maven import MavenContext  # noqa: PLC0415

    # Its warnings about unpinned plug-in versions are not for our users.
    logging.getLogger("jgo").setLevel(logging.ERROR)
    context: Any = MavenContext(repo_cache=work / "repository", timeout=TIMEOUT_SECONDS)
    builder: Any = EnvironmentBuilder(context=context, cache_dir=work / "cache", link_strategy=LinkStrategy.HARD)
    builder.from_endpoint(coordinates)
    return work / "cache"


def _verify(jar: Path) -> None:
    """Every entry against its CRC: a truncated or damaged download must not become a broker's class path."""
    try:
        with zipfile.ZipFile(jar) as archive:
            broken = archive.testzip()
    except zipfile.BadZipFile as error:
        raise BuildError(f"{jar.name} came damaged from Maven Central ({error}); try again") from error
    if broken is not None:
        raise BuildError(f"{jar.name} came damaged from Maven Central (entry {broken}); try again")
