"""kafka-node-format and kafka-node-run with real jars: what they format, refuse, redo and never touch."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from support.cluster import CONTROLLER_PORT, PORT, RELEASES, LocalKafka
from support.pod import KafkaPod, kafka_id

from controlplane.adapters.kafka.admins import KafkaPythonAdmins

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(600)]

DIRS = ("/var/lib/kafka/data-0", "/var/lib/kafka/data-1")
SECONDS = 180.0
Change = dict[str, str]

HOSTILE = [
    "$(touch {x})",
    "`touch {x}`",
    '";touch {x};"',
    "'; touch {x}; '",
    "1\ntouch {x}",
    "${{env:HOME}}",
    "*",
    "-h",
]


class Node:
    """A pod, and the identity that its env gives it. First voter of a quorum of one unless `voter` is false."""

    def __init__(
        self, root: Path, version: str = "4.2.0", *, voter: bool = True, peers: bool = True, ip: str = "127.0.0.1"
    ) -> None:
        self.cluster, self.directory = kafka_id(), kafka_id()
        env = {
            "KAFKA_NODE_ID": "1",
            "KAFKA_CLUSTER_ID": self.cluster,
            "KAFKA_LOG_DIRS": ",".join(DIRS),
            "KAFKA_FORMATTED": ",",
            "KAFKA_FIRST_VOTER": "true" if voter else "false",
            "KAFKA_IDENTITY_DIRECTORY_ID": self.directory if voter else "",
            "KAFKA_RELEASE_VERSION": RELEASES[version],
            "KAFKA_HEAP": "256m",
        }
        listeners = f"CONTROLLER://{ip}:{CONTROLLER_PORT}" if voter else f"CLIENTS://{ip}:{PORT}"
        settings = {
            "process.roles": "controller" if voter else "broker",
            "node.id": "1",
            "listeners": listeners,
            "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
            "controller.listener.names": "CONTROLLER",
            "log.dirs": ",".join("${env:KFLEET_POD_ROOT}" + directory for directory in DIRS),
            "config.providers": "env",
            "config.providers.env.class": "org.apache.kafka.common.config.provider.EnvVarConfigProvider",
        } | ({} if voter else {"inter.broker.listener.name": "CLIENTS"})
        text = "".join(f"{key}={value}\n" for key, value in settings.items())
        self.pod = KafkaPod(root, version=version, env=env, properties=text, ip=ip)
        self.voters = f"1@{ip}:{CONTROLLER_PORT}:{self.directory}"
        if peers:
            self.pod.publish_peers(f"{ip}:{CONTROLLER_PORT}", self.voters)

    def dir(self, number: int) -> Path:
        return self.pod.path(DIRS[number])

    def has(self, name: str) -> bool:
        return any((self.dir(number) / name).exists() for number in (0, 1))

    def properties(self, number: int) -> dict[str, str]:
        lines = (self.dir(number) / "meta.properties").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines if not line.startswith("#"))

    def write_properties(self, number: int, **changes: str) -> None:
        values = {"version": "1", "cluster.id": self.cluster, "node.id": "1", "directory.id": kafka_id()}
        values |= {key.replace("_", "."): value for key, value in changes.items()}
        (self.dir(number) / "meta.properties").write_text("".join(f"{key}={value}\n" for key, value in values.items()))


def contents(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file under `root`: when it was last written, and its bytes."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def until(condition: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        assert process is None or process.poll() is None, process.communicate()[0] if process else ""
        assert time.monotonic() < deadline
        time.sleep(0.002)


@pytest.mark.parametrize("version", RELEASES)
def test_every_version_formats_voters_and_brokers(tmp_path: Path, version: str) -> None:
    voter = Node(tmp_path / "voter", version)
    done = voter.pod.format()
    assert done.code == 0, done.output
    told = json.loads(done.message)
    assert (told["clusterId"], told["nodeId"]) == (voter.cluster, 1)
    assert told["directoryIds"] == {name: voter.properties(number)["directory.id"] for number, name in enumerate(DIRS)}
    assert told["directoryIds"][DIRS[0]] == voter.directory
    assert {voter.properties(number)["cluster.id"] for number in (0, 1)} == {voter.cluster}
    snapshots = list((voter.dir(0) / "__cluster_metadata-0").glob("*.checkpoint"))
    assert len(snapshots) == 1
    assert voter.directory != told["directoryIds"][DIRS[1]]

    broker = Node(tmp_path / "broker", version, voter=False)
    broker.pod.publish_peers("127.0.0.1:1")
    done = broker.pod.format()
    assert done.code == 0, done.output
    assert set(json.loads(done.message)["directoryIds"]) == set(DIRS)
    final = broker.pod.path("/etc/kafka/run/server.properties").read_text()
    assert final.endswith("controller.quorum.bootstrap.servers=127.0.0.1:1\n")
    assert "log.dirs=${env:KFLEET_POD_ROOT}/var/lib/kafka/data-0" in final


def test_a_formatted_dir_is_never_touched_again(tmp_path: Path) -> None:
    node = Node(tmp_path)
    first = node.pod.format()
    assert first.code == 0, first.output
    before = contents(node.pod.path("/var/lib/kafka"))
    again = node.pod.format()
    assert (again.code, again.message) == (0, first.message)
    node.pod.env["KAFKA_FORMATTED"] = ",".join(json.loads(first.message)["directoryIds"].values())
    node.pod.env["KAFKA_RELEASE_VERSION"] = ""
    marked = node.pod.format()
    assert (marked.code, marked.message) == (0, first.message)
    assert contents(node.pod.path("/var/lib/kafka")) == before


def test_only_the_new_dir_of_two_is_formatted(tmp_path: Path) -> None:
    node = Node(tmp_path)
    first = node.pod.format()
    assert first.code == 0, first.output
    for path in sorted(node.dir(1).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (node.dir(1) / "lost+found").mkdir()
    shutil.rmtree(node.pod.path("/etc/kafka/run"))  # another pod
    before = contents(node.dir(0))
    node.pod.env["KAFKA_FORMATTED"] = f"{node.directory},"
    done = node.pod.format()
    assert done.code == 0, done.output
    assert json.loads(done.message)["directoryIds"] == {
        DIRS[0]: node.directory,
        DIRS[1]: node.properties(1)["directory.id"],
    }
    assert contents(node.dir(0)) == before


def test_a_marked_but_empty_dir_is_a_lost_disk(tmp_path: Path) -> None:
    node = Node(tmp_path)
    lost = kafka_id()
    node.pod.env["KAFKA_FORMATTED"] = f",{lost}"
    done = node.pod.format()
    assert done.code == 1
    assert done.message.startswith(f"DiskLost: {DIRS[1]} ")
    assert lost in done.message
    assert contents(node.pod.path("/var/lib/kafka")).keys() == {"data-0", "data-1"}
    assert not node.pod.path("/etc/kafka/run/server.properties").exists()


def test_a_dir_that_was_ready_in_this_pod_is_a_lost_disk_once_it_is_empty(tmp_path: Path) -> None:
    """A machine that restarts runs a pod's init containers again, with the marks that the pod was made with."""
    node = Node(tmp_path)
    assert node.pod.format().code == 0
    assert node.pod.format().code == 0, "nothing changed"
    shutil.rmtree(node.dir(1))
    node.dir(1).mkdir()
    done = node.pod.format()
    assert (done.code, done.message.partition(":")[0]) == (1, "DiskLost")
    assert list(node.dir(1).iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"cluster_id": "Zm9yZWlnbmNsdXN0ZXJpZA"}, "belongs to cluster Zm9yZWlnbmNsdXN0ZXJpZA, node 1"),
        ({"node_id": "11"}, "node 11"),
        ({"directory_id": "Zm9yZWlnbmRpcmVjdG9yeQ"}, "directory id Zm9yZWlnbmRpcmVjdG9yeQ"),
    ],
)
def test_a_dir_of_another_node_is_foreign(tmp_path: Path, changes: Change, told: str) -> None:
    node = Node(tmp_path)
    node.pod.env["KAFKA_FORMATTED"] = f"{kafka_id()},"
    node.write_properties(0, **changes)
    before = contents(node.pod.path("/var/lib/kafka"))
    done = node.pod.format()
    assert done.code == 1
    assert done.message.startswith(f"ForeignLogDir: {DIRS[0]} ")
    assert told in done.message
    assert contents(node.pod.path("/var/lib/kafka")) == before


