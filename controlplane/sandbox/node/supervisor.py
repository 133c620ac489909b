"""Runs one attempt of one container and outlives the node process. Standard library only: `python -I -S supervisor.py`.

Reads a JSON document from stdin: {"argv", "env", "cwd", "dir", "boot_id"}. Answers with one line on stdout, "started"
or "claimed" (the attempt belongs to someone else, nothing was run), and from then on speaks through the files of
records.py only. It never restarts anything. Invariants:

- No container process runs before started.json names it.
- ended.json is written once, after the last process of the container is gone: the supervisor is the subreaper
  (prctl(2)) of all of them and kills what the main process leaves behind, as the end of a pid namespace would.
- When the supervisor itself is killed the main process dies with it (PR_SET_PDEATHSIG).

The environment (secrets) is passed by pipe and never written to disk.
"""

import ctypes
import errno
import json
import os
import select
import signal
import sys
import time
from typing import Any

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOG_BYTES = 16 * 1024 * 1024
PARTIAL_BYTES = 16 * 1024
START_ERROR = 128
"""Exit code that container runtimes report when the command could not be started."""


class Log:
    """CRI log lines: `<RFC 3339 time> <stream> <F or P> <text>`; the older half moves to log.1."""

    def __init__(self, directory: str) -> None:
        self.path = os.path.join(directory, "log")
        self.size = 0
        self.file = self._open()
        self.pending = {"stdout": b"", "stderr": b""}

    def _open(self) -> int:
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o640)

    def feed(self, stream: str, data: bytes) -> None:
        *lines, rest = (self.pending[stream] + data).split(b"\n")
        for line in lines:
            self._write(stream, b"F", line)
        while len(rest) >= PARTIAL_BYTES:
            self._write(stream, b"P", rest[:PARTIAL_BYTES])
            rest = rest[PARTIAL_BYTES:]
        self.pending[stream] = rest

    def end(self, stream: str) -> None:
        if self.pending[stream]:
            self._write(stream, b"F", self.pending[stream])
            self.pending[stream] = b""

    def _write(self, stream: str, tag: bytes, text: bytes) -> None:
        seconds, nanos = divmod(time.time_ns(), 1_000_000_000)
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{nanos:09d}Z {stream} "
        line = stamp.encode() + tag + b" " + text + b"\n"
        if self.size + len(line) > LOG_BYTES:
            os.close(self.file)
            os.replace(self.path, self.path + ".1")
            self.file, self.size = self._open(), 0
        view = memoryview(line)
        while view:
            view = view[os.write(self.file, view) :]
        self.size += len(line)


def start_time(pid: int) -> int:
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rpartition(")")[2].split()[19])


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def write(path: str, document: dict[str, Any], *, claim: bool = False) -> bool:
    """Atomic and durable. With `claim` an existing file wins: False."""
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "w") as file:
        json.dump(document, file)
        file.flush()
        os.fsync(file.fileno())
    if not claim:
        os.replace(temporary, path)
        return True
    try:
        os.link(temporary, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def become(spec: dict[str, Any], libc: ctypes.CDLL, gate: int, failure: int, streams: tuple[int, int]) -> None:
    """In the child: wait for the gate, then exec. Reports an errno and its subject on `failure`."""
    subject = spec["argv"][0]
    try:
        os.setsid()
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.read(gate, 1) != b"1":  # the supervisor died or lost its claim
            os._exit(0)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        null = os.open("/dev/null", os.O_RDONLY)
        for source, target in ((null, 0), (streams[0], 1), (streams[1], 2)):
            os.dup2(source, target)
        os.umask(0o022)
        os.chdir(spec["cwd"])
        os.execvpe(subject, spec["argv"], spec["env"])
    except (OSError, ValueError) as error:
        missing = getattr(error, "errno", None) == errno.ENOENT
        reason = "executable file not found in $PATH" if missing else str(error)
        os.write(failure, f'exec: "{subject}": {reason}'.encode())
    finally:
        os._exit(127)


def reap(main: int) -> tuple[int | None, bool]:
    """Collect ended children: (the main process's wait status if it was among them, whether children are left)."""
    status = None
    while True:
        try:
            pid, ended = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return status, False
        if pid == 0:
            return status, True
        if pid == main:
            status = ended


def kill_rest() -> None:
    """SIGKILL all children; their children become ours and are met in the next round."""
    with open(f"/proc/self/task/{os.getpid()}/children") as file:
        for pid in file.read().split():
            try:
                os.kill(int(pid), signal.SIGKILL)
            except ProcessLookupError:
                continue


def watch(main: int, log: Log, sources: dict[int, str], wakeup: int) -> int:
    """Copy output and reap until nothing of the container is left; returns the main process's wait status."""
    poll = select.poll()
    for descriptor in (*sources, wakeup):
        poll.register(descriptor, select.POLLIN)
    result: int | None = None
    children = True
    while children or sources:
        for descriptor, _ in poll.poll():
            if descriptor == wakeup:
                os.read(wakeup, 4096)
                continue
            data = os.read(descriptor, 65536)
            if data:
                log.feed(sources[descriptor], data)
            else:
                log.end(sources.pop(descriptor))
                poll.unregister(descriptor)
        status, children = reap(main)
        result = status if status is not None else result
        if result is not None and children:
            kill_rest()
    if result is None:
        raise RuntimeError(f"the main process {main} vanished without a wait status")
    return result


def run(spec: dict[str, Any]) -> None:
    directory = spec["dir"]
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    wakeup, wakeup_write = os.pipe()
    os.set_blocking(wakeup_write, False)
    signal.set_wakeup_fd(wakeup_write)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    (out, out_write), (err, err_write), (gate, gate_write), (failure, failure_write) = (os.pipe() for _ in range(4))
    main = os.fork()
    if main == 0:
        os.close(gate_write)
        become(spec, libc, gate, failure_write, (out_write, err_write))
    for descriptor in (out_write, err_write, gate, failure_write):
        os.close(descriptor)
    started = {
        "pid": main,
        "start_time": start_time(main),
        "supervisor_pid": os.getpid(),
        "supervisor_start": start_time(os.getpid()),
        "boot_id": spec["boot_id"],
        "started_at": now(),
    }
    if not write(os.path.join(directory, "started.json"), started, claim=True):
        os.close(gate_write)
        print("claimed", flush=True)
        return
    os.write(gate_write, b"1")
    os.close(gate_write)
    message = os.read(failure, 4096).decode()
    print("started", flush=True)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    status = watch(main, Log(directory), {out: "stdout", err: "stderr"}, wakeup)
    write(os.path.join(directory, "ended.json"), ended(status, message))


def ended(status: int, message: str) -> dict[str, Any]:
    """What ended.json holds: a signal n counts as exit code 128 + n, as every shell and kubelet has it."""
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    code = START_ERROR if message else 128 + number if number else os.WEXITSTATUS(status)
    reason = "StartError" if message else "Completed" if code == 0 else "Error"
    return {"exit_code": code, "signal": number, "reason": reason, "message": message, "finished_at": now()}


if __name__ == "__main__":
    run(json.load(sys.stdin))
