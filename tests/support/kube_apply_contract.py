"""What server-side apply does to an object that we apply again: the same cases for FakeKube and a real API server.

Subclasses provide the fixture `kube`, an empty namespace `kafka`. Each case has objects of its own.
"""

from __future__ import annotations

import base64
from typing import Any

import pytest

from controlplane.adapters.kubernetes.resources import CONFIG_MAPS
from controlplane.ports import ConflictError, KubeApi, Object
from controlplane.services.access.secrets import SECRETS

NAMESPACE = "kafka"


def secret(name: str, data: dict[str, str], **meta: Any) -> Object:
    encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
    return {"metadata": {"name": name, "namespace": NAMESPACE} | meta, "type": "Opaque", "data": encoded}


async def read(kube: KubeApi, name: str) -> tuple[dict[str, str], dict[str, Any]]:
    """(data as text, metadata)"""
    found = await kube.get(SECRETS, name, NAMESPACE)
    data = {key: base64.b64decode(value).decode() for key, value in (found.get("data") or {}).items()}
    return data, found["metadata"]


class KubeApplyContract:
    async def test_what_is_not_there_is_made(self, kube: KubeApi) -> None:
        made = await kube.apply(SECRETS, secret("made", {"a": "1"}, labels={"x": "y"}))
        data, meta = await read(kube, "made")
        assert (data, meta["labels"]) == ({"a": "1"}, {"x": "y"})
        assert (made["metadata"]["uid"], made["metadata"]["resourceVersion"]) == (meta["uid"], meta["resourceVersion"])

    async def test_a_key_that_is_applied_no_more_goes(self, kube: KubeApi) -> None:
        await kube.apply(SECRETS, secret("less", {"a": "1", "b": "2"}))
        await kube.apply(SECRETS, secret("less", {"a": "3"}))
        assert (await read(kube, "less"))[0] == {"a": "3"}

    async def test_a_label_or_annotation_that_is_applied_no_more_goes(self, kube: KubeApi) -> None:
        both = {"labels": {"l": "1", "m": "1"}, "annotations": {"a": "1", "b": "1"}}
        await kube.apply(SECRETS, secret("meta", {}, **both))
        await kube.apply(SECRETS, secret("meta", {}, labels={"l": "2"}, annotations={"a": "2"}))
        _, meta = await read(kube, "meta")
        assert (meta["labels"], meta["annotations"]) == ({"l": "2"}, {"a": "2"})

    async def test_what_we_patched_in_stays_when_it_is_not_applied(self, kube: KubeApi) -> None:
        """A patch of ours is an Update, which apply does not own: the marks on a node's Secret outlive its renewal."""
        await kube.apply(SECRETS, secret("marked", {"a": "1"}, annotations={"a": "1"}))
        await kube.patch(SECRETS, "marked", NAMESPACE, {"metadata": {"annotations": {"mark": "x"}}})
        await kube.apply(SECRETS, secret("marked", {"a": "2"}, annotations={"a": "2"}))
        data, meta = await read(kube, "marked")
        assert (data, meta["annotations"]) == ({"a": "2"}, {"a": "2", "mark": "x"})

    async def test_what_another_put_there_stays_and_what_it_changed_of_ours_comes_back(self, kube: KubeApi) -> None:
        await kube.apply(SECRETS, secret("edited", {"a": "1", "b": "1"}))
        edit = secret("edited", {"a": "theirs", "c": "theirs"})
        await kube.patch(SECRETS, "edited", NAMESPACE, {"data": edit["data"]})
        await kube.apply(SECRETS, secret("edited", {"a": "1", "b": "1"}))
        assert (await read(kube, "edited"))[0] == {"a": "1", "b": "1", "c": "theirs"}

    async def test_what_was_created_first_is_taken_over(self, kube: KubeApi) -> None:
        """Data that nobody applied before stays; one authority after another relies on it in next.crt and old.crt."""
        await kube.create(SECRETS, secret("created", {"a": "1", "b": "1"}))
        await kube.apply(SECRETS, secret("created", {"a": "2"}))
        assert (await read(kube, "created"))[0] == {"a": "2", "b": "1"}

    async def test_a_key_whose_patch_says_null_goes(self, kube: KubeApi) -> None:
        await kube.create(SECRETS, secret("nulled", {"a": "1", "b": "1"}))
        await kube.patch(SECRETS, "nulled", NAMESPACE, {"data": {"b": None}})
        assert (await read(kube, "nulled"))[0] == {"a": "1"}

    async def test_what_another_deleted_and_made_again_is_its_own(self, kube: KubeApi) -> None:
        await kube.apply(SECRETS, secret("again", {"a": "1", "b": "1"}))
        await kube.delete(SECRETS, "again", NAMESPACE)
        await kube.create(SECRETS, secret("again", {"b": "theirs"}))
        await kube.apply(SECRETS, secret("again", {"a": "1"}))
        assert (await read(kube, "again"))[0] == {"a": "1", "b": "theirs"}

    async def test_an_apply_that_changes_nothing_is_none(self, kube: KubeApi) -> None:
        first = await kube.apply(SECRETS, secret("same", {"a": "1"}, annotations={"a": "1"}))
        second = await kube.apply(SECRETS, secret("same", {"a": "1"}, annotations={"a": "1"}))
        assert second["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    async def test_a_config_map_goes_by_the_same_rules(self, kube: KubeApi) -> None:
        body = {"metadata": {"name": "config", "namespace": NAMESPACE}, "data": {"a": "1", "b": "1"}}
        await kube.apply(CONFIG_MAPS, body)
        await kube.apply(CONFIG_MAPS, body | {"data": {"b": "2"}})
        assert (await kube.get(CONFIG_MAPS, "config", NAMESPACE))["data"] == {"b": "2"}

    async def test_a_version_that_moved_is_a_conflict(self, kube: KubeApi) -> None:
        first = await kube.apply(SECRETS, secret("moved", {"a": "1"}))
        await kube.apply(SECRETS, secret("moved", {"a": "2"}))
        old = {"resourceVersion": first["metadata"]["resourceVersion"]}
        with pytest.raises(ConflictError):
            await kube.patch(SECRETS, "moved", NAMESPACE, {"metadata": old, "data": {"a": None}})
        assert (await read(kube, "moved"))[0] == {"a": "2"}
