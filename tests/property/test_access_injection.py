"""Nothing that a user writes about listeners reaches server.properties but as what it is: a name, a port, a switch.

What admission would refuse is refused again before anything is rendered; what is not refused, however hostile, renders
to the very keys that it should, and to none more.
"""

from __future__ import annotations

from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import ValidationError
from support.cell import combined_cluster
from support.properties_file import read_properties

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.validate import check_cluster
from controlplane.domain.access.listeners import SUPER_USERS
from controlplane.domain.cluster.layout import lay_out
from controlplane.domain.cluster.manifests import server_properties

HOSTILE = st.one_of(
    st.sampled_from(
        [
            *("a\nb", "a\r", "a\n", "a\\", "a\\\nb", "a\x00b", "a ", "a,b", "a;b", "a=b", 'a"b', "a'b", "../a", "a/b"),
            *("${env:HOME}", "${file:/etc/passwd:root}", "$(id)", "`id`", "a.ssl.client.auth", "\uff41"),
            *("CONTROLLER", "controller", "replication", "nodes", "clients", "x"),
        ]
    ),
    st.text(max_size=12),
    st.from_regex(r"[a-z][a-z0-9]{0,14}", fullmatch=True),
)


SETTING = "queued.max.requests"
"""One that stands in the file."""


def cluster(listeners: list[dict[str, Any]], config: dict[str, Any]) -> KafkaCluster | None:
    """None where it is refused."""
    security, authorization = {"nodes": "MutualTls"}, {"type": "Standard"}
    body = combined_cluster(security=security, authorization=authorization, listeners=listeners, config=config)
    body["metadata"] |= {"namespace": "kafka", "uid": "u"}
    try:
        found = KafkaCluster.model_validate(body)
    except ValidationError:
        return None
    return None if check_cluster(found) else found


def rendered(made: KafkaCluster) -> dict[str, str]:
    layout = lay_out(made, (), {}, formed=False)
    text = server_properties(made, layout.nodes[0], layout)
    found = read_properties(text)
    assert len([line for line in text.split("\n") if line]) == len(found), "each setting is one line, and is there once"
    return found


def listener(name: str, secret: str | None, kind: str, port: int = 9093) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "port": port, "tls": True, "authentication": {"type": kind}}
    return found | ({"certificateSecretRef": {"name": secret}} if secret is not None else {})


@given(HOSTILE, st.none() | HOSTILE, st.sampled_from(["scram-sha-512", "tls"]), HOSTILE)
@example("clients", "bought", "tls", "x")
def test_nothing_hostile_becomes_a_setting(name: str, secret: str | None, kind: str, value: str) -> None:
    made = cluster([listener(name, secret, kind)], {SETTING: value})
    if made is None:
        return
    plain = cluster([listener("clients", "x" if secret is not None else None, kind)], {SETTING: "x"})
    assert plain is not None
    found, expected = rendered(made), rendered(plain)
    prefix = f"listener.name.{name}."
    assert {key.replace(prefix, "listener.name.clients.") for key in found} == expected.keys()
    assert found.pop(SETTING) == value
    for key, right in expected.items():
        if key == SETTING:
            continue
        actual = found[key.replace("listener.name.clients.", prefix)]
        if "${" in actual:
            assert actual.replace("${env:KFLEET_POD_ROOT}", "").replace("${env:KFLEET_NODE_HOST}", "").count("${") == 0
        if "CLIENTS" not in right and "listener-clients" not in right:
            assert actual == right
    assert found["super.users"] == ";".join(SUPER_USERS)
    assert found["allow.everyone.if.no.acl.found"] == "false"


@given(HOSTILE, HOSTILE)
def test_no_setting_of_the_operator_is_taken_over(key: str, value: str) -> None:
    """Also by keys of a listener's own: `spec.config` may not hold them."""
    names = [key, f"listener.name.clients.{key}", f"ssl.{key}", f"sasl.{key}", "super.users", "authorizer.class.name"]
    for wanted in names[1:]:
        assert cluster([listener("clients", None, "tls")], {wanted: value}) is None


def test_a_name_that_slips_through_would_be_found() -> None:
    """The control: a listener whose name was never checked has a setting of another one."""
    made = cluster([listener("clients", None, "tls")], {})
    assert made is not None
    (item,) = made.spec.listeners
    forged = item.model_copy(update={"name": "replication.ssl.client.auth=none\nx"})
    spec = made.spec.model_copy(update={"listeners": (forged,)})
    plain = rendered(made).keys()
    assert rendered(made.model_copy(update={"spec": spec})).keys() - plain
