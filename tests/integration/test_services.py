"""Services as clients meet them: real pods, a real ClusterIP, readiness that comes and goes."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest
from support.node_space import WAIT_SECONDS, Space, space
from support.sandbox import Sandbox
from support.web import Client, answers, ask, set_ready, web_pod, web_service

from controlplane.adapters.kubernetes.resources import NODES, PERSISTENT_VOLUMES, PODS, SERVICES
from controlplane.ports import ForbiddenError, Object

pytestmark = pytest.mark.sandbox


@pytest.fixture
async def here(sandbox: Sandbox) -> AsyncIterator[Space]:
    async with space(sandbox) as found:
        yield found


async def test_a_service_follows_readiness(here: Space) -> None:
    address = await web_service(here)
    assert await ask(address) == "refused"
    await asyncio.gather(web_pod(here, "one"), web_pod(here, "two"))
    await answers(address, {"one", "two"})
    old = await Client.connect(address)
    served_by = await old.ask()
    other = ({"one", "two"} - {served_by}).pop()

    set_ready(here, served_by, ready=False)
    await answers(address, {other})
    assert await old.ask() == served_by, "a connection stays with a pod that is not ready any more"
    set_ready(here, other, ready=False)
    await answers(address, {"refused"})
    set_ready(here, served_by, ready=True)
    await answers(address, {served_by})

    await here.kube.delete(PODS, served_by, here.namespace)
    await answers(address, {"refused"})
    await here.gone(served_by)  # new connections are refused from its deletion on; old ones end with its process
    with pytest.raises(ConnectionError):
        await old.ask()


async def test_node_ports_named_ports_and_addresses_that_are_not_ready(here: Space) -> None:
    await web_pod(here, "one")
    address = await web_service(here, type="NodePort")
    service = await here.kube.get(SERVICES, "web", here.namespace)
    await answers("127.0.0.1", {"one"}, service["spec"]["ports"][0]["nodePort"])
    early = await web_service(here, "early", publishNotReadyAddresses=True)
    set_ready(here, "one", ready=False)
    await answers(address, {"refused"})
    await answers(early, {"one"})


async def test_node_ports_are_at_each_nodes_own_address_and_local_ones_where_the_pod_is(here: Space) -> None:
    nodes = here.sandbox.config.node_addresses
    found = {node["metadata"]["name"]: node["status"]["addresses"] for node in await here.kube.list(NODES)}
    for name, address in nodes.items():
        assert {"type": "ExternalIP", "address": address} in found[name]
    pod = await web_pod(here, "one", nodeSelector={"kubernetes.io/hostname": "node-b"})
    assert pod["spec"]["nodeName"] == "node-b"
    await web_service(here, "everywhere", type="NodePort")
    await web_service(here, "local", type="NodePort", externalTrafficPolicy="Local")
    for name, serving in (("everywhere", set(nodes)), ("local", {"node-b"})):
        port = (await here.kube.get(SERVICES, name, here.namespace))["spec"]["ports"][0]["nodePort"]
        for node, address in nodes.items():
            await answers(address, {"one"} if node in serving else {"refused"}, port)


async def balancer(here: Space, name: str = "web") -> str:
    """The address that a Service of type LoadBalancer is given."""
    async with asyncio.timeout(WAIT_SECONDS):
        async for event in here.kube.watch(SERVICES, here.namespace, fields=f"metadata.name={name}"):
            ingress = (event.object.get("status") or {}).get("loadBalancer", {}).get("ingress")
            if ingress:
                return str(ingress[0]["ip"])
    raise AssertionError("the watch ended")


async def test_a_load_balancer_gets_an_address_keeps_it_and_leads_to_the_pods(here: Space) -> None:
    await web_pod(here, "one")
    await web_service(here, type="LoadBalancer")
    address = await balancer(here)
    assert address.startswith(here.sandbox.config.balancer_cidr.removesuffix("0/24"))
    await answers(address, {"one"})
    set_ready(here, "one", ready=False)
    await answers(address, {"refused"})
    set_ready(here, "one", ready=True)
    await answers(address, {"one"})
    await here.kube.patch(SERVICES, "web", here.namespace, {"status": {"loadBalancer": None}}, subresource="status")
    assert await balancer(here) == address
    await web_service(here, "other", type="LoadBalancer")
    assert await balancer(here, "other") != address
    await here.kube.delete(SERVICES, "web", here.namespace)
    await answers(address, {"refused"})
    await web_service(here, type="LoadBalancer")
    assert await balancer(here) == address
    await web_service(here, "elsewhere", type="LoadBalancer", loadBalancerClass="example.com/x")
    assert "no load balancer of class example.com/x" in (await here.event("elsewhere", "Unsupported"))["message"]


async def test_a_deleted_service_is_refused(here: Space) -> None:
    await web_pod(here, "one")
    address = await web_service(here)
    await answers(address, {"one"})
    await here.kube.delete(SERVICES, "web", here.namespace)
    await answers(address, {"refused"})


async def test_what_the_proxy_cannot_do_becomes_an_event_and_the_rest_works(here: Space) -> None:
    await web_pod(here, "one")
    with socket.create_server(("0.0.0.0", 0)) as squatter:
        taken = squatter.getsockname()[1]
        ports = [
            {"name": "web", "port": 8000, "targetPort": "web"},
            {"name": "taken", "port": taken, "targetPort": "web"},
            {"name": "dns", "port": 5353, "protocol": "UDP"},
        ]
        address = await web_service(here, ports=ports)
        await answers(address, {"one"})
        assert f"{address}:{taken}: another process" in (await here.event("web", "ListenFailed"))["message"]
        assert "UDP is not carried" in (await here.event("web", "Unsupported"))["message"]
    await answers(address, {"one"}, taken)


async def test_each_part_may_do_its_work_and_no_more(here: Space) -> None:
    """Reads decide nothing here: what a stolen identity could change does."""
    service: Object = {"metadata": {"name": "x"}, "spec": {"ports": [{"port": 1}]}}
    volume: Object = {
        "metadata": {"name": f"x-{here.namespace}"},
        "spec": {"capacity": {"storage": "1"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/"}},
    }
    pod: Object = {"metadata": {"name": "x"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    attempts = {SERVICES: service, PERSISTENT_VOLUMES: volume, PODS: pod}
    allowed = {"provisioner": {PERSISTENT_VOLUMES}}
    await web_service(here)
    for identity in ("node-a", "proxy", "provisioner"):
        async with here.sandbox.client(identity) as kube:
            for resource, body in attempts.items():
                namespace = here.namespace if resource.namespaced else None
                if resource in allowed.get(identity, set()):
                    await kube.create(resource, body, namespace)
                    await kube.delete(resource, body["metadata"]["name"], namespace)
                else:
                    with pytest.raises(ForbiddenError):
                        await kube.create(resource, body, namespace)
            with pytest.raises(ForbiddenError):
                await kube.patch(SERVICES, "web", here.namespace, {"spec": {"selector": {"app": "mine"}}})
            if identity != "proxy":  # which is the load balancer as well
                given = {"status": {"loadBalancer": {"ingress": [{"ip": "127.0.0.1"}]}}}
                with pytest.raises(ForbiddenError):
                    await kube.patch(SERVICES, "web", here.namespace, given, subresource="status")
            with pytest.raises(ForbiddenError):
                await kube.request("GET", f"/api/v1/namespaces/{here.namespace}/secrets")
