"""Server-side apply as the fake does it; the same cases meet a real API server in tests/integration."""

from __future__ import annotations

import pytest
from support.fake_kube import FakeKube
from support.kube_apply_contract import KubeApplyContract

from controlplane.ports import KubeApi


class TestFake(KubeApplyContract):
    @pytest.fixture
    def kube(self) -> KubeApi:
        return FakeKube()