@pytest.mark.parametrize(
    "file", ["precious.txt", "bootstrap.checkpoint", "topic-0/00000000000000000000.log", ".hidden"]
)
def test_a_dir_with_data_but_no_identity_is_foreign(tmp_path: Path, file: str) -> None:
    node = Node(tmp_path)
    (node.dir(1) / file).parent.mkdir(exist_ok=True)
    (node.dir(1) / file).write_text("data")
    before = contents(node.pod.path("/var/lib/kafka"))
    done = node.pod.format()
    assert (done.code, done.message) == (1, f"ForeignLogDir: {DIRS[1]} is not formatted and not empty\n")
    assert contents(node.pod.path("/var/lib/kafka")) == before


def test_an_interrupted_format_is_redone(tmp_path: Path) -> None:
    """Killed as soon as something is there: once the marker, once what StorageTool writes before meta.properties."""
    node = Node(tmp_path)
    for started in (".kfleet-formatting", "__cluster_metadata-0"):
        process = node.pod.start_format()
        until(partial(node.has, started), process)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    # The narrowest window, made by hand: everything but meta.properties.
    for number in (0, 1):
        (node.dir(number) / "meta.properties").unlink(missing_ok=True)
        (node.dir(number) / ".kfleet-formatting").write_text(f"{node.cluster} 1\n")
        (node.dir(number) / "bootstrap.checkpoint").write_text("half")
    done = node.pod.format()
    assert done.code == 0, done.output
    assert json.loads(done.message)["directoryIds"][DIRS[0]] == node.directory
    assert not list(node.pod.path("/var/lib/kafka").rglob(".kfleet-formatting"))
    files = [path for path in node.pod.path("/var/lib/kafka").rglob("*") if path.is_file()]
    assert not [path for path in files if path.read_bytes() == b"half"]


