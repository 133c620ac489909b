"""What Kubernetes does for listeners of clients outside, for unit tests: node ports, load balancers, nodes' addresses,
and an init container that reads what its broker is to tell clients.

What brokers tell is written down with what was wrong about it: an address of another machine, or one that is in no
certificate of theirs.
"""

from __future__ import annotations

import base64
from typing import Any

from cryptography import x509
from support.fake_kube import FakeKube

MACHINE = "node"


class Outside:
    def __init__(self, kube: FakeKube) -> None:
        self.kube = kube
        self.places: dict[int, str] = {}
        """Which Kubernetes node a Kafka node's pod is put on; MACHINE unless told otherwise."""
        self.balancing = True
        """Whether load balancers get addresses."""
        self.balancers: dict[str, str] = {}
        self.listed_first: dict[str, str] = {}
        """By Service, another address that its load balancer has."""
        self.node_ports: dict[tuple[str, int], int] = {}
        self.told: dict[str, dict[str, str]] = {}
        """By pod uid, what the broker tells clients."""
        self.lies: list[str] = []

    def machine(self, name: str, **addresses: str) -> None:
        """A Kubernetes node with an address of each kind."""
        found = [{"type": kind, "address": address} for kind, address in addresses.items()]
        self.kube.objects["nodes", "", name] = {
            "metadata": {"name": name, "uid": name, "resourceVersion": "1"},
            "spec": {},
            "status": {"addresses": found},
        }

    def place(self, node: int) -> str:
        return self.places.get(node, MACHINE)

    def serve(self, name: str, service: dict[str, Any]) -> None:
        """As the API server and a load balancer of no class do."""
        spec = service["spec"]
        if spec.get("type") not in ("NodePort", "LoadBalancer"):
            return
        for port in spec["ports"]:
            key = (name, port["port"])
            port["nodePort"] = port.get("nodePort") or self.node_ports.get(key) or 30000 + len(self.node_ports)
            self.node_ports[key] = port["nodePort"]
        if spec["type"] == "LoadBalancer" and self.balancing and "loadBalancerClass" not in spec:
            address = self.balancers.setdefault(name, f"127.9.2.{len(self.balancers) + 1}")
            found = [self.listed_first[name]] if name in self.listed_first else []
            service["status"] = {"loadBalancer": {"ingress": [{"ip": text} for text in (*found, address)]}}

    def tell(self, pod: dict[str, Any], node: int) -> dict[str, str] | None:
        """What the init container has added and reports; None while it waits for it."""
        uid, env = pod["metadata"]["uid"], pod["spec"]["initContainers"][0]["env"]
        wanted: list[str] = next((one["value"].split(",") for one in env if one["name"] == "KAFKA_ADVERTISED"), [])
        if uid not in self.told:
            name = f"{pod['metadata']['name']}-advertised"
            data = self.kube.objects.get(("configmaps", "kafka", name), {}).get("data", {})
            lines = dict(line.split("=", 1) for line in data.get(self.place(node), "").splitlines())
            if not set(wanted) <= lines.keys():
                return None
            self.told[uid] = {listener: lines[listener] for listener in wanted}
            self._judge(pod, node)
        return self.told[uid]

    def _judge(self, pod: dict[str, Any], node: int) -> None:
        secret = self.kube.objects.get(("secrets", "kafka", f"cell-nodes-{node}-tls"))
        hosts = {text.rpartition(":")[0].strip("[]") for text in self.told[pod["metadata"]["uid"]].values()}
        foreign = {
            one["address"]
            for (plural, _, name), machine in self.kube.objects.items()
            if plural == "nodes" and name != self.place(node)
            for one in machine.get("status", {}).get("addresses", [])
        }
        self.lies += [f"broker {node} tells {host}, which another machine has" for host in sorted(hosts & foreign)]
        if secret is not None:
            missing = hosts - certified(base64.b64decode(secret["data"]["node.pem"]))
            self.lies += [f"broker {node} tells {host}, which its certificate is not for" for host in sorted(missing)]


def certified(pem: bytes) -> set[str]:
    """Names and addresses that a certificate is for. Apart from the code under test."""
    leaf = x509.load_pem_x509_certificate(pem[pem.index(b"-----BEGIN CERTIFICATE-----") :])
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = {str(address) for address in names.get_values_for_type(x509.IPAddress)}
    return addresses | set(names.get_values_for_type(x509.DNSName))
