"""Server-side apply against a real API server: the cases that the fake of unit tests is held to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from support.api_server import ApiServer, running_api_server
from support.kube_apply_contract import NAMESPACE, KubeApplyContract

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.api.names import FIELD_MANAGER
from controlplane.ports import KubeApi

pytestmark = pytest.mark.sandbox


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    with running_api_server(tmp_path_factory.mktemp("api-server")) as running:
        running.kubectl("create", "namespace", NAMESPACE)
        yield running


class TestApiServer(KubeApplyContract):
    @pytest.fixture
    async def kube(self, server: ApiServer) -> AsyncIterator[KubeApi]:
        config = from_kubeconfig(server.kubeconfig)
        async with KubeClient(config, field_manager=FIELD_MANAGER, timeout=60.0) as client:
            yield client