@pytest.mark.parametrize("marked", [(), (0,)])
def test_a_marker_cut_short_is_nobodys_data(tmp_path: Path, marked: tuple[int, ...]) -> None:
    """Killed between writing the marker's temporary file and giving it its name, in the first or the second dir."""
    node = Node(tmp_path)
    for number in marked:
        (node.dir(number) / ".kfleet-formatting").write_text(f"{node.cluster} 1\n")
    (node.dir(len(marked)) / ".kfleet-formatting.new").write_text("")
    done = node.pod.format()
    assert done.code == 0, done.output
    assert json.loads(done.message)["directoryIds"][DIRS[0]] == node.directory
    assert not list(node.pod.path("/var/lib/kafka").rglob(".kfleet-formatting*"))


@pytest.mark.parametrize("extra", ["precious.txt", "__cluster_metadata-0/00000000000000000000.log"])
def test_an_unfinished_format_with_other_data_is_foreign(tmp_path: Path, extra: str) -> None:
    node = Node(tmp_path)
    (node.dir(0) / ".kfleet-formatting").write_text(f"{node.cluster} 1\n")
    (node.dir(0) / extra).parent.mkdir(exist_ok=True)
    (node.dir(0) / extra).write_text("data")
    before = contents(node.dir(0))
    done = node.pod.format()
    assert done.code == 1
    assert done.message.startswith(f"ForeignLogDir: {DIRS[0]} holds an unfinished format")
    assert contents(node.dir(0)) == before


def test_an_unfinished_format_of_another_node_is_foreign(tmp_path: Path) -> None:
    node = Node(tmp_path)
    (node.dir(0) / ".kfleet-formatting").write_text(f"{node.cluster} 2\n")
    done = node.pod.format()
    assert done.code == 1
    assert done.message.startswith("ForeignLogDir:")


def wait_said(process: subprocess.Popen[str], words: str) -> None:
    """Until the script, which goes on, has said so."""
    deadline = time.monotonic() + SECONDS
    said = ""
    while words not in said:
        assert time.monotonic() < deadline, said
        with pytest.raises(subprocess.TimeoutExpired) as going_on:
            process.communicate(timeout=0.2)
        said = (going_on.value.stdout or b"").decode()


def test_peers_are_waited_for(tmp_path: Path) -> None:
    node = Node(tmp_path, peers=False)
    process = node.pod.start_format()
    wait_said(process, "waiting for /etc/kafka/peers/peers.properties")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
    assert not (node.dir(0) / ".kfleet-formatting").exists()
    node.pod.publish_peers(f"127.0.0.1:{CONTROLLER_PORT}", node.voters)
    done = node.pod.finish_format(process)
    assert done.code == 0, done.output
    assert done.output.count("waiting for /etc/kafka/peers/peers.properties") == 1


