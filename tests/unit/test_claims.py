"""Ports and networks: kept where they can be, never shared, and errors that say what to do."""

from __future__ import annotations

import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from controlplane.sandbox import claims
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.errors import SandboxError
from controlplane.sandbox.node.addresses import Addresses

NONE: frozenset[int] = frozenset()
WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 4


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("KFLEET_RUNTIME", str(tmp_path / "runtime"))
    monkeypatch.setenv("KFLEET_STATE", str(tmp_path / "state"))
    # Apart from sandboxes that run beside the tests, and from the worker that runs others of them: both do listen.
    monkeypatch.setattr(claims, "PORTS", range(30500 + 500 * WORKER, 31000 + 500 * WORKER))
    monkeypatch.setattr(claims, "SECOND_BYTES", range(100 + 30 * WORKER, 130 + 30 * WORKER, 2))
    return tmp_path


def ports(config: SandboxConfig) -> set[int]:
    return {getattr(config, field) for field in claims.PORT_FIELDS}


def networks(config: SandboxConfig) -> set[str]:
    return {config.pod_cidr, config.service_cidr}


def test_a_claim_is_kept() -> None:
    first = claims.claim(SandboxPaths.named("a"), {}, NONE)
    assert len(ports(first)) == 5
    assert claims.claim(SandboxPaths.named("a"), {}, NONE) == first == SandboxPaths.named("a").load()
    assert SandboxPaths.named("a").config_file.stat().st_mode & 0o777 == 0o600


def test_sandboxes_never_share_even_across_state_directories(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configs = [claims.claim(SandboxPaths.named(name), {}, NONE) for name in ("a", "b")]
    monkeypatch.setenv("KFLEET_STATE", str(home / "elsewhere"))
    configs.append(claims.claim(SandboxPaths.named("a"), {}, NONE))
    assert len(set().union(*map(ports, configs))) == 15
    assert len(set().union(*map(networks, configs))) == 6


def test_claims_at_the_same_time_differ() -> None:
    with ThreadPoolExecutor(8) as pool:
        configs = list(pool.map(lambda n: claims.claim(SandboxPaths.named(f"s{n}"), {}, NONE), range(8)))
    assert len(set().union(*map(ports, configs))) == 40
    assert len(set().union(*map(networks, configs))) == 16


def test_only_a_port_that_is_taken_changes() -> None:
    paths = SandboxPaths.named("a")
    before = claims.claim(paths, {}, NONE)
    with socket.socket() as squatter:
        squatter.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        squatter.bind(("127.0.0.1", before.etcd_port))
        squatter.listen()
        assert claims.claim(paths, {}, frozenset({before.etcd_port})) == before, "our own etcd holds it"
        after = claims.claim(paths, {}, NONE)
    assert after.etcd_port != before.etcd_port
    assert after.model_copy(update={"etcd_port": before.etcd_port}) == before


def test_a_network_somebody_listens_in_is_not_taken() -> None:
    probe = claims.claim(SandboxPaths.named("probe"), {}, NONE)
    claims.forget(SandboxPaths.named("probe").root)
    SandboxPaths.named("probe").config_file.unlink()
    with socket.socket() as squatter:
        squatter.bind((probe.pod_cidr.removesuffix(".0.0/16") + ".7.7", 0))
        squatter.listen()
        assert not networks(claims.claim(SandboxPaths.named("a"), {}, NONE)) & networks(probe)


def test_a_network_lost_to_another_is_an_error_because_services_keep_their_addresses(home: Path) -> None:
    paths = SandboxPaths.named("a")
    mine = claims.claim(paths, {}, NONE)
    (home / "runtime" / "sandboxes.json").unlink()  # a reboot empties /tmp
    thief = SandboxPaths.named("b")
    claims.claim(thief, {"pod_cidr": mine.pod_cidr}, NONE)
    with pytest.raises(SandboxError, match=f"took {mine.pod_cidr}.*--purge --name a"):
        claims.claim(paths, {}, NONE)


def test_a_purged_sandbox_frees_its_claim() -> None:
    first = claims.claim(SandboxPaths.named("a"), {}, NONE)
    SandboxPaths.named("a").config_file.unlink()
    claims.forget(SandboxPaths.named("a").root)
    assert claims.claim(SandboxPaths.named("b"), {}, NONE).pod_cidr == first.pod_cidr


@pytest.mark.parametrize(
    ("overrides", "says"),
    [
        ({"token_seconds": 5}, "token_seconds: .*greater than or equal to 600"),
        ({"zonez": []}, "zonez: .*not permitted"),
    ],
)
def test_bad_settings_name_their_field(overrides: dict[str, object], says: str) -> None:
    with pytest.raises(SandboxError, match=f"sandbox setting {says}"):
        claims.claim(SandboxPaths.named("a"), overrides, NONE)
    assert not SandboxPaths.named("a").root.exists()


def test_a_broken_configuration_says_what_to_do() -> None:
    paths = SandboxPaths.named("a")
    claims.claim(paths, {}, NONE)
    paths.config_file.write_text('{"name": "a"')
    with pytest.raises(SandboxError, match=r"cannot be read.*down --purge --name a"):
        claims.claim(paths, {}, NONE)
    assert claims.claim(SandboxPaths.named("b"), {}, NONE).name == "b", "another's broken file stops nobody else"


def test_a_runtime_directory_of_somebody_else_is_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / "real").mkdir()
    (home / "link").symlink_to(home / "real")
    monkeypatch.setenv("KFLEET_RUNTIME", str(home / "link"))
    with pytest.raises(SandboxError, match="KFLEET_RUNTIME"):
        claims.runtime_home()


def test_nodes_and_load_balancers_have_addresses_that_no_pod_gets(tmp_path: Path) -> None:
    config = claims.claim(SandboxPaths.named("a"), {}, NONE)
    prefix = config.pod_cidr.removesuffix(".0.0/16")
    assert config.node_addresses == {f"node-{zone}": f"{prefix}.255.{n}" for n, zone in enumerate("abc", start=1)}
    assert config.balancer_cidr == f"{prefix}.254.0/24"
    pods = {address.rpartition(".")[0] for address in Addresses(tmp_path, config.pod_cidr)._hosts()}
    assert f"{prefix}.253" in pods
    assert not pods & {f"{prefix}.254", f"{prefix}.255"}
