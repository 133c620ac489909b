"""The process node's pure parts: references, quantities, back-off, status, what is refused, log lines."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS
from controlplane.ports import Object, Resource
from controlplane.sandbox.node import atomic, env, logs, objects, status, unsupported
from controlplane.sandbox.node.addresses import Addresses, AddressesExhaustedError
from controlplane.sandbox.node.backoff import Backoff
from controlplane.sandbox.node.errors import ConfigError, MissingError
from controlplane.sandbox.node.expansion import divide, expand, quantity
from controlplane.sandbox.node.probes import Streak
from controlplane.sandbox.node.status import Ended, View


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("$(A)-$(B)", "1-2"),
        ("$(UNKNOWN)", "$(UNKNOWN)"),
        ("$$(A)", "$(A)"),
        ("$$$(A)", "$1"),
        ("$A ${A} $", "$A ${A} $"),
        ("$(A", "$(A"),
    ],
)
def test_references_follow_kubernetes_expansion(text: str, expanded: str) -> None:
    assert expand(text, {"A": "1", "B": "2"}) == expanded


@pytest.mark.parametrize(
    ("amount", "divisor", "shown"),
    [("500m", "1", "1"), ("500m", "1m", "500"), ("1Gi", "1Mi", "1024"), ("2", "0", "2"), ("1e3", "1k", "1")],
)
def test_resources_are_divided_and_rounded_up(amount: str, divisor: str, shown: str) -> None:
    assert divide(amount, divisor) == shown


def test_a_bad_quantity_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 GB"):
        quantity("1 GB")


def test_backoff_doubles_to_its_limit_and_starts_again_after_ten_quiet_minutes() -> None:
    backoff = Backoff(first=1.0, longest=5.0)
    now, waits = 0.0, []
    for _ in range(5):
        waits.append(backoff.remaining(now, now))
        now += waits[-1]
        backoff.retried(now)
    assert waits == [0.0, 1.0, 2.0, 4.0, 5.0]
    assert backoff.remaining(now + 601, now + 601) == 0.0


def test_backoff_counts_from_the_failure_not_from_the_question() -> None:
    backoff = Backoff(first=10.0, longest=60.0)
    backoff.retried(0.0)
    assert backoff.remaining(5.0, 9.0) == 6.0


def _pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"a": 'x"y'}}, "spec": spec}


class _Objects:
    """A Reader over plain values."""

    def __init__(self, **found: Object) -> None:
        self._found = found

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        if name not in self._found:
            raise MissingError(f'{resource.kind.lower()} "{name}" not found')
        return self._found[name]


PLACE = env.Place("node-a", "127.1.0.7", {"cpu": "2", "memory": "1Gi"})


async def _environment(container: Object, reader: _Objects) -> dict[str, str]:
    own = {"KFLEET_POD_ROOT": "/root"}
    return await env.environment(_pod(), container, PLACE, reader, base={"PATH": "/bin"}, own=own)


async def test_environment_has_every_source_in_order() -> None:
    container = {
        "name": "c",
        "envFrom": [{"prefix": "P_", "configMapRef": {"name": "cm"}}, {"secretRef": {"name": "no", "optional": True}}],
        "env": [
            {"name": "A", "value": "$(P_key)-$(LATER)"},
            {"name": "LATER", "value": "$(A)"},
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
            {"name": "CPU", "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu"}}},
            {"name": "S", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "k"}}},
            {"name": "GONE", "valueFrom": {"secretKeyRef": {"name": "secret", "key": "x", "optional": True}}},
            {"name": "KFLEET_POD_ROOT", "value": ""},
            {"name": "FILE", "value": "$(KFLEET_POD_ROOT)/etc"},
        ],
    }
    reader = _Objects(cm={"data": {"key": "value"}}, secret={"data": {"k": "aGVsbG8="}})
    assert await _environment(container, reader) == {
        "PATH": "/bin",
        "P_key": "value",
        "A": "value-$(LATER)",
        "LATER": "value-$(LATER)",
        "IP": "127.1.0.7",
        "LABEL": 'x"y',
        "CPU": "2",
        "S": "hello",
        "KFLEET_POD_ROOT": "/root",
        "FILE": "/root/etc",
    }


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"secretKeyRef": {"name": "none", "key": "k"}}, "secret \"none\" not found (key 'k' of it was asked for)"),
        ({"configMapKeyRef": {"name": "cm", "key": "k"}}, "couldn't find key k in ConfigMap n/cm"),
        ({"fieldRef": {"fieldPath": "spec.nothing"}}, "fieldRef.fieldPath 'spec.nothing' is not supported"),
    ],
)
async def test_what_is_missing_is_named(source: Object, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        await _environment({"name": "c", "env": [{"name": "A", "valueFrom": source}]}, _Objects(cm={"data": {}}))
    assert str(caught.value) == message


def test_binary_data_is_decoded() -> None:
    assert env.data_bytes(CONFIG_MAPS, {"data": {"a": "x"}, "binaryData": {"b": "AAE="}}) == {"a": b"x", "b": b"\0\1"}


def _end(code: int) -> Ended:
    return Ended(code, "Completed" if code == 0 else "Error", "", None, "2026-01-01T00:00:00Z", "process://u/c/0")


RUNNING = View("c", "i", running_since="2026-01-01T00:00:00Z", started=True, ready=True)
CRASHED = View("c", "i", waiting=("CrashLoopBackOff", ""), last=_end(1))
CREATED = View("c", "i", waiting=("ContainerCreating", ""))


@pytest.mark.parametrize(
    ("policy", "mains", "over", "wanted"),
    [
        ("Always", [CREATED], False, "Pending"),
        ("Always", [RUNNING, CREATED], False, "Running"),
        ("Always", [CRASHED], False, "Running"),
        ("Always", [View("c", "i", ended=_end(0))], False, "Running"),
        ("OnFailure", [View("c", "i", ended=_end(0))], False, "Succeeded"),
        ("Never", [View("c", "i", ended=_end(0)), View("d", "i", ended=_end(2))], False, "Failed"),
        ("Never", [View("c", "i", ended=_end(0)), RUNNING], False, "Running"),
        ("Always", [View("c", "i", ended=_end(143))], True, "Failed"),
        ("Always", [View("c", "i", ended=_end(0))], True, "Succeeded"),
    ],
)
def test_phase(policy: str, mains: list[View], *, over: bool, wanted: str) -> None:
    assert status.phase(policy, [], mains, over=over) == wanted


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    inits = [View("i", "i", ended=_end(1))]
    assert status.phase("Never", inits, [CREATED], over=False) == "Failed"
    assert status.phase("Always", [CRASHED], [CREATED], over=False) == "Pending"


def test_conditions_keep_their_times_and_those_of_others() -> None:
    pod = _pod(readinessGates=[{"conditionType": "gate"}])
    old, moved = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"
    pod["status"] = {
        "conditions": [
            {"type": "Ready", "status": "False", "lastTransitionTime": old},
            {"type": "DisruptionTarget", "status": "True", "lastTransitionTime": old},
        ]
    }
    found = {one["type"]: one for one in status.conditions(pod, [], [RUNNING], "Running", moved, mounted=True)}
    assert found["Ready"]["reason"] == "ReadinessGatesNotReady"
    assert found["Ready"]["lastTransitionTime"] == old
    assert found["ContainersReady"] == {"type": "ContainersReady", "status": "True", "lastTransitionTime": moved}
    assert found["DisruptionTarget"] == pod["status"]["conditions"][1]


def test_covers_ignores_what_others_added_but_not_what_they_changed() -> None:
    wanted = {"a": [{"x": 1}], "b": {}}
    assert status.covers(wanted, {"a": [{"x": 1, "default": 0}], "c": 2})
    assert not status.covers(wanted, {"a": [{"x": 2}]})
    assert not status.covers(wanted, {"a": [{"x": 1}, {"x": 1}]})


def test_a_streak_needs_its_threshold_in_a_row() -> None:
    streak = Streak(success_threshold=1, failure_threshold=3)
    assert [streak.count(ok=ok) for ok in (False, False, True, False, False, False)] == [
        None,
        None,
        True,
        None,
        None,
        False,
    ]


def test_refusals_name_the_field() -> None:
    container = {
        "name": "c",
        "command": ["x"],
        "readinessProbe": {"grpc": {"port": 1}},
        "volumeMounts": [{"name": "v", "mountPath": "/a"}, {"name": "v", "mountPath": "/a/b"}],
    }
    pod = _pod(hostNetwork=True, containers=[container, {"name": "d"}], volumes=[{"name": "v", "hostPath": {}}])
    paths = [reason.split(" ", 1)[0] for reason in unsupported.refused(pod)]
    assert paths == [
        "spec.hostNetwork",
        "spec.volumes[0].hostPath",
        "spec.containers[0].readinessProbe.grpc",
        "spec.containers[0].volumeMounts[1].mountPath",
        "spec.containers[1].command",
    ]


def test_what_only_hardens_is_not_refused_but_named() -> None:
    mount = {"name": "v", "mountPath": "/v", "readOnly": True}
    container = {"name": "c", "command": ["x"], "securityContext": {"runAsUser": 1}, "volumeMounts": [mount]}
    pod = _pod(containers=[container], volumes=[{"name": "v", "emptyDir": {}}])
    assert unsupported.refused(pod) == []
    assert unsupported.not_enforced(pod) == [
        "spec.containers[0].securityContext.runAsUser",
        "spec.containers[0].volumeMounts[0].readOnly",
    ]


def test_an_atomic_directory_changes_all_at_once(tmp_path: Path) -> None:
    first = {"a": atomic.File(b"1"), "sub/b": atomic.File(b"2", 0o600)}
    assert atomic.write(tmp_path, first)
    assert not atomic.write(tmp_path, first)
    before = (tmp_path / "..data").resolve()
    assert (tmp_path / "sub" / "b").read_bytes() == b"2"
    assert (tmp_path / "sub" / "b").stat().st_mode & 0o777 == 0o600
    assert atomic.write(tmp_path, {"a": atomic.File(b"3")})
    assert (tmp_path / "a").read_bytes() == b"3"
    assert not before.exists()
    assert sorted(entry.name for entry in tmp_path.iterdir() if not entry.name.startswith("..")) == ["a"]


def test_addresses_stick_to_names_and_are_reused_only_when_all_are_taken(tmp_path: Path) -> None:
    addresses = Addresses(tmp_path, "127.9.0.0/29")
    first = addresses.claim("n", "p-0")
    addresses.release("n", "p-0")
    others = [addresses.claim("n", f"q-{number}") for number in range(5)]
    assert first not in others
    assert addresses.claim("n", "p-0") == first
    with pytest.raises(AddressesExhaustedError, match=r"127\.9\.0\.0/29"):
        addresses.claim("n", "one-too-many")
    addresses.release("n", "q-3")
    assert Addresses(tmp_path, "127.9.0.0/29").claim("n", "late") == others[3]


def _line(number: int, tag: str = "F") -> bytes:
    return f"2026-01-01T00:00:{number:02d}.123456789Z stdout {tag} line {number}\n".encode()


async def _read(record: Path, request: logs.Request) -> str:
    return b"".join([chunk async for chunk in logs.stream(record, request, lambda: False)]).decode()


async def test_logs_are_read_as_asked(tmp_path: Path) -> None:
    (tmp_path / "log.1").write_bytes(_line(0) + _line(1))
    (tmp_path / "log").write_bytes(_line(2) + _line(3, "P") + _line(4) + b"2026-01-01T00:00:05Z stdout F half")
    assert await _read(tmp_path, logs.Request()) == "line 0\nline 1\nline 2\nline 3line 4\n"
    assert await _read(tmp_path, logs.Request(tail=1)) == "line 4\n"
    assert await _read(tmp_path, logs.Request(tail=0)) == ""
    since = objects.moment("2026-01-01T00:00:02Z")
    assert await _read(tmp_path, logs.Request(since=since, tail=9)) == "line 2\nline 3line 4\n"
    assert await _read(tmp_path, logs.Request(limit_bytes=9)) == "line 0\nli"
    assert (await _read(tmp_path, logs.Request(timestamps=True, tail=1))).startswith(
        "2026-01-01T00:00:04.123456789Z line"
    )


def test_a_tail_loses_nothing_in_a_rotation(tmp_path: Path) -> None:
    path, seed = tmp_path / "log", random.Random(1)
    path.write_bytes(b"")
    tail, read, written = logs.Tail(path), [], []
    for number in range(200):
        with path.open("ab") as file:
            file.write(_line(number % 60))
        written.append(_line(number % 60))
        if seed.random() < 0.3:
            read += tail.read()
            if seed.random() < 0.3:
                with path.open("ab") as file:
                    file.write(_line(59))
                written.append(_line(59))
                path.replace(tmp_path / "log.1")
                path.write_bytes(b"")
    read += tail.read()
    assert read == written