def outside_node(root: Path, **env: str) -> Node:
    """A broker with two listeners for clients outside, on Kubernetes node node-b."""
    node = Node(root, voter=False)
    node.pod.env |= {"KAFKA_ADVERTISED": "OUTSIDE,EDGE", "KAFKA_MACHINE": "node-b"} | env
    config, own = node.pod.path("/etc/kafka/config/server.properties"), f"CLIENTS://127.0.0.1:{PORT}"
    bound = f"listeners={own},OUTSIDE://127.0.0.1:9094,EDGE://127.0.0.1:9095\nadvertised.listeners={own}\n"
    text = config.read_text().replace(f"listeners={own}\n", bound)
    config.write_text(text.replace("CLIENTS:PLAINTEXT,", "CLIENTS:PLAINTEXT,OUTSIDE:PLAINTEXT,EDGE:PLAINTEXT,"))
    node.pod.path("/etc/kafka/advertised").mkdir()
    return node


def tell(node: Node, machine: str, text: str) -> None:
    """As a kubelet brings a file: all of it at once."""
    directory = node.pod.path("/etc/kafka/advertised")
    (directory / ".new").write_text(text)
    (directory / ".new").rename(directory / machine)


def test_what_clients_outside_are_told_is_waited_for_added_and_reported(tmp_path: Path) -> None:
    node = outside_node(tmp_path)
    process = node.pod.start_format()
    tell(node, "node-a", "OUTSIDE=203.0.113.1:30001\nEDGE=a.example.com:443\n")
    tell(node, "node-b", "OUTSIDE=203.0.113.2:30001\n")
    wait_said(process, "waiting for the address of listener EDGE on node-b")
    with pytest.raises(subprocess.TimeoutExpired):
        process.communicate(timeout=1.0)
    assert not (node.dir(0) / ".kfleet-formatting").exists()
    tell(node, "node-b", "OUTSIDE=203.0.113.2:30001\nEDGE=[2001:db8::2]:9095\n")
    done = node.pod.finish_format(process)
    assert done.code == 0, done.output
    assert "waiting for the address of listener EDGE on node-b" in done.output
    told = {"OUTSIDE": "203.0.113.2:30001", "EDGE": "[2001:db8::2]:9095"}
    assert json.loads(done.message)["advertised"] == told
    written = node.pod.path("/etc/kafka/run/server.properties").read_text().splitlines()
    last = [line for line in written if line.startswith("advertised.listeners=")][-1]
    assert last == "advertised.listeners=" + ",".join(
        [f"CLIENTS://127.0.0.1:{PORT}", *(f"{name}://{address}" for name, address in told.items())]
    )


@pytest.mark.parametrize("text", ["..", ".", "a/../b", "", *HOSTILE[:5]])
def test_no_address_and_no_machine_is_ever_evaluated(tmp_path: Path, text: str) -> None:
    planted = tmp_path / "planted"
    hostile = text.format(x=planted)
    done = outside_node(tmp_path / "one", KAFKA_MACHINE=hostile).pod.format()
    assert (done.code, done.message.partition(":")[0]) == (1, "InvalidSetting")
    if hostile.strip(".") and "\n" not in hostile:
        node = outside_node(tmp_path / "two")
        tell(node, "node-b", f"OUTSIDE={hostile}\nEDGE=a:1\n")
        done = node.pod.format()
        assert done.message.startswith("InvalidSetting: the address of listener OUTSIDE")
    assert not planted.exists()


def test_controllers_without_this_node_are_refused(tmp_path: Path) -> None:
    node = Node(tmp_path)
    node.pod.publish_peers("127.0.0.1:1", f"1@127.0.0.1:1:{kafka_id()},11@127.0.0.1:1:{node.directory}")
    done = node.pod.format()
    assert done.code == 1
    assert done.message.startswith("InvalidSetting: /etc/kafka/peers/initial-controllers does not list node 1 ")
    assert contents(node.pod.path("/var/lib/kafka")).keys() == {"data-0", "data-1"}


