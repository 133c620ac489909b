"""The control plane's five processes: their flags, and the files those flags name."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from controlplane.api.names import OPERATOR, OPERATOR_NAMESPACE
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.files import write_private
from controlplane.sandbox.pki import Leaf, clients, leaf_path
from controlplane.sandbox.processes import Part

ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER = "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"
ORDER = (ETCD, APISERVER, CONTROLLER_MANAGER, SCHEDULER)
"""The order of starting; stopping goes backwards."""

WORKERS = ("proxy", "provisioner", "node")
LOOPBACK = "127.0.0.1"
DISABLED_CONTROLLERS = ("endpoints-controller", "endpointslice-controller", "endpointslice-mirroring-controller")
"""The API server refuses loopback addresses in Endpoints and EndpointSlices; the Service proxy selects pods itself."""

OPERATOR_USER = f"system:serviceaccount:{OPERATOR_NAMESPACE}:{OPERATOR}"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [OPERATOR_USER]},
        {"level": "None", "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}]},
        {"level": "None", "resources": [{"group": "", "resources": ["events"]}]},
        {"level": "Metadata", "resources": [{"group": "", "resources": ["secrets", "serviceaccounts/token"]}]},
        {"level": "None", "verbs": ["get", "list", "watch"]},
        {"level": "Metadata"},
    ],
}
"""Who changed what, who read secrets, and all that the operator did: its grants are compared with it. Bodies are not
kept: they hold secrets."""


def write_files(paths: SandboxPaths, config: SandboxConfig) -> None:
    """Kubeconfigs (0600, atomic) and the audit policy; files that say the same already are left alone."""
    for directory in (paths.etcd, paths.logs, paths.run, paths.kubeconfig().parent):
        directory.mkdir(mode=0o700, exist_ok=True)
    for leaf in clients(config):
        _write(paths.kubeconfig(leaf.name), yaml.safe_dump(_kubeconfig(paths, config, leaf), sort_keys=False))
    _write(paths.root / "audit-policy.json", json.dumps(AUDIT_POLICY, indent=2))


def etcd(programs: Path, paths: SandboxPaths, config: SandboxConfig) -> Part:
    """Durable (no --unsafe-no-fsync): a sandbox is expected back after a reboot."""
    certificate, authority = str(leaf_path(paths, "etcd")), str(paths.pki / "etcd-ca.crt")
    client, peer = f"https://{LOOPBACK}:{config.etcd_port}", f"https://{LOOPBACK}:{config.etcd_peer_port}"
    flags = {
        "name": "default",
        "data-dir": str(paths.etcd),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": f"default={peer}",
        "client-cert-auth": "true",
        "cert-file": certificate,
        "key-file": certificate,
        "trusted-ca-file": authority,
        "peer-client-cert-auth": "true",
        "peer-cert-file": certificate,
        "peer-key-file": certificate,
        "peer-trusted-ca-file": authority,
        "log-level": "warn",
    }
    return _part(ETCD, programs, flags)


def apiserver(programs: Path, paths: SandboxPaths, config: SandboxConfig) -> Part:
    serving, etcd_client = str(leaf_path(paths, "apiserver")), str(leaf_path(paths, "etcd"))
    kubelet_client, authority = str(leaf_path(paths, "kubelet-client")), str(paths.pki / "ca.crt")
    flags = {
        "etcd-servers": f"https://{LOOPBACK}:{config.etcd_port}",
        "etcd-cafile": str(paths.pki / "etcd-ca.crt"),
        "etcd-certfile": etcd_client,
        "etcd-keyfile": etcd_client,
        "bind-address": LOOPBACK,
        "advertise-address": LOOPBACK,
        "secure-port": str(config.api_port),
        "tls-cert-file": serving,
        "tls-private-key-file": serving,
        "client-ca-file": authority,
        "anonymous-auth": "false",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": str(paths.pki / "service-accounts.pub"),
        "service-account-signing-key-file": str(paths.pki / "service-accounts.key"),
        # Tokens end when they say so; by default those of pods would live for a year.
        "service-account-extend-token-expiration": "false",
        "service-cluster-ip-range": config.service_cidr,
        "endpoint-reconciler-type": "none",
        "kubelet-certificate-authority": authority,
        "kubelet-client-certificate": kubelet_client,
        "kubelet-client-key": kubelet_client,
        "kubelet-preferred-address-types": "InternalIP",
        # With the API server's own translation a node's refusal of exec reaches nobody ("unknown error").
        "feature-gates": "TranslateStreamCloseWebsocketRequests=false,PortForwardWebsockets=false",
        "audit-policy-file": str(paths.root / "audit-policy.json"),
        "audit-log-path": str(paths.audit_log),
        "audit-log-maxsize": "50",
        "audit-log-maxbackup": "2",
        "profiling": "false",
    }
    return _part(APISERVER, programs, flags)


def controller_manager(programs: Path, paths: SandboxPaths, config: SandboxConfig) -> Part:
    kubeconfig = str(paths.kubeconfig("controller-manager"))
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "authentication-skip-lookup": "true",
        "bind-address": LOOPBACK,
        "secure-port": str(config.controller_manager_port),
        "leader-elect": "false",
        "controllers": ",".join(["*", *(f"-{name}" for name in DISABLED_CONTROLLERS)]),
        "use-service-account-credentials": "true",
        "service-account-private-key-file": str(paths.pki / "service-accounts.key"),
        "root-ca-file": str(paths.pki / "ca.crt"),
        "node-monitor-period": "2s",
        "node-monitor-grace-period": f"{config.node_monitor_grace:g}s",
        "kube-api-qps": "100",
        "kube-api-burst": "200",
        "profiling": "false",
    }
    return _part(CONTROLLER_MANAGER, programs, flags)


def scheduler(programs: Path, paths: SandboxPaths, config: SandboxConfig) -> Part:
    kubeconfig = str(paths.kubeconfig("scheduler"))
    flags = {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
        "authentication-skip-lookup": "true",
        "bind-address": LOOPBACK,
        "secure-port": str(config.scheduler_port),
        "leader-elect": "false",
        "profiling": "false",
    }
    return _part(SCHEDULER, programs, flags)


def workers(paths: SandboxPaths, config: SandboxConfig) -> list[Part]:
    """The parts that are ours: proxy, provisioner and one process node a zone. New code restarts them."""
    generation = config.model_dump_json() + installation()

    def python(name: str, module: str, *arguments: str) -> Part:
        argv = (sys.executable, "-m", f"controlplane.sandbox.{module}", "--root", str(paths.root), *arguments)
        return Part(name, argv, generation, {"PYTHONUNBUFFERED": "1"})

    nodes = [python(node, "node", "--name", node) for node in config.nodes]
    return [python("proxy", "proxy"), python("provisioner", "provisioner"), *nodes]


@functools.cache
def installation() -> str:
    """A digest of the installed code, as this process met it first: it changes when a checkout or a release does."""
    digest = hashlib.sha256()
    package = Path(__file__).parents[1]
    for source in sorted([*package.rglob("*.py"), *(package.parent / "operators").glob("*.py")]):
        digest.update(str(source.relative_to(package.parent)).encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def is_part(command: Sequence[str]) -> bool:
    """Whether a command line is that of one of the parts above, whatever its flags."""
    if not command or Path(command[0]).name in ORDER:
        return bool(command)
    return command[1:2] == ("-m",) and command[2] in {f"controlplane.sandbox.{module}" for module in WORKERS}


def server(config: SandboxConfig) -> str:
    return f"https://{LOOPBACK}:{config.api_port}"


def _part(name: str, programs: Path, flags: dict[str, str]) -> Part:
    return Part(name, (str(programs / name), *(f"--{flag}={value}" for flag, value in flags.items())))


def _kubeconfig(paths: SandboxPaths, config: SandboxConfig, leaf: Leaf) -> dict[str, object]:
    context = f"kfleet-{config.name}"
    authority = base64.b64encode((paths.pki / "ca.crt").read_bytes()).decode()
    certificate = str(leaf_path(paths, leaf.name))
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": context,
        "contexts": [{"name": context, "context": {"cluster": context, "user": leaf.user}}],
        "clusters": [{"name": context, "cluster": {"server": server(config), "certificate-authority-data": authority}}],
        "users": [{"name": leaf.user, "user": {"client-certificate": certificate, "client-key": certificate}}],
    }


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text() != text:
        write_private(path, text.encode())
