"""The directory of tenants: read at every look, understood again only where something changed."""

from __future__ import annotations

import pytest
from support.fake_kube import FakeKube
from support.tenancy import tenant

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.services.tenants.read import KAFKA_TENANTS, read_directory


async def test_only_what_changed_is_understood_again(monkeypatch: pytest.MonkeyPatch) -> None:
    kube, read = FakeKube(), []
    understand = KafkaTenant.model_validate

    def counted(obj: dict[str, dict[str, str]]) -> KafkaTenant:
        read.append(obj["metadata"]["name"])
        return understand(obj)

    monkeypatch.setattr(KafkaTenant, "model_validate", counted)
    for name in ("shop", "bank"):
        await kube.create(KAFKA_TENANTS, tenant(name))
    await kube.create(KAFKA_TENANTS, tenant("odd", cells=[]))
    assert set((await read_directory(kube)).by_name) == {"shop", "bank"}
    read.clear()
    changed = await kube.get(KAFKA_TENANTS, "shop")
    changed["spec"]["namespaces"] = ["shop-batch"]
    await kube.replace(KAFKA_TENANTS, changed)
    await kube.delete(KAFKA_TENANTS, "bank")
    known = await read_directory(kube)
    assert set(known.by_name) == {"shop"}
    assert known.by_name["shop"].spec.namespaces == ("shop-batch",)
    assert read == ["shop"]
    assert (await read_directory(FakeKube())).tenants == (), "another API has others"