NAMES = [
    "KAFKA_NODE_ID", "KAFKA_CLUSTER_ID", "KAFKA_LOG_DIRS", "KAFKA_FORMATTED", "KAFKA_FIRST_VOTER",
    "KAFKA_IDENTITY_DIRECTORY_ID", "KAFKA_RELEASE_VERSION",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_no_setting_is_ever_evaluated(tmp_path: Path, name: str) -> None:
    node = Node(tmp_path / "pod")
    planted = tmp_path / "planted"
    good = node.pod.env[name]
    for text in HOSTILE:
        for value in (text.format(x=planted), good + text.format(x=planted)):
            node.pod.env[name] = value
            if name == "KAFKA_RELEASE_VERSION" and value in {"-h", good + "-h"}:
                continue  # plain characters: StorageTool's to refuse
            done = node.pod.format()
            assert done.code == 1, (value, done.output)
            assert done.message.startswith(("InvalidSetting:", "DiskLost:")), (value, done.message)
            assert done.message.count("\n") == 1
            assert not planted.exists(), value
    assert contents(node.pod.path("/var/lib/kafka")).keys() == {"data-0", "data-1"}


def test_no_file_is_ever_evaluated(tmp_path: Path) -> None:
    node = Node(tmp_path / "pod")
    planted = tmp_path / "planted"
    config = node.pod.path("/etc/kafka/config/server.properties")
    hostile = f"a=$(touch {planted})\nb=`touch {planted}`\nc='\";touch {planted}\n"
    config.write_text(config.read_text() + hostile)
    done = node.pod.format()
    assert done.code == 0, done.output
    assert hostile in node.pod.path("/etc/kafka/run/server.properties").read_text()
    node.pod.publish_peers("127.0.0.1:1", f"$(touch {planted})")
    for path in sorted(node.pod.path("/var/lib/kafka").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else (path.rmdir() if path.name != "data-0" else None)
    node.dir(1).mkdir(exist_ok=True)
    shutil.rmtree(node.pod.path("/etc/kafka/run"))  # another pod
    refused = node.pod.format()
    assert refused.code == 1
    assert refused.message.startswith("InvalidSetting: /etc/kafka/peers/initial-controllers")
    assert not planted.exists()


@pytest.mark.parametrize("heap", ["", "0m", "lots", "1g;touch x", "256", "-1m", "$(touch x)", "9999999g"])
def test_run_refuses_a_heap_that_is_none(tmp_path: Path, heap: str) -> None:
    node = Node(tmp_path)
    node.pod.path("/etc/kafka/run/server.properties").write_text("")
    node.pod.env["KAFKA_HEAP"] = heap
    node.pod.start()
    until(lambda: not node.pod.running)
    if heap:
        assert node.pod.termination_log.read_text().startswith("InvalidSetting: KAFKA_HEAP")
    assert not (node.pod.root / "x").exists()


async def test_three_controllers_form_a_dynamic_quorum_and_a_broker_joins(tmp_path: Path) -> None:
    """Node 4 is a broker only, formatted with --no-initial-controllers after the quorum stands."""
    with LocalKafka(tmp_path) as kafka:
        kafka.start("4.2.0", nodes=3)
        servers = kafka.pods[1].path("/etc/kafka/peers/peers.properties").read_text().strip().split("=", 1)[1]
        joiner = Node(tmp_path / "joiner", voter=False, ip=f"{kafka.network}.4")
        joiner.pod.env |= {"KAFKA_NODE_ID": "4", "KAFKA_CLUSTER_ID": kafka.cluster_id}
        config = joiner.pod.path("/etc/kafka/config/server.properties")
        config.write_text(config.read_text().replace("node.id=1", "node.id=4"))
        joiner.pod.publish_peers(servers)
        done = joiner.pod.format()
        assert done.code == 0, done.output
        joiner.pod.start()
        admins = KafkaPythonAdmins(threads=1, timeout=10.0, voter_caught_up_seconds=2.0)
        try:
            admin = admins.get("test", kafka.bootstrap_servers)
            seen, quorum = await admin.observe()
            deadline = time.monotonic() + SECONDS
            while len(seen.brokers) < 4 and time.monotonic() < deadline:
                assert joiner.pod.running, joiner.pod.log_tail()
                seen, quorum = await admin.observe()
        finally:
            joiner.pod.kill()
            await admins.close()
        assert [broker.id for broker in seen.brokers] == [1, 2, 3, 4]
        assert (seen.features["kraft.version"], seen.features["metadata.version"]) == (1, 29)
        assert [voter.id for voter in quorum.voters] == [1, 2, 3]
        assert {voter.directory_id for voter in quorum.voters} == {
            pod.env["KAFKA_IDENTITY_DIRECTORY_ID"] for pod in kafka.pods.values()
        }
        joined = {observer.id: observer.directory_id for observer in quorum.observers}
        assert joined == {4: json.loads(done.message)["directoryIds"][DIRS[0]]}
