"""How the client lists: pages, and what may be answered from the API server's memory."""

from __future__ import annotations

from typing import Any

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import KubeConfig
from controlplane.services.cluster.observe import CORDONED, MACHINES, PODS


class Pages(KubeClient):
    """Two pages for every list; remembers what was asked."""

    def __init__(self) -> None:
        super().__init__(KubeConfig(server="http://127.0.0.1:1"))
        self.asked: list[dict[str, str]] = []

    async def request(self, method: str, path: str, **more: Any) -> Any:
        params = dict(more["params"])
        self.asked.append(params)
        left = {} if "continue" in params else {"continue": "token"}
        return {"metadata": {"resourceVersion": "7"} | left, "items": [{"metadata": {"name": f"{method} {path}"}}]}


async def test_a_cached_list_is_asked_of_memory_and_its_further_pages_by_token_alone() -> None:
    client = Pages()
    assert len(await client.list(MACHINES, fields=CORDONED, cached=True)) == 2
    first, second = client.asked
    assert (first["resourceVersion"], first["fieldSelector"]) == ("0", "spec.unschedulable=true")
    assert "resourceVersion" not in second, "the API server refuses it beside a token"
    assert second["continue"] == "token"


async def test_any_other_list_is_as_of_now() -> None:
    client = Pages()
    await client.list(PODS, "kafka")
    assert all("resourceVersion" not in params for params in client.asked)
